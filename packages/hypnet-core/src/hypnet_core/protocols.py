"""The whole architecture in one file: what each part must do, and nothing about how.

Data flows one way: conditions go through a `HyperNetworkLike`, which gives `Weights`; a
`MainNetwork` runs a plain module with them; an `Experiment` trains the pair on the
`TaskLike`s of a dataset, inside a run; a `Scheduler` starts many runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from torch import Tensor, nn

    from hypnet_core.networks.weights import Weights
    from hypnet_core.runs.experiment import Run
    from hypnet_core.runs.scheduling import JobSpec, JobState, Script
    from hypnet_core.specs import ConditionSpec, TargetSpec, TaskSpec
    from hypnet_core.tasks.batch import Batch
    from hypnet_core.tasks.stream import Stream


@runtime_checkable
class HyperNetworkLike(Protocol):
    """A network that writes the parameters of another."""

    target: TargetSpec
    conditions: ConditionSpec

    def __call__(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights: for one condition without a batch dimension, for several with one."""
        ...

    def conditional_parameters(self, condition: int | None = None) -> list[nn.Parameter]:
        """The parameters that belong to one condition, or to any."""
        ...

    def unconditional_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""
        ...

    def add_condition(self) -> int:
        """Make room for one more condition and return its id."""
        ...


@runtime_checkable
class SplitLike(Protocol):
    """Samples of one split: a map-style dataset that also gives whole batches."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Input and target of one sample."""
        ...

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """One pass over the samples, in batches."""
        ...

    def stream(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> Stream:
        """Shuffled batches without end, which can be left and taken up again."""
        ...

    @property
    def ids(self) -> Tensor:
        """Ids `[n]` (int64), unique within the dataset: a sample has the same id in every split."""
        ...


@runtime_checkable
class TaskLike(Protocol):
    """One learning problem."""

    @property
    def spec(self) -> TaskSpec:
        """What it asks of a network."""
        ...

    @property
    def train(self) -> SplitLike:
        """The samples to learn from."""
        ...

    @property
    def test(self) -> SplitLike:
        """The samples to be judged by."""
        ...

    @property
    def val(self) -> SplitLike | None:
        """The validation split, if there is one."""
        ...


@runtime_checkable
class Scheduler(Protocol):
    """Runs jobs. A job is an argument list, never a shell string.

    A scheduler may also fulfil the protocols `HasSlots`, `HasPollInterval`, `Closable`
    and `ChecksAvailability`.

    If a scheduler cannot be reached, its methods raise `SchedulerUnavailableError`. The
    caller then assumes that nothing has changed, and asks again later.
    """

    def submit(self, job: JobSpec) -> str:
        """Queue or start a job and return its id."""
        ...

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs; the state of an unknown job is `LOST`."""
        ...

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, queued or running; those that have ended stay as they are."""
        ...


@runtime_checkable
class HasSlots(Protocol):
    """A scheduler that knows how many jobs it can run at once."""

    slots: int
    """Number of jobs of one core that run at the same time, at least 1."""


@runtime_checkable
class HasPollInterval(Protocol):
    """A scheduler that recommends how often to poll it."""

    poll_interval: float
    """Seconds between two polls, above 0."""


@runtime_checkable
class Closable(Protocol):
    """A scheduler that holds resources of this process, such as a connection."""

    def close(self) -> None:
        """Release the resources. Running jobs go on if they can outlive the scheduler.

        Closing twice does no harm.
        """
        ...


@runtime_checkable
class ChecksAvailability(Protocol):
    """A scheduler that can tell whether its backend is installed."""

    def unavailable(self) -> str | None:
        """One line about a missing backend; `None` if jobs can be submitted."""
        ...


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
        ...

    def find(self, keys: Iterable[str]) -> Mapping[str, str]:
        """The ids of the queued or running jobs with these keys."""
        ...

    def scripts(self, jobs: Sequence[JobSpec]) -> list[Script]:
        """The scripts that some jobs would be submitted with; nothing is submitted."""
        ...

    def reason(self, job: str) -> str:
        """The batch system's reason for the end of a job; may be empty."""
        ...


@runtime_checkable
class Experiment(Protocol):
    """Something that `hypnet run` launches: a configuration and what to do with it."""

    @property
    def Config(self) -> type[BaseModel]:  # noqa: N802 (a class)
        """The configuration: a pydantic model, usually a class attribute."""
        ...

    def run(self, config: Any, run: Run) -> Mapping[str, Any]:
        """Do the work, write everything through `run`, and return the summary (JSON values)."""
        ...
