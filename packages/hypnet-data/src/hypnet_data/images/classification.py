"""What all image classification datasets have in common: how stored images and labels become inputs and targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hypnet_core.errors import ConfigError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task, Transform
from hypnet_data._io.prepared import Array
from hypnet_data.holdout import first
from hypnet_data.transforms import Cutout, Normalize, OneHot, RandomCrop, RandomFlip, Scale


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the stored images of a dataset become inputs.

    Attributes:
        mean: Mean of each channel over the training images, scaled to [0, 1].
        std: Standard deviation likewise.
        padding: Pixels by which augmentation shifts an image at most.
        flips: Whether augmentation mirrors images.
        cutout: Side in pixels of the square that cutout makes blank.
        maximum: The value that is stored for white.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flips: bool = False
    cutout: int = 0
    maximum: float = 255.0

    def transforms(
        self, *, normalize: bool, augmentation: bool = False, cutout: bool = False
    ) -> tuple[Transform, ...]:
        """The steps from stored images to inputs."""
        steps: list[Transform] = [RandomCrop(self.padding)] if augmentation else []
        if augmentation and self.flips:
            steps.append(RandomFlip())
        steps.append(Scale(self.maximum))
        if normalize:
            steps.append(Normalize(self.mean, self.std))
        if cutout:
            steps.append(Cutout(self.cutout))  # last, so that what is blank is the mean
        return tuple(steps)


def image_task(
    name: str,
    train: Split,
    test: Split,
    val: Split | None,
    *,
    classes: int,
    preprocessing: Preprocessing,
    one_hot: bool,
    augmentation: bool,
    normalize: bool | None,
    cutout: bool = False,
) -> Task:
    """A classification task from splits of raw images `[N, C, H, W]` and labels `[N]`.

    Args:
        name: The task's name.
        train: Training images, raw.
        test: Test images, raw.
        val: Validation images, raw; `None` for none.
        classes: Number of classes.
        preprocessing: How images become inputs.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are augmented.
        normalize: Whether inputs are normalised; `None` for as `augmentation` says.
        cutout: Whether augmentation blanks out a square as well.

    Raises:
        ConfigError: Cutout is asked for without augmentation.
    """
    if cutout and not augmentation:
        raise ConfigError("cutout is a part of the augmentation: set augmentation=true as well")
    normalize = augmentation if normalize is None else normalize
    targets = (OneHot(classes),) if one_hot else ()
    evaluation = preprocessing.transforms(normalize=normalize)
    training = preprocessing.transforms(
        normalize=normalize, augmentation=augmentation, cutout=cutout
    )

    def ready(split: Split, transforms: tuple[Transform, ...]) -> Split:
        return split.with_transforms(*transforms).with_target_transforms(*targets)

    spec = TaskSpec(
        name=name,
        kind="classification",
        in_shape=tuple(train.samples.x.shape[1:]),
        out_shape=(classes,),
        normalization=(preprocessing.mean, preprocessing.std) if normalize else None,
    )
    validation = None if val is None else ready(val, evaluation)
    return Task(spec, ready(train, training), ready(test, evaluation), validation)


def array_split(x: Array, y: Array, *, first_id: int = 0) -> Split:
    """All of some images `[N, C, H, W]` and labels `[N]`, raw; the arrays are shared."""
    samples = Samples.of(x, y, first_id=first_id)
    return Split(samples, torch.arange(len(samples)))


def held_out(everything: Split, validation_size: int) -> tuple[Split, Split | None]:
    """Training and validation samples: the first ones are for validation.

    Raises:
        ConfigError: Nothing would be left to learn from.
    """
    in_val = first(everything.targets, validation_size)
    return everything.subset(~in_val), everything.subset(in_val) if validation_size else None
