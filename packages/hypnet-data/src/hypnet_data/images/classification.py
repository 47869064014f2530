"""What all image classification datasets have in common: how stored images and labels become inputs and targets."""

from __future__ import annotations

from dataclasses import dataclass

from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.split import Split, Transform
from hypnet_core.tasks.task import Task
from hypnet_data.transforms import Normalize, OneHot, RandomCrop, Scale


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the stored images of a dataset become inputs.

    Attributes:
        mean: Mean of each channel over the training images, scaled to [0, 1].
        std: Standard deviation likewise.
        padding: Pixels by which augmentation shifts an image at most.
        maximum: The value that is stored for white.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    maximum: float = 255.0

    def transforms(self, *, normalize: bool, augmentation: bool = False) -> tuple[Transform, ...]:
        """The steps from stored images to inputs."""
        steps: list[Transform] = [RandomCrop(self.padding)] if augmentation else []
        steps.append(Scale(self.maximum))
        if normalize:
            steps.append(Normalize(self.mean, self.std))
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
        augmentation: Whether training images are shifted at random.
        normalize: Whether inputs are normalised; `None` for as `augmentation` says.
    """
    normalize = augmentation if normalize is None else normalize
    targets = (OneHot(classes),) if one_hot else ()
    evaluation = preprocessing.transforms(normalize=normalize)
    training = preprocessing.transforms(normalize=normalize, augmentation=augmentation)

    def prepared(split: Split, transforms: tuple[Transform, ...]) -> Split:
        return split.with_transforms(*transforms).with_target_transforms(*targets)

    spec = TaskSpec(
        name=name,
        kind="classification",
        in_shape=tuple(train.samples.x.shape[1:]),
        out_shape=(classes,),
        normalization=(preprocessing.mean, preprocessing.std) if normalize else None,
    )
    validation = None if val is None else prepared(val, evaluation)
    return Task(spec, prepared(train, training), prepared(test, evaluation), validation)
