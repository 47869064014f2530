"""Everything that can fail before the first step of learning."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hypnet_core.errors import (
    ConfigError,
    DataError,
    HypnetError,
    PluginError,
    clipped,
    did_you_mean,
    error_line,
)
from hypnet_core.networks import evaluating
from hypnet_core.plugins import DatasetChoice
from hypnet_core.protocols import BatchLike, Method, TaskLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.optimization import NEEDS_SCORE
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.seeds import seeded
from hypnet_zoo.optim.schedules import follows_score

_SMALL = 1_000_000

_MORE_THAN_ONE = "Expected more than 1 value per channel"
"""The message of torch's batch norm about a training batch of one vector."""


def pick_device(name: str) -> torch.device:
    """The device of a name; `"auto"` is a GPU if there is one.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"device: there is no {clipped(repr(name))}"
            f"{did_you_mean(name, ['auto', 'cpu', 'cuda'])}"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        # The name is right, so there is no nearer one to suggest.
        raise ConfigError(f"device: {name!r} cannot be used here: {reason}") from error
    if device.type == "meta":
        raise ConfigError("device: 'meta' has no numbers to compute with")
    return device


@contextlib.contextmanager
def cpu_threads(count: int | None, parameters: int) -> Iterator[int]:
    """Set the number of CPU threads for a block.

    Args:
        count: Number of threads. By default one for small networks, whose operations
            take less time than their distribution to threads, and torch's own number
            for large ones.
        parameters: Number of parameters of all networks together.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or (1 if parameters < _SMALL else before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def number_of_parameters(method: Method, module: nn.Module) -> int:
    """Number of parameters of a method and of the main network, each counted once."""
    parts = [*vars(method).values(), module]
    modules = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
    return sum(p.numel() for p in modules.parameters())  # shared ones come once


def load_tasks(choice: DatasetChoice, limit: int | None = None) -> Sequence[TaskLike]:
    """Load the tasks of a dataset in order; a single task is a sequence of one.

    Args:
        choice: The dataset.
        limit: Number of tasks to keep; all by default.

    Raises:
        ConfigError: There are fewer tasks.
        DataError: The dataset cannot be loaded.
    """
    try:
        built = choice.build()
    except HypnetError:
        raise
    except Exception as error:
        raise DataError(f"data: {choice.name} cannot be loaded: {error_line(error)}") from error
    tasks: Sequence[TaskLike] = built if isinstance(built, Sequence) else [built]
    if limit is not None and limit > len(tasks):
        raise ConfigError(f"tasks: {limit} were requested, but {choice.name} has {len(tasks)}")
    return tasks[:limit]


@contextlib.contextmanager
def named(key: str) -> Iterator[None]:
    """Give the error of a constructor the key of its options."""
    try:
        yield
    except PluginError:  # not a matter of options
        raise
    except (HypnetError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"{key}: {error_line(error, HypnetError, ValueError)}") from error


def check_module(problem: Problem) -> None:
    """Compute a loss, which tells whether network and data fit together.

    In evaluation mode, in which no running statistics change.

    Raises:
        ConfigError: They do not.
    """
    task, module = problem.tasks[0], problem.module
    batch = _first(task, min(2, len(task.test)), problem.device)
    try:
        with seeded(0), torch.no_grad(), evaluating(module):
            outputs = module(batch.x)
            problem.loss(outputs, batch, 0)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, HypnetError):
            raise
        raise ConfigError(
            f"mnet: the loss of inputs {list(batch.x.shape)} cannot be computed:"
            f" {error_line(error)}"
        ) from error
    if outputs.shape[-1] != problem.heads.out_features:
        raise ConfigError(
            f"mnet: the network has {outputs.shape[-1]} outputs, but the tasks need"
            f" {problem.heads.out_features}: {problem.heads.kind} heads of"
            f" {list(problem.heads.sizes)[:8]}"
        )


def check_schedule(train: Train, tasks: Sequence[TaskLike]) -> None:
    """Refuse a schedule that follows validation scores where there are none.

    Raises:
        ConfigError: A task has no validation samples.
    """
    schedule = train.schedule
    if schedule is None or not follows_score(schedule.name):
        return
    if schedule.every == "step":
        raise ConfigError(
            f"train.schedule: {schedule.name} follows the validation score: every=epoch"
        )
    if any(task.val is None for task in tasks):
        raise ConfigError(NEEDS_SCORE)


def last_batches_to_leave_out(problem: Problem, batch_size: int) -> tuple[bool, ...]:
    """For each task, whether its last batch is one sample that cannot be trained on.

    Raises:
        ConfigError: All batches are such.
    """
    tasks = problem.tasks
    single = [len(task.train) % batch_size == 1 or batch_size == 1 for task in tasks]
    if not any(single) or _trains_on_one(problem):
        return (False,) * len(tasks)
    for task in tasks:
        if batch_size == 1 or len(task.train) == 1:
            raise ConfigError(
                "train.batch_size: batch norm needs at least 2 samples in a batch, but"
                f" {task.spec.name} has {len(task.train)} in batches of {batch_size}"
            )
    return tuple(single)


@torch.no_grad()
def _trains_on_one(problem: Problem) -> bool:
    """Whether a batch of one can be trained on; a copy protects running statistics."""
    batch = _first(problem.tasks[0], 1, problem.device)
    try:
        with seeded(0):
            copy.deepcopy(problem.module).train()(batch.x)
    except ValueError as error:
        if _MORE_THAN_ONE in str(error):
            return False
        raise
    return True


def _first(task: TaskLike, size: int, device: torch.device) -> BatchLike:
    generator = torch.Generator().manual_seed(0)  # augmentation must not move the global one
    return next(iter(task.test.batches(size, generator=generator, device=device)))


def notes_on_batches(
    tasks: Sequence[TaskLike], leave_out: Sequence[bool], batch_size: int
) -> list[str]:
    """A remark on the samples that batch norm leaves out of each pass."""
    affected = [task for task, left in zip(tasks, leave_out, strict=True) if left]
    if not affected:
        return []
    sizes = ", ".join(f"{task.spec.name} has {len(task.train)}" for task in affected[:3])
    text = (
        "batch norm cannot train on one sample: the last one of each pass is left out, another one"
        f" in each ({sizes} samples, in batches of {batch_size})"
    )
    return [text]


def notes_on_stopping(steps: Sequence[int], train: Train) -> list[str]:
    """A remark on early stopping that comes too late for every task."""
    if train.patience is None:
        return []
    # The first validation is an improvement.
    earliest = train.validate_every * (train.patience + 1)
    if earliest < max(steps):
        return []
    text = (
        f"train.patience={train.patience} stops no task early: that takes {earliest} steps, with a"
        f" validation every {train.validate_every}, but tasks have {max(steps)}"
    )
    return [text]


def notes_on_validation(
    given: Sequence[TaskLike], tasks: Sequence[TaskLike], *, patience: int | None
) -> list[str]:
    """Remarks on validation samples that were held out, or are missing."""
    notes = []
    cut = [
        (before, after)
        for before, after in zip(given, tasks, strict=True)
        if before.val is None and after.val is not None
    ]
    if cut:
        before, after = cut[0]
        held = len(before.train) - len(after.train)
        notes.append(
            f"no validation samples: {held} of {len(before.train)} training samples of"
            f" {before.spec.name} are held out"
            + (f", and likewise of {len(cut) - 1} more tasks" if len(cut) > 1 else "")
            + " (train.hold_out)"
        )
    without = [task.spec.name for task in tasks if task.val is None]
    if without:
        effect = "; train.patience has no effect there" if patience is not None else ""
        notes.append(
            f"no validation samples in {len(without)} of {len(tasks)} tasks, such as"
            f" {without[0]}{effect}"
        )
    return notes
