"""Steps from stored samples to inputs and targets; each works on a whole batch.

All of them are `hypnet_core.tasks.Transform`s: immutable, with no source of randomness
but the generator that they receive. torchvision's random transforms draw once per batch
and from torch's global generator; these draw for each image, at the same speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.tasks import Augmentation


@dataclass(frozen=True)
class Scale:
    """Scale numbers between 0 and `maximum` to float32 between 0 and 1.

    Args:
        maximum: The largest stored value; 255 for bytes.

    Example:
        >>> Scale(16)(torch.tensor([0, 4, 16], dtype=torch.uint8))
        tensor([0.0000, 0.2500, 1.0000])
    """

    maximum: float = 255.0

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The scaled batch."""
        # In place is safe: `to` has just made the floats.
        return values.to(torch.float32).div_(self.maximum)


@dataclass(frozen=True)
class Normalize:
    r"""Subtract a mean and divide by a standard deviation: $(x - \mu_c) / \sigma_c$.

    Args:
        mean: $\mu$, one number per channel.
        std: $\sigma$, one number per channel.

    Shapes:
        Images `[B, C, H, W]`, floating point; changed in place.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The normalised batch."""
        # Without tensors of statistics, one channel takes a third of the time.
        if len(self.mean) == len(self.std) == 1:
            return values.sub_(self.mean[0]).div_(self.std[0])
        mean, std = (values.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return values.sub_(mean).div_(std)


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Shift each image at random: pad all sides with zeros, and crop to the old size.

    For training alone. Use it on raw images, before `Scale` and `Normalize`, so that
    padded pixels are black.

    Args:
        padding: Pixels on each side: the largest shift.

    Shapes:
        Images `[B, C, H, W]`.
    """

    padding: int

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The shifted batch."""
        size, _, height, width = values.shape
        # Drawn on the CPU, so that a seed gives the same shifts on every device.
        places = torch.randint(2 * self.padding + 1, (2, size), generator=generator).to(
            values.device
        )
        # Zeros are black in raw images.
        padded = F.pad(values, [self.padding] * 4)
        # A view [B, C, 2 * padding + 1, 2 * padding + 1, H, W]: one window per shift.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(size, device=values.device), :, places[0], places[1]]


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror each image, left to right, with probability one half.

    For training alone.

    Shapes:
        Images `[B, C, H, W]`.
    """

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The batch with some images mirrored."""
        chosen = torch.rand(len(values), generator=generator).to(values.device) < 0.5
        # Both versions exist for a moment; choosing rows would copy as well.
        return torch.where(chosen[:, None, None, None], values.flip(-1), values)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Blank out a square of each image.

    Its centre is anywhere in the image, so that a part of it may lie outside. For
    training alone. Use it on normalised images, whose zero is the mean.

    Args:
        length: Side of the square in pixels.
        holes: Number of squares per image.

    Shapes:
        Images `[B, C, H, W]`, floating point; changed in place.

    References:
        T. DeVries and G. W. Taylor, *Improved Regularization of Convolutional Neural
        Networks with Cutout*, 2017, arXiv:1708.04552.
    """

    length: int
    holes: int = 1

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The batch with blank squares."""
        rows, columns = (
            self._covered(len(values), size, generator).to(values.device)
            for size in values.shape[2:]
        )
        # A square covers a pixel if it covers its row and its column.
        blank = (rows[:, :, :, None] & columns[:, :, None, :]).any(dim=1)
        return values.masked_fill_(blank[:, None], 0.0)

    def _covered(self, images: int, size: int, generator: torch.Generator | None) -> Tensor:
        """Flags `[B, holes, size]` for the places on one side that squares cover."""
        # The centre may be any pixel, so a square may reach over the border.
        start = torch.randint(size, (images, self.holes, 1), generator=generator) - self.length // 2
        places = torch.arange(size)  # on the CPU, like the draw
        return (places >= start) & (places < start + self.length)


@dataclass(frozen=True, eq=False)
class Permute:
    """Reorder the pixels of images, or the features of vectors, and add a frame.

    Made by `Permute.of`. Padding and permutation are one step: the pixels of the frame
    are written to their permuted places, so each batch is copied once and not twice.

    Args:
        source: Source of each place of the result, int32 `[P]`; arbitrary for places of
            the frame.
        shape: Shape of one sample of the result.
        inside: 1 for places that come from the image and 0 for those of the frame,
            float32 `[P]`; `None` without a frame.
        frame: Values of the frame, and 0 elsewhere, float32 `[C, P]`; `None` for a
            frame of zeros.

    Shapes:
        Images `[B, C, H, W]` or vectors `[B, F]`, floating point.

    Example:
        >>> Permute.of((3,), torch.tensor([2, 0, 1]))(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[3., 1., 2.]])
        >>> Permute.of((1, 1, 1), padding=1, fill=(0.5,))(torch.tensor([[[[2.0]]]]))
        tensor([[[[0.5000, 0.5000, 0.5000],
                  [0.5000, 2.0000, 0.5000],
                  [0.5000, 0.5000, 0.5000]]]])
    """

    source: Tensor
    shape: tuple[int, ...]
    inside: Tensor | None = None
    frame: Tensor | None = None

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        permutation: Tensor | None = None,
        *,
        padding: int = 0,
        fill: tuple[float, ...] = (0.0,),
    ) -> Permute:
        """A permutation of padded images, or of vectors.

        Args:
            shape: Shape of one sample, `(C, H, W)` or `(F,)`.
            permutation: The place of the padded image that each place of the result
                comes from, row by row; `None` for no permutation.
            padding: Pixels to add on each side of an image.
            fill: Values of these pixels, one per channel, or one for all.
        """
        if not padding:
            places = math.prod(shape[-2:]) if len(shape) == 3 else shape[0]
            return cls(
                (torch.arange(places) if permutation is None else permutation).to(torch.int32),
                shape,
            )
        channels, height, width = shape
        # Padding the numbers of the places shows where each pixel comes from.
        numbered = F.pad(
            torch.arange(height * width).view(1, height, width), [padding] * 4, value=-1
        )[0]
        source = numbered.flatten() if permutation is None else numbered.flatten()[permutation]
        inside = (source >= 0).to(torch.float32)
        frame = (1 - inside) * torch.tensor(fill)[:, None] if any(fill) else None
        return cls(source.clamp(min=0).to(torch.int32), (channels, *numbered.shape), inside, frame)

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The permuted batch."""
        # All channels move alike: each becomes one row.
        inputs = values.flatten(2).flatten(0, 1) if values.ndim == 4 else values
        # In two dimensions, twice as fast as in three.
        moved = inputs.index_select(1, self.source.to(values.device))
        if self.inside is not None:
            moved.mul_(self.inside.to(values.device))
        result = moved.view(len(values), *self.shape)
        if self.frame is not None:
            # Through a view: `flatten` of a contiguous result copies nothing.
            result.flatten(2).add_(self.frame.to(values.device))
        return result


@dataclass(frozen=True)
class Shift:
    """Add a number to class indices, so that they become those of the task's own head.

    Args:
        by: Number of classes of the heads before.

    Example:
        >>> Shift(10)(torch.tensor([0, 3]))
        tensor([10, 13])
    """

    by: int

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The class indices among those of all heads."""
        return values + self.by


@dataclass(frozen=True)
class ClassIndex:
    """Turn one-hot rows into class indices; class indices are unchanged."""

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The class indices `[B]`."""
        return values if values.ndim == 1 else values.argmax(dim=1)


@dataclass(frozen=True)
class Relabel:
    """Replace labels by their places in a list of labels.

    Args:
        labels: The labels, in the order of the new classes.

    Example:
        >>> Relabel((7, 2))(torch.tensor([2, 7, 7]))
        tensor([1, 0, 0])
    """

    labels: tuple[int, ...]

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The new class indices `[B]`."""
        # Other labels become -1, which is not a class: a loss refuses it.
        # A look-up table: one indexing for the whole batch.
        table = torch.full((max(self.labels) + 1,), -1)
        table[list(self.labels)] = torch.arange(len(self.labels))
        return table.to(values.device)[values]


@dataclass(frozen=True)
class OneHot:
    """Turn class indices into one-hot rows, as float32.

    Args:
        classes: Number of classes, including those without samples.

    Example:
        >>> OneHot(3)(torch.tensor([2, 0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """

    classes: int

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None) -> Tensor:
        """The one-hot rows `[B, classes]`."""
        return F.one_hot(values, self.classes).to(torch.float32)
