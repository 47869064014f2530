"""Everything that can fail before the first step of `hypercl`."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hypnet_core.errors import ConfigError, HypnetError, error_line
from hypnet_core.networks import HyperNetwork, MainNetwork
from hypnet_core.protocols import BatchLike, Logger, TaskLike
from hypnet_core.runs import build_loggers
from hypnet_core.tasks import check_task
from hypnet_zoo.experiments._hypercl.config import HyperCLConfig
from hypnet_zoo.experiments._hypercl.setup import build_networks, load_tasks, pick_device, seeded
from hypnet_zoo.experiments._hypercl.training import task_loss

_MORE_THAN_ONE = "Expected more than 1 value per channel"
"""The message of torch's batch norm about a training batch of one vector."""


@dataclass(frozen=True)
class Prepared:
    """Device, tasks and networks of a run, checked.

    Attributes:
        device: Where to compute.
        tasks: The tasks.
        net: The main network, as it starts.
        hypernet: The hypernetwork, as it starts.
        loggers: Where metrics go, by name.
        leave_out: For each task, whether the last batch of a pass is left out, because
            batch norm cannot train on its single sample.
        notes: Remarks for the user.
    """

    device: torch.device
    tasks: Sequence[TaskLike]
    net: MainNetwork
    hypernet: HyperNetwork
    loggers: Mapping[str, Logger]
    leave_out: tuple[bool, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, config: HyperCLConfig) -> Prepared:
        """Build and check everything that the configuration describes.

        Raises:
            ConfigError: The device is not there, or options do not fit together.
            DataError: Samples are not what their task says.
        """
        device = pick_device(config.device)
        loggers = build_loggers(config.log)
        tasks = load_tasks(config.data, config.tasks)
        for task in tasks:
            check_task(task)
        # Networks depend on the seed alone, so a resumed run builds the same ones.
        with seeded(config.seed):
            net, hypernet = build_networks(config, tasks, device)
        _check_one_batch(net, hypernet, tasks[0], device)
        leave_out = _to_leave_out(net, hypernet, tasks, config.train.batch_size, device)
        notes = tuple(_notes(tasks, config, leave_out))
        return cls(device, tasks, net, hypernet, loggers, leave_out, notes)

    def batches_per_pass(self, t: int, batch_size: int) -> int:
        """Training batches in one pass over a task."""
        return math.ceil(len(self.tasks[t].train) / batch_size) - self.leave_out[t]


def _first(task: TaskLike, size: int, device: torch.device) -> BatchLike:
    generator = torch.Generator().manual_seed(0)  # augmentation must not move the global one
    return next(iter(task.test.batches(size, generator=generator, device=device)))


@torch.no_grad()
def _check_one_batch(
    net: MainNetwork, hypernet: HyperNetwork, task: TaskLike, device: torch.device
) -> None:
    """Compute a loss, which tells whether networks and data fit together.

    In evaluation mode, in which no running statistics change.
    """
    batch = _first(task, min(2, len(task.test)), device)
    before = net.training, hypernet.training
    net.eval()
    hypernet.eval()
    try:
        with seeded(0):
            task_loss(net(batch.x, weights=hypernet(0)), batch.y, task.spec)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if isinstance(error, HypnetError):
            raise
        raise ConfigError(
            f"mnet: the loss of inputs {list(batch.x.shape)} cannot be computed:"
            f" {error_line(error)}"
        ) from error
    finally:
        net.train(before[0])
        hypernet.train(before[1])


def _to_leave_out(
    net: MainNetwork,
    hypernet: HyperNetwork,
    tasks: Sequence[TaskLike],
    batch_size: int,
    device: torch.device,
) -> tuple[bool, ...]:
    """For each task, whether its last batch is one sample that cannot be trained on."""
    single = [len(task.train) % batch_size == 1 or batch_size == 1 for task in tasks]
    if not any(single) or _trains_on_one(net, hypernet, tasks[0], device):
        return (False,) * len(tasks)
    for task in tasks:
        if batch_size == 1 or len(task.train) == 1:
            raise ConfigError(
                "train.batch_size: batch norm needs at least 2 samples in a batch, but"
                f" {task.spec.name} has {len(task.train)} in batches of {batch_size}"
            )
    return tuple(single)


@torch.no_grad()
def _trains_on_one(
    net: MainNetwork, hypernet: HyperNetwork, task: TaskLike, device: torch.device
) -> bool:
    """Whether a batch of one can be trained on; a copy protects running statistics."""
    batch = _first(task, 1, device)
    try:
        with seeded(0):
            copy.deepcopy(net).train()(batch.x, weights=hypernet(0))
    except ValueError as error:
        if _MORE_THAN_ONE in str(error):
            return False
        raise
    return True


def _notes(
    tasks: Sequence[TaskLike], config: HyperCLConfig, leave_out: Sequence[bool]
) -> list[str]:
    affected = [task for task, left in zip(tasks, leave_out, strict=True) if left]
    if not affected:
        return []
    sizes = ", ".join(f"{task.spec.name} has {len(task.train)}" for task in affected[:3])
    text = (
        "batch norm cannot train on one sample: the last one of each pass is left out, another one"
        f" in each ({sizes} samples, in batches of {config.train.batch_size})"
    )
    return [text]
