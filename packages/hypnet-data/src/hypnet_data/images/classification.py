"""Preprocessing and splits that all image classification datasets share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hypnet_core.errors import ConfigError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task, Transform
from hypnet_data._io.prepared import Array
from hypnet_data.holdout import hold_out_first
from hypnet_data.transforms import Cutout, Normalize, OneHot, RandomCrop, RandomFlip, Scale

# As torchvision's pretrained networks expect.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The steps from the stored images of a dataset to inputs.

    Attributes:
        mean: Mean of each channel over the training images, scaled to [0, 1].
        std: Standard deviation of each channel, likewise.
        padding: Largest shift of the augmentation in pixels.
        flips: Whether augmentation mirrors images.
        cutout: Side in pixels of the square that cutout blanks out.
        maximum: The stored value of white.
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
        # Augmentation first: it moves bytes, a quarter of the size of floats.
        steps: list[Transform] = [RandomCrop(self.padding)] if augmentation else []
        # Flips move bytes too.
        if augmentation and self.flips:
            steps.append(RandomFlip())
        steps.append(Scale(self.maximum))
        if normalize:
            steps.append(Normalize(self.mean, self.std))
        if cutout:
            steps.append(Cutout(self.cutout))  # last, so that blank pixels equal the mean
        return tuple(steps)


@dataclass(frozen=True)
class RawImages:
    """The splits of an image dataset, raw: images `[N, C, H, W]` and labels `[N]`."""

    train: Split
    test: Split
    val: Split | None


def image_task(
    name: str,
    images: RawImages,
    *,
    classes: int,
    preprocessing: Preprocessing,
    one_hot: bool,
    augmentation: bool,
    normalize: bool | None,
    cutout: bool = False,
) -> Task:
    """A classification task from raw images.

    Args:
        name: The task's name.
        images: The splits.
        classes: Number of classes.
        preprocessing: The steps from images to inputs.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are augmented.
        normalize: Whether inputs are normalised; `None` for the value of
            `augmentation`.
        cutout: Whether augmentation also blanks out a square.

    Raises:
        ConfigError: Cutout is requested without augmentation.
    """
    if cutout and not augmentation:
        raise ConfigError("cutout is a part of the augmentation: set augmentation=true as well")
    normalize = augmentation if normalize is None else normalize
    targets = (OneHot(classes),) if one_hot else ()
    # Evaluation shares the normalisation of training, but not its augmentation.
    evaluation = preprocessing.transforms(normalize=normalize)
    training = preprocessing.transforms(
        normalize=normalize, augmentation=augmentation, cutout=cutout
    )

    def ready(split: Split, transforms: tuple[Transform, ...]) -> Split:
        return split.with_transforms(*transforms).with_target_transforms(*targets)

    spec = TaskSpec(
        name=name,
        kind="classification",
        in_shape=tuple(images.train.samples.x.shape[1:]),
        out_shape=(classes,),
        normalization=(preprocessing.mean, preprocessing.std) if normalize else None,
    )
    validation = None if images.val is None else ready(images.val, evaluation)
    return Task(spec, ready(images.train, training), ready(images.test, evaluation), validation)


def array_split(x: Array, y: Array, *, first_id: int = 0) -> Split:
    """All images `[N, C, H, W]` and labels `[N]`, raw; the arrays are shared."""
    samples = Samples.of(x, y, first_id=first_id)
    return Split(samples, torch.arange(len(samples)))


def held_out(everything: Split, test: Split, validation_size: int) -> RawImages:
    """Hold out the first training images for validation.

    Raises:
        ConfigError: No training images would be left.
    """
    in_val = hold_out_first(everything.targets, validation_size)
    val = everything.subset(in_val) if validation_size else None
    return RawImages(everything.subset(~in_val), test, val)
