"""`learn`: continual learning in one call."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import CheckpointError, ConfigError
from hypnet_core.plugins import MainnetChoice, validated
from hypnet_core.protocols import Callback, Method
from hypnet_core.runs import CheckpointOptions, Checkpoints, difference, progress
from hypnet_core.tasks import HeadKind, Scenario
from hypnet_zoo.continual.arguments import (
    MethodLike,
    ModuleLike,
    check_callbacks,
    check_plain,
    chosen_method,
    chosen_module,
    maker_of,
)
from hypnet_zoo.continual.assembly import assemble
from hypnet_zoo.continual.callbacks import Checkpointing, Metrics, Timing, Validation
from hypnet_zoo.continual.data import as_tasks
from hypnet_zoo.continual.fingerprint import setup_of
from hypnet_zoo.continual.inference import Infer
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.preparation import pick_device
from hypnet_zoo.continual.report import results_text, summarize

_logger = logging.getLogger("hypnet.learn")


@dataclass(frozen=True, repr=False)
class Result:
    """The result of learning a sequence of tasks; printed, it is a table.

    Attributes:
        scores: Test scores `[T, T]`: row `t` holds those after task `t` was learned,
            accuracies in percent or mean squared errors; NaN for tasks to come.
        validation: The same on validation samples; NaN without such.
        summary: All measures, as `summary.json` of a run holds them.
        method: The method, which predicts: `result.method.predict(x, task)`.
        notes: Remarks: samples that were held out, tasks that were stopped early, early
            stopping that cannot work.
        seconds_per_step: Time of a training step; `None` if all were taken before, in a
            run that went on.
    """

    scores: NDArray[np.float64]
    validation: NDArray[np.float64]
    summary: Mapping[str, Any]
    method: Method
    notes: tuple[str, ...] = ()
    seconds_per_step: float | None = None

    def __repr__(self) -> str:
        """The table that `hypnet run` prints, the remarks, and the time of a step."""
        lines = [results_text(self.summary), *self.notes]
        if self.seconds_per_step is not None:
            lines.append(f"{1e3 * self.seconds_per_step:.3g} ms per training step")
        return "\n".join(lines)

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
            and the number of outputs. A module belongs to the method from then on: most
            methods train it in place, `separate` copies it, and methods that generate
            its weights take its parameters out.
        scenario: Whether the task of a test sample is known (`task`), need not be known
            (`domain`), or must be found with its class (`class`).
        heads: How tasks share outputs; by the scenario by default.
        infer: How the task is found by methods with weights for each task; by entropy
            if it is not known.
        train: Options of training.
        callbacks: Observers.
        seed: Seed of all randomness. The global generators are not touched.
        device: Where to compute; `"auto"` takes a GPU if there is one.
        directory: Where checkpoints go. If there is one of the same tasks, method,
            network and options, learning continues from it, to the same results.
        checkpoint: Which checkpoints are written and kept; after each task by default.

    Raises:
        ConfigError: Options do not fit together, or not to the scenario.
        DataError: Samples are not what their task says.
        SpecError: A method gives something else than its protocol says.
        DivergedError: A loss, a parameter or a prediction became infinite or NaN.
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
    check_plain(seed=seed, device=device, directory=directory)
    options = train if isinstance(train, Train) else validated(Train, train or {})
    method, module = chosen_method(method), chosen_module(module)
    check_callbacks(callbacks)
    assembled = assemble(
        as_tasks(tasks),
        maker_of(method),
        module.build if isinstance(module, MainnetChoice) else module,
        scenario=scenario,
        heads=heads,
        infer=infer,
        train=options,
        seed=seed,
        device=pick_device(device),
        digest_weights=directory is not None,
    )
    learning = assembled.learning
    notes = assembled.notes
    for note in notes:
        _logger.info("%s", note)
    timing = Timing(learning.problem.device)
    validation = Validation(learning, say=lambda text: _logger.info("%s", text))
    metrics = Metrics(learning, every=50)
    learning.callbacks += [timing, *callbacks, validation, metrics]
    if directory is not None:
        setup = setup_of(learning, method, module, network=assembled.network)
        setup["start"] = assembled.weights
        notes += _with_checkpoints(learning, Path(directory), checkpoint, setup)
    elif checkpoint is not None:
        raise ConfigError("checkpoint says how checkpoints are kept: give a directory, too")
    with progress(sum(learning.steps), start=learning.step) as metrics.shown:
        learning.run()
    return Result(
        _matrix(learning, "test"),
        _matrix(learning, "val"),
        summarize(learning),
        learning.method,
        notes=(*notes, *validation.stops),
        seconds_per_step=timing.per_step,
    )


def _with_checkpoints(
    learning: Learning,
    directory: Path,
    options: CheckpointOptions | None,
    setup: Mapping[str, Any],
) -> tuple[str, ...]:
    """Save into a directory, and continue from its last checkpoint, with remarks."""
    checkpoints = Checkpoints(directory, options, higher_is_better=learning.higher_is_better)

    def save(step: int, score: float | None) -> None:
        checkpoints.save(step, {"learning": learning}, score=score, setup=setup)

    learning.callbacks.append(Checkpointing(learning, checkpoints, save))
    if checkpoints.latest() is None:
        return ()
    kept = checkpoints.load().state.get("setup", {})
    # Weights at the start are no reason to refuse: their place is taken by those of the
    # checkpoint, and who made a network without a seed wants to go on.
    changed = difference({**kept, "start": None}, {**setup, "start": None})
    if changed:
        raise CheckpointError(f"{directory} holds checkpoints of something else: {changed}")
    checkpoints.restore({"learning": learning}, device=str(learning.problem.device))
    if kept.get("start") == setup["start"]:
        return ()
    note = (
        f"learning goes on from {directory}, which began with other weights than the network that"
        " was given: those are not used"
    )
    _logger.warning("%s", note)
    return (note,)


def _matrix(learning: Learning, split: str) -> NDArray[np.float64]:
    count = len(learning.tasks)
    found = np.full((count, count), np.nan)
    for t, row in enumerate(learning.scores[split]):
        found[t, : t + 1] = [math.nan if score is None else score.value for score in row]
    return found
