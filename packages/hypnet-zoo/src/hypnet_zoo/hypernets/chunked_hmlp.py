"""The chunked hypernetwork: an MLP that writes the weights chunk by chunk."""

from __future__ import annotations

import functools
from typing import Unpack

from hypnet_core.plugins import only
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets.chunked import Chunked, ChunkOptions
from hypnet_zoo.hypernets.hmlp import HMLP
from hypnet_zoo.init.options import chosen_options
from hypnet_zoo.layers.hidden import HiddenOptions, NormOptions


class _LayerOptions(HiddenOptions, NormOptions, total=False):
    """Options of the MLP that writes the chunks."""


class ChunkedHMLPOptions(ChunkOptions, HiddenOptions, NormOptions, total=False):
    """Options of `ChunkedHMLP`."""


class ChunkedHMLP(Chunked):
    r"""An MLP that writes the target's weights one chunk at a time.

    It is `Chunked` around an `HMLP`. Batch norm takes its statistics over chunks and
    conditions.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        **options: See `ChunkedHMLPOptions`.

    Raises:
        SpecError: A size is not positive.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> conditions = ConditionSpec(count=2, size=8)
        >>> hnet = ChunkedHMLP(target, conditions, chunk_size=25, hidden=(10,))
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([60]))
    """

    inner: HMLP

    def __init__(
        self, target: TargetSpec, conditions: ConditionSpec, **options: Unpack[ChunkedHMLPOptions]
    ) -> None:
        chosen = chosen_options(ChunkedHMLPOptions, options)
        make_inner = functools.partial(HMLP, **only(_LayerOptions, chosen))
        super().__init__(target, conditions, make_inner, **only(ChunkOptions, chosen))
