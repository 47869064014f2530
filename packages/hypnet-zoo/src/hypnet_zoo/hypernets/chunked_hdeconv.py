"""Transposed convolutions that draw the weights chunk by chunk."""

from __future__ import annotations

import functools
import math
from typing import Unpack

from hypnet_core.plugins import only
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets.chunked import Chunked, ChunkEmbeddingOptions
from hypnet_zoo.hypernets.hdeconv import DeconvOptions, HDeconv
from hypnet_zoo.init.options import InitOption, chosen_options


class _OuterOptions(ChunkEmbeddingOptions, InitOption, total=False):
    """Options that go to `Chunked`."""


class ChunkedHDeconvOptions(DeconvOptions, ChunkEmbeddingOptions, InitOption, total=False):
    """Options of `ChunkedHDeconv` besides the shape of the image."""


class ChunkedHDeconv(Chunked):
    r"""A deconvolutional network that writes the target's weights one image at a time.

    It is `Chunked` around an `HDeconv`. Batch norm takes its statistics over chunks and
    conditions.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        image_shape: `(height, width)` or `(channels, height, width)` of the image;
            every chunk has as many weights as the image has pixels.
        **options: See `ChunkedHDeconvOptions`.

    Raises:
        SpecError: A size is not positive, or the numbers of layers, filters and kernels
            do not fit together.

    Example:
        >>> target = TargetSpec.from_shapes([[30, 20], [30]])
        >>> conditions = ConditionSpec(count=2)
        >>> sizes = {"image_shape": (16, 16), "filters": (32, 16, 16, 8)}
        >>> hnet = ChunkedHDeconv(target, conditions, **sizes)
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([630]))
    """

    inner: HDeconv

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        image_shape: tuple[int, ...] = (32, 32),
        **options: Unpack[ChunkedHDeconvOptions],
    ) -> None:
        chosen = chosen_options(ChunkedHDeconvOptions, options)
        make_inner = functools.partial(
            HDeconv, image_shape=image_shape, **only(DeconvOptions, chosen)
        )
        super().__init__(
            target,
            conditions,
            make_inner,
            chunk_size=math.prod(image_shape),  # one pixel per weight
            **only(_OuterOptions, chosen),
        )
