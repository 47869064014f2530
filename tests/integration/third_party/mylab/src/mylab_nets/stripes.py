"""The dataset `stripes`."""

from __future__ import annotations

import torch

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError


def stripes(*, samples: int = 200, width: float = 0.5, noise: float = 0.0, seed: int = 0) -> Task:
    r"""Points $x$ of the square $[-1, 1]^2$ in vertical stripes of alternating classes.

    The class is $y = \lfloor x_1 / w \rfloor \bmod 2$.

    Args:
        samples: Number of training samples; half as many are for tests.
        width: Width $w$ of a stripe.
        noise: Standard deviation of the noise on the inputs.
        seed: Seed of points and noise.

    Raises:
        ConfigError: There are too few samples, or the width is not positive.
    """
    if samples < 2 or width <= 0:
        raise ConfigError(
            f"stripes needs two samples and a positive width, got {samples} and {width:g}"
        )
    generator = torch.Generator().manual_seed(seed)
    points = 2 * torch.rand(samples + samples // 2, 2, generator=generator) - 1
    classes = (points[:, 0] / width).floor().long() % 2
    points += noise * torch.randn(points.shape, generator=generator)
    spec = TaskSpec(name="stripes", kind="classification", in_shape=(2,), out_shape=(2,))
    everything = Split.of(points, classes)
    return Task(
        spec,
        everything.subset(torch.arange(samples)),
        everything.subset(torch.arange(samples, len(points))),
    )
