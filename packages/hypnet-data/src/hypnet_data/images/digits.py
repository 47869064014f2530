"""Handwritten digits of 8x8 pixels, which come with scikit-learn: real data without a download."""

from __future__ import annotations

import numpy as np

from hypnet_core.tasks import Split, Task
from hypnet_data.holdout import stratified
from hypnet_data.images.classification import Preprocessing, image_task

TEST_SIZE = 360
PREPROCESSING = Preprocessing(mean=(0.3050,), std=(0.3759,), padding=1, maximum=16.0)
"""Pixels are stored as 0 to 16; mean and standard deviation are those of the 1,437 images that are not for testing."""


def digits(
    *,
    validation_size: int = 180,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
) -> Task:
    """Handwritten digits, 1,797 grey images of 8x8 pixels in ten classes, split into 1,257 / 180 / 360.

    The images come with scikit-learn. They are split without any randomness: 360 test
    images, of every class its share of a fifth, spread evenly over the file; then the
    validation images from the rest in the same way. What is left is for training.
    Inputs are `(1, 8, 8)` between 0 and 1.

    Args:
        validation_size: Number of validation images; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to one pixel;
            all inputs are then normalised as well.
        normalize: Whether to subtract the mean (0.3050) and divide by the standard
            deviation (0.3759); by default exactly with augmentation.

    Raises:
        ConfigError: `validation_size` leaves nothing to learn from.

    References:
        E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI
        Machine Learning Repository, 1998: the test part of the set.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    everything = Split.of(raw.images.astype(np.uint8)[:, None], raw.target.astype(np.uint8))
    in_test = stratified(everything.targets, TEST_SIZE)
    rest, test = everything.subset(~in_test), everything.subset(in_test)
    in_val = stratified(rest.targets, validation_size)
    return image_task(
        "digits",
        rest.subset(~in_val),
        test,
        rest.subset(in_val) if validation_size else None,
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
    )
