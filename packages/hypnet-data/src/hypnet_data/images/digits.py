"""Handwritten digits of 8x8 pixels, from scikit-learn: real data without a download."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from hypnet_core.plugins import with_defaults
from hypnet_core.tasks import Split, Task
from hypnet_data.holdout import hold_out_stratified
from hypnet_data.images.classification import Preprocessing, RawImages, image_task
from hypnet_data.options import InputOptions, TargetOptions

TEST_SIZE = 360
# Pixels are stored as 0 to 16. The statistics are those of the 1,437 images that are
# not for testing.
PREPROCESSING = Preprocessing(mean=(0.3050,), std=(0.3759,), padding=1, maximum=16.0)


class DigitsOptions(TargetOptions, InputOptions, total=False):
    """Options of the small digits."""


def digits(*, validation_size: int = 180, **options: Unpack[DigitsOptions]) -> Task:
    """1,797 images of handwritten digits, 8x8 grey pixels: 1,257 / 180 / 360.

    The images come with scikit-learn. The split is not random: the test set holds 360
    images, a fifth of every class, spread evenly over the file; the validation images
    are chosen from the rest in the same way, and all others are for training. Inputs
    are `(1, 8, 8)` between 0 and 1. Augmentation shifts images by up to one pixel; the
    mean is 0.3050 and the standard deviation 0.3759.

    Args:
        validation_size: Number of validation images; 0 for no validation split.
        **options: See `DigitsOptions`.

    Raises:
        ConfigError: `validation_size` leaves no training images.

    References:
        E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI
        Machine Learning Repository, 1998: the test part of the set.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    # Whole numbers up to 16, which scikit-learn gives as doubles.
    everything = Split.of(raw.images.astype(np.uint8)[:, None], raw.target.astype(np.uint8))
    in_test = hold_out_stratified(everything.targets, TEST_SIZE)
    # Views of the same store: ids are places in scikit-learn's file.
    rest, test = everything.subset(~in_test), everything.subset(in_test)
    in_val = hold_out_stratified(rest.targets, validation_size)
    val = rest.subset(in_val) if validation_size else None
    return image_task(
        "digits",
        RawImages(rest.subset(~in_val), test, val),
        classes=10,
        preprocessing=PREPROCESSING,
        **with_defaults(DigitsOptions, options),
    )
