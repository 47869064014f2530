"""Target transforms of the tasks of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.tasks import Split, Transform
from hypnet_data.transforms import ClassIndex


def class_indices(split: Split) -> Tensor:
    """The class `[n]` of each sample, whatever the form of the targets."""
    return ClassIndex()(split.targets)


def with_labels(split: Split, labels: tuple[int, ...]) -> Split:
    """The samples of some classes."""
    return split.subset(torch.isin(class_indices(split), torch.tensor(labels)))


def relabelled(split: Split, *steps: Transform) -> Split:
    """The same samples with further target transforms, which act on class indices."""
    return split.with_target_transforms(*split.target_transforms, ClassIndex(), *steps)
