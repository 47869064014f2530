"""`learn`: continual learning in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hypnet_core.errors import CheckpointError, ConfigError, clipped
from hypnet_core.plugins import MainnetChoice, MethodChoice, validated
from hypnet_core.protocols import Callback, Method
from hypnet_core.runs import CheckpointOptions, Checkpoints, difference, progress
from hypnet_core.tasks import HeadKind, Problem, Scenario
from hypnet_zoo.continual.assembly import MethodMaker, assemble
from hypnet_zoo.continual.callbacks import Checkpointing, Metrics, Validation
from hypnet_zoo.continual.data import as_tasks
from hypnet_zoo.continual.inference import Infer
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.preparation import pick_device
from hypnet_zoo.continual.report import summarize

MethodLike: TypeAlias = str | Mapping[str, Any] | MethodChoice | Callable[[Problem], Method]
ModuleLike: TypeAlias = (
    str | Mapping[str, Any] | MainnetChoice | nn.Module | Callable[[Sequence[int], int], nn.Module]
)


@dataclass(frozen=True)
class Result:
    """The result of learning a sequence of tasks.

    Attributes:
        scores: Test scores `[T, T]`: row `t` holds those after task `t` was learned,
            accuracies in percent or mean squared errors; NaN for tasks to come.
        validation: The same on validation samples; NaN without such.
        summary: All measures, as `summary.json` of a run holds them.
        method: The method, which predicts: `result.method.predict(x, task)`.
    """

    scores: NDArray[np.float64]
    validation: NDArray[np.float64]
    summary: Mapping[str, Any]
    method: Method

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """The test scores of classification.

        Raises:
            ConfigError: The tasks are regressions.
        """
        if self.summary["metric"] != "accuracy":
            raise ConfigError("the tasks are regressions: their scores are in `scores`")
        return self.scores


def learn(
    tasks: Sequence[Any],
    method: MethodLike = "hypernet",
    *,
    module: ModuleLike = "mlp",
    scenario: Scenario = "task",
    heads: HeadKind | None = None,
    infer: Infer | None = None,
    train: Train | Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    seed: int = 0,
    device: str = "auto",
    directory: Path | str | None = None,
    checkpoint: CheckpointOptions | None = None,
) -> Result:
    """Learn tasks one after the other.

    Args:
        tasks: The tasks: a task sequence of hypnet-data, or for each task a pair
            `(train, test)` or a mapping with `train`, `test` and perhaps `val`, of
            arrays `(x, y)` or torch datasets.
        method: A method's name, a mapping of its name and options, or a function or
            class that makes one from a `Problem`.
        module: The main network: a name, a mapping of a name and options, a module with
            as many outputs as the scenario needs, or a function of the shape of inputs
            and the number of outputs. A module is trained in place.
        scenario: Whether the task of a test sample is known (`task`), need not be known
            (`domain`), or must be found with its class (`class`).
        heads: How tasks share outputs; by the scenario by default.
        infer: How the task is found by methods with weights for each task; by entropy
            if it is not known.
        train: Options of training.
        callbacks: Observers.
        seed: Seed of all randomness. The global generators are not touched.
        device: Where to compute; `"auto"` takes a GPU if there is one.
        directory: Where checkpoints go. If there is one, learning continues from it, to
            the same results.
        checkpoint: Which checkpoints are written and kept; after each task by default.

    Raises:
        ConfigError: Options do not fit together, or not to the scenario.
        DataError: Samples are not what their task says.
        DivergedError: A loss or a parameter became infinite or NaN.
        CheckpointError: The directory belongs to something else.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        >>> tasks = [
        ...     {part: (x, (x[:, axis] > 0).astype(int)) for part in ("train", "test")}
        ...     for axis in range(2)
        ... ]
        >>> short = {"iterations": 100, "lr": 0.01}
        >>> result = learn(tasks, "separate", train=short, device="cpu")
        >>> bool((result.accuracies[-1] > 90).all())
        True
    """
    options = train if isinstance(train, Train) else validated(Train, train or {})
    made = _maker(method)
    assembled = assemble(
        as_tasks(tasks),
        made,
        _module(module),
        scenario=scenario,
        heads=heads,
        infer=infer,
        train=options,
        seed=seed,
        device=pick_device(device),
    )
    learning = assembled.learning
    metrics = Metrics(learning, every=50)
    learning.callbacks += [
        *callbacks,
        metrics,
        Validation(learning),
    ]
    setup = {
        "method": made.name,
        "scenario": scenario,
        "train": options.model_dump(mode="json"),
        "seed": seed,
    }
    start = _with_checkpoints(learning, directory, checkpoint, setup)
    with progress(sum(learning.steps), start=start) as metrics.shown:
        learning.run()
    return Result(
        _matrix(learning, "test"),
        _matrix(learning, "val"),
        summarize(learning),
        learning.method,
    )


def _with_checkpoints(
    learning: Learning,
    directory: Path | str | None,
    options: CheckpointOptions | None,
    setup: Mapping[str, Any],
) -> int:
    """Save into a directory, and continue from its last checkpoint; steps so far."""
    if directory is None:
        if options is not None:
            raise ConfigError("checkpoint says how checkpoints are kept: give a directory, too")
        return 0
    checkpoints = Checkpoints(directory, options, higher_is_better=learning.higher_is_better)

    def save(step: int, score: float | None) -> None:
        checkpoints.save(step, {"learning": learning}, score=score, setup=setup)

    learning.callbacks.append(Checkpointing(learning, checkpoints, save))
    if checkpoints.latest() is not None:
        changed = difference(checkpoints.load().state.get("setup", {}), setup)
        if changed:
            raise CheckpointError(f"{directory} holds checkpoints of something else: {changed}")
    checkpoints.restore({"learning": learning}, device=str(learning.problem.device))
    return learning.step


def _matrix(learning: Learning, split: str) -> NDArray[np.float64]:
    count = len(learning.tasks)
    found = np.full((count, count), np.nan)
    for t, row in enumerate(learning.scores[split]):
        if len(row) == t + 1:
            found[t, : t + 1] = [score.value for score in row]
    return found


def _maker(method: MethodLike) -> MethodMaker:
    if isinstance(method, (str, Mapping)):
        method = MethodChoice.of(method)
    if isinstance(method, MethodChoice):
        return MethodMaker(method.name, method.entry.load(), method.build)
    if callable(method):
        return MethodMaker(getattr(method, "__name__", "method"), method, method)
    raise ConfigError(f"method: expected a name or a function, got {clipped(repr(method))}")


def _module(module: ModuleLike) -> nn.Module | Callable[[Sequence[int], int], nn.Module]:
    if isinstance(module, nn.Module):
        return module
    if isinstance(module, (str, Mapping)):
        module = MainnetChoice.of(module)
    if isinstance(module, MainnetChoice):
        return module.build
    if callable(module):
        return module
    raise ConfigError(f"module: expected a network or its name, got {clipped(repr(module))}")
