"""Transforms: the steps between stored samples and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Transform(Protocol):
    """A step between the stored samples and a batch: a function of a whole batch.

    It is called with the inputs (or targets) `[B, …]` of one batch and with the
    generator from which all its randomness must come (`None`: torch's global one). The
    batch is a private copy, so a transform may work in place. It draws random numbers
    on the CPU, so that results do not depend on the device. A transform must be
    immutable. One that is meant for training alone derives from `Augmentation`.

    Example:
        >>> from hypnet_core.tasks import Split
        >>> def negative(x, generator):
        ...     return 1 - x
        >>> Split.of([[0.25]], [0], transforms=[negative])[0][0]
        tensor([0.7500])
    """

    def __call__(self, values: Tensor, generator: torch.Generator | None, /) -> Tensor:
        """Transform a batch."""
        ...


class Augmentation(ABC):
    """Base class of random transforms that are meant for training alone.

    `Split.unaugmented` leaves an augmentation out, or replaces it by its
    `for_evaluation()`.

    Example:
        >>> from hypnet_core.tasks import Split
        >>> class Jitter(Augmentation):
        ...     def __call__(self, values, generator=None):
        ...         return values + torch.rand(values.shape, generator=generator)
        >>> Split.of([[0.25]], [0], transforms=[Jitter()]).unaugmented()[0][0]
        tensor([0.2500])
    """

    @abstractmethod
    def __call__(self, values: Tensor, generator: torch.Generator | None = None, /) -> Tensor:
        """Transform a batch."""

    def for_evaluation(self) -> Transform | None:
        """The transform that evaluation uses instead; `None` to leave this step out."""
        return None


def unit_interval(values: Tensor, _generator: torch.Generator | None = None, /) -> Tensor:
    """Scale bytes to torch's default floating-point type between 0 and 1."""
    # In place is safe: `to` has just made the numbers.
    return values.to(torch.get_default_dtype()).div_(255)


@runtime_checkable
class Reader(Protocol):
    """Reads the inputs of a batch from where the stored samples say that they are.

    A `LoadedSplit` stores file names, for instance, and its reader decodes the files.
    """

    @property
    def is_random(self) -> bool:
        """Whether reading a sample twice may give different inputs."""
        ...

    def __call__(self, stored: Tensor, generator: torch.Generator | None, /) -> Tensor:
        """Read the inputs of a batch.

        Args:
            stored: Where they are: rows `[B, …]` of `Samples.x`.
            generator: The source of all randomness; `None` for torch's global one.
        """
        ...

    def for_evaluation(self) -> Reader:
        """The reader of validation and test samples, which is not random."""
        ...
