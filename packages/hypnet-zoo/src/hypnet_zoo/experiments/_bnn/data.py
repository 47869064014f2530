"""The data of a Bayesian network: whole splits, scaled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import DatasetChoice
from hypnet_core.protocols import SplitLike
from hypnet_core.specs import TaskSpec
from hypnet_zoo.continual.preparation import load_tasks


@dataclass(frozen=True, eq=False)
class Scaling:
    """Shift and scale of a tensor of samples.

    Attributes:
        mean: The shift.
        std: The scale.
    """

    mean: Tensor
    std: Tensor

    @staticmethod
    def of(samples: Tensor) -> Scaling:
        """That of samples `[N, F]`, per feature; constant features keep their scale."""
        std, mean = torch.std_mean(samples, dim=0, correction=0)
        return Scaling(mean, torch.where(std > 0, std, 1.0))

    @staticmethod
    def none(samples: Tensor) -> Scaling:
        """None at all."""
        return Scaling(samples.new_zeros(()), samples.new_ones(()))

    def __call__(self, samples: Tensor) -> Tensor:
        """Scaled samples."""
        return (samples - self.mean) / self.std

    def back(self, samples: Tensor) -> Tensor:
        """Samples in their original units."""
        return samples * self.std + self.mean


@dataclass(frozen=True, eq=False)
class Data:
    """Training and test samples of one task, in their original units.

    Attributes:
        spec: The specification of the task.
        x: Training inputs.
        y: Training targets.
        test_x: Test inputs.
        test_y: Test targets.
        scale_x: The scaling of inputs.
        scale_y: The scaling of targets.
    """

    spec: TaskSpec
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    scale_x: Scaling
    scale_y: Scaling

    @property
    def inside(self) -> Tensor:
        """Test inputs within the range of the training inputs (bool `[N]`)."""
        low, high = self.x.flatten(1).amin(dim=0), self.x.flatten(1).amax(dim=0)
        flat = self.test_x.flatten(1)
        return ((flat >= low) & (flat <= high)).all(dim=1)


def load_data(
    choice: DatasetChoice, *, standardize: bool, dtype: torch.dtype, device: torch.device
) -> Data:
    """Load the only task of a dataset.

    Raises:
        ConfigError: There are several tasks, or samples are sequences.
        DataError: It cannot be loaded.
    """
    tasks = load_tasks(choice)
    if len(tasks) != 1:
        raise ConfigError(f"data: bnn learns one task, {choice.name} has {len(tasks)}")
    task = tasks[0]
    if task.spec.sequence:
        raise ConfigError("data: bnn learns single samples, not sequences")
    x, y = _whole(task.train, dtype, device)
    test_x, test_y = _whole(task.test, dtype, device)
    regression = task.spec.kind == "regression"
    vectors = standardize and len(task.spec.in_shape) == 1
    return Data(
        task.spec,
        x,
        y,
        test_x,
        test_y,
        Scaling.of(x) if vectors else Scaling.none(x),
        Scaling.of(y) if standardize and regression else Scaling.none(x),
    )


def _whole(split: SplitLike, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = next(iter(split.batches(len(split), generator=generator, device=device)))
    y = batch.y
    return batch.x.to(dtype), y.to(dtype) if y.is_floating_point() else y
