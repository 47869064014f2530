"""The architecture in one file: the contract of each part.

Conditions go through a `HyperNetworkLike`, which gives weights; a `MainNetwork` runs a
plain module with them; a `Method` learns the `TaskLike`s of a dataset in sequence; a
`Sampler` draws parameters from a `LogDensity`; an `Experiment` does so inside a run; a
`Scheduler` starts many runs.

Contracts depend on specs alone, so that every room of the core may refer to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hypnet_core.jobs import (
    ChecksAvailability,
    Closable,
    ExplainsEnds,
    HasPollInterval,
    HasSlots,
)
from hypnet_core.learning import (
    Callback,
    InfersTasks,
    LearningState,
    Method,
    OptimizerLike,
    ReportsSizes,
    WeightsPerTask,
)
from hypnet_core.params import DeclaresFans, DeclaresKinds
from hypnet_core.samples import BatchLike, SplitLike, TaskLike
from hypnet_core.sampling import (
    Adapts,
    Climbs,
    LogDensity,
    NoisyLogDensity,
    Sampler,
    SamplerState,
    StepInfo,
)
from hypnet_core.weights_like import WeightsLike

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from torch import Tensor, nn

    from hypnet_core.jobs import JobSpec, JobState, Script
    from hypnet_core.specs import ConditionSpec, TargetSpec

__all__ = [
    "Adapts",
    "BatchLike",
    "BatchScheduler",
    "BatchedForward",
    "Callback",
    "ChecksAvailability",
    "Climbs",
    "Closable",
    "DeclaresFans",
    "DeclaresKinds",
    "Experiment",
    "ExplainsEnds",
    "GroupsParameters",
    "HasPollInterval",
    "HasSlots",
    "HyperNetworkLike",
    "InfersTasks",
    "Initialized",
    "KeepsTensors",
    "LearningState",
    "LogDensity",
    "Logger",
    "Method",
    "MomentsLike",
    "NoisyLogDensity",
    "OptimizerLike",
    "Prepares",
    "ReportsResults",
    "ReportsSizes",
    "Sampler",
    "SamplerState",
    "Scheduler",
    "SplitLike",
    "StepInfo",
    "TaskLike",
    "WeightsLike",
    "WeightsPerTask",
]


@runtime_checkable
class HyperNetworkLike(Protocol):
    """A network that generates the parameters of another."""

    target: TargetSpec
    conditions: ConditionSpec

    def __call__(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> WeightsLike:
        """Generate weights, with a batch dimension for several conditions."""

    def conditional_parameters(self, condition: int | None = None) -> list[nn.Parameter]:
        """The parameters of one condition, or of all conditions."""

    def unconditional_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""

    def add_condition(self) -> int:
        """Make room for one more condition and return its id."""


class MomentsLike(Protocol):
    """Moments that a tensor was initialised to have."""

    @property
    def mean_square(self) -> float:
        """Expected square of a scalar, the mean included."""


@runtime_checkable
class Initialized(Protocol):
    """A hypernetwork that knows which moments the tensors that it generates start with.

    `hypnet inspect --init` compares them with the measured ones.
    """

    @property
    def starts(self) -> Sequence[MomentsLike]:
        """One entry per tensor of the target; empty if they are unknown."""


@runtime_checkable
class BatchedForward(Protocol):
    """A module with a fast path of its own for batches of weights.

    `MainNetwork` prefers it to `torch.vmap` and to a loop.
    """

    def forward_batched(self, *args: Any, weights: Mapping[str, Tensor], paired: bool) -> Any:
        """Run the module once for each of `B` sets of weights.

        Args:
            *args: Inputs; with `paired` each tensor among them has `B` in front.
            weights: All parameters by name, each `[B, *shape]`.
            paired: Whether each set has inputs of its own.

        Returns:
            Outputs with `B` in front, or `NotImplemented` for inputs that the fast path
            does not cover.
        """


@runtime_checkable
class KeepsTensors(Protocol):
    """A layer that keeps tensors of its own for each condition."""

    @property
    def num_checkpoints(self) -> int:
        """Number of conditions whose tensors are kept."""

    def tensors_at(self, condition: int) -> Mapping[str, Tensor]:
        """The tensors that replace the layer's parameters for one condition, by name.

        Args:
            condition: The id, a whole number from 0; the layer answers for ids that it
                has not seen as well.
        """


@runtime_checkable
class GroupsParameters(Protocol):
    """A module that names groups of its parameters, for `MainNetwork(generate=…)`."""

    def parameter_groups(self) -> Mapping[str, Collection[str]]:
        """Qualified names of parameters, by the name of the group."""


@runtime_checkable
class Logger(Protocol):
    """Records the metrics of one run, in files or at a service.

    An experiment builds it (which writes nothing yet), then calls `begin`, any number
    of `log` and `image`, and `end`, also after an error. `hypnet_core.runs.Log` does
    this for several loggers; whatever one raises after `begin` becomes a warning.
    """

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Start recording.

        Args:
            directory: The run's directory.
            experiment: Name of the experiment.
            config: Its resolved configuration, as JSON.
            step: Steps that were done before, in a run that resumes: records of later
                steps come again.
        """

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Record numbers.

        Args:
            step: Training steps so far.
            metrics: The numbers by name.
            task: The task, from 0, that they belong to; `None` for no single one.
        """

    def image(self, step: int, name: str, png: bytes) -> None:
        """Record an image, the content of a PNG file, or leave it out."""

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Stop recording.

        Args:
            step: Training steps so far.
            summary: The results; `None` if the run stopped early.
        """


@runtime_checkable
class Scheduler(Protocol):
    """Runs jobs. A job is an argument list, never a shell string.

    `JobSpec` and `JobState` are in `hypnet_core.jobs`. `hypnet check` expects:

    - A job whose program does not exist is accepted by `submit` and becomes `FAILED`.
    - A cancelled job becomes `CANCELLED`, and all processes that it started end.
    - A second scheduler object knows the first one's jobs, as is needed after a crash.
      If jobs end with their scheduler, register it with `restartable=False`.

    A scheduler may also fulfil the protocols `HasSlots`, `HasPollInterval`, `Closable`,
    `ChecksAvailability` and `ExplainsEnds`.

    If a scheduler cannot be reached, its methods raise `SchedulerUnavailableError`. The
    caller then assumes that nothing has changed, and asks again later.
    """

    def submit(self, job: JobSpec) -> str:
        """Queue or start a job and return its id."""

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs; the state of an unknown job is `LOST`."""

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, queued or running; those that have ended stay as they are."""


@runtime_checkable
class BatchScheduler(Scheduler, Protocol):
    """A scheduler in front of a batch system.

    It submits scripts, several jobs at once, and its jobs outlive the process that
    submits them.
    """

    max_jobs: int
    """Number of jobs that a search keeps queued or running at once."""
    array_size: int
    """Number of jobs that `submit_many` takes at once."""

    def submit_many(self, jobs: Sequence[JobSpec]) -> list[str]:
        """Submit jobs with equal needs as one job array, and return their ids.

        All of them are accepted, or none.
        """

    def find(self, keys: Iterable[str]) -> Mapping[str, str]:
        """The ids of the queued or running jobs with these keys."""

    def scripts(self, jobs: Sequence[JobSpec]) -> list[Script]:
        """The scripts that some jobs would be submitted with; nothing is submitted."""

    def reason(self, job: str) -> str:
        """The batch system's reason for the end of a job; may be empty."""


@runtime_checkable
class Experiment(Protocol):
    """An experiment for `hypnet run`: a configuration and the work itself."""

    @property
    def Config(self) -> type[BaseModel]:  # noqa: N802 (a class)
        """The configuration: a pydantic model, usually a class attribute."""

    def run(self, config: Any, run: Any) -> Mapping[str, Any]:
        """Do the work and return the summary.

        Args:
            config: An instance of `Config`.
            run: The `hypnet_core.runs.Run` that owns the directory; metrics,
                checkpoints and files are written through it.

        Returns:
            Results that can be written as JSON.
        """


@runtime_checkable
class Prepares(Protocol):
    """An experiment that finds mistakes before a run starts.

    `hypnet run` prepares an experiment before the run has a directory, and
    `--dry-run` does only that.
    """

    def prepare(self, config: Any) -> Sequence[str]:
        """Build everything that may fail: the device, data, networks, options.

        What was built may be kept for `run` with the same configuration. `run` without
        it prepares itself.

        Args:
            config: An instance of `Config`.

        Returns:
            Remarks for the user, one line each.
        """


@runtime_checkable
class ReportsResults(Protocol):
    """An experiment that prints its results at the end of `hypnet run`."""

    def report(self, summary: Mapping[str, Any]) -> Any:
        """Make text or a rich renderable, such as a table, from a summary."""
