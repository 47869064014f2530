"""Hypernetworks that write their target chunk by chunk."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import (
    EMBEDDING,
    Condition,
    HyperNetwork,
    LinearHead,
    check_arguments,
)
from hypnet_core.plugins import only
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork, independent_rows
from hypnet_zoo.hypernets._shared.inner import (
    InnerOption,
    build_inner,
    refuse_inner_init,
    refuse_own_init,
)
from hypnet_zoo.hypernets._shared.options import ConditionalChunksOption
from hypnet_zoo.hypernets._shared.origin import Origin
from hypnet_zoo.init.chunks import chunk_scales, draw_writer, sizes_of_chunks
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import MOMENTS, TRUNK, effective, of_draws
from hypnet_zoo.init.embeddings import draw_chunks
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.measure import mean_squares, rows_to_measure
from hypnet_zoo.init.moments import scalar_moments
from hypnet_zoo.init.options import Init, InitOption, chosen_options
from hypnet_zoo.init.products import WritesProducts, generate_product
from hypnet_zoo.init.protocols import Scalable

CHUNK_EMBEDDINGS = "chunk_embeddings"

# Pairs of conditions and chunks in one batch: enough for full speed, few enough to
# bound the memory of the intermediate features.
_PAIRS = 8192

_logger = logging.getLogger(__name__)


class ChunkEmbeddingOptions(ConditionalChunksOption, total=False):
    """Options of chunk embeddings."""

    chunk_embedding_size: Annotated[
        int, Field(default=8, description="Length of a chunk embedding.")
    ]


class ChunkOptions(ChunkEmbeddingOptions, InitOption, total=False):
    """Options of hypernetworks that write chunks of one size."""

    chunk_size: Annotated[int, Field(default=1000, description="Weights per chunk.")]


class Chunked(InitializedHyperNetwork):
    r"""A hypernetwork that writes the target's weights one chunk at a time.

    The $P$ target weights are laid end to end and cut into $K = \lceil P/n \rceil$
    chunks of $n$. One network $h_\theta$ of any kind writes them all. Its input is a
    learned embedding $c_k$ of the chunk beside the condition's embedding $e$ and the
    unconditional input $u$:

    $$ \omega = \bigl[\, h_\theta(e, u, c_1) \;\cdots\; h_\theta(e, u, c_K)
    \,\bigr]_{1:P} $$

    Only the chunk embeddings grow with the target, so $\theta$ may hold far fewer
    weights than it writes. Where $n$ does not divide $P$, the surplus of the last chunk
    is dropped. Cuts ignore layer borders; `StructuredHMLP` respects them.

    Without ids (`conditions.count=0`), conditional chunk embeddings come from the
    caller: `cond_input={"chunk_embeddings": …}` of shape `[K, chunk_embedding_size]` or
    `[B, K, chunk_embedding_size]`.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        make_inner: Makes $h_\theta$ for one chunk, from the chunk's spec and a
            `ConditionSpec` without ids whose embedding is $[e; u; c_k]$.
        **options: See `ChunkOptions`.

    Raises:
        SpecError: A size is not positive, or the inner hypernetwork keeps conditions
            or takes further inputs.

    Example:
        >>> from hypnet_zoo.hypernets import HMLP
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = Chunked(target, ConditionSpec(count=2, size=8), HMLP, chunk_size=25)
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([60]))
    """

    # One batch of very many conditions touches more fresh memory than it saves
    # (benchmarks/hypercl_step.py).
    conditions_per_call: int | None = 10

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        make_inner: Callable[[TargetSpec, ConditionSpec], HyperNetwork],
        **options: Unpack[ChunkOptions],
    ) -> None:
        check_arguments(target, conditions)
        chosen = chosen_options(ChunkOptions, options)
        chunk_size, embedding_size = chosen["chunk_size"], chosen["chunk_embedding_size"]
        if chunk_size < 1 or embedding_size < 1:
            raise SpecError(
                f"chunk_size and chunk_embedding_size must be positive, got {chunk_size} and"
                f" {embedding_size}"
            )
        num_chunks = -(-target.numel // chunk_size)  # rounded up
        conditional = {CHUNK_EMBEDDINGS: (num_chunks, embedding_size)}  # [K, c]
        super().__init__(
            target,
            conditions,
            chosen["init"],
            conditional=conditional if chosen["conditional_chunks"] else None,
        )
        self.num_chunks = num_chunks
        self.chunk_size = chunk_size
        self.conditional_chunks = chosen["conditional_chunks"]
        if chunk_size > target.numel:
            _logger.warning(
                "chunk_size %d exceeds the target's %d weights: %d are wasted",
                chunk_size,
                target.numel,
                chunk_size - target.numel,
            )
        self.chunk_embeddings = (
            None
            if self.conditional_chunks
            else nn.Parameter(torch.randn(num_chunks, embedding_size))
        )
        self.inner = make_inner(
            TargetSpec(
                params=(ParamSpec(name="chunk", shape=(chunk_size,), kind=ParamKind.OTHER),)
            ),
            ConditionSpec(count=0, size=conditions.size + conditions.input_size + embedding_size),
        )
        self._check_inner()
        if isinstance(self.inner, Scalable):
            refuse_own_init(self.inner, "Chunked")
        self.origin: Origin = Origin(target.numel)
        # Batch norms and parametrisations (which change with every call) must see all
        # chunks of all conditions in one batch.
        self._may_split = independent_rows(self.inner)
        self.initialize()

    def _check_inner(self) -> None:
        if list(self.inner.input_sizes) != [EMBEDDING] or self.inner.members():
            raise SpecError(
                f"{type(self.inner).__name__} cannot write chunks: it takes further inputs beside"
                " the embedding that it is given"
            )

    def _init_options(self) -> frozenset[str]:
        # A network that cannot be scaled keeps its start.
        if not isinstance(self.inner, Scalable):
            return MOMENTS | {"by_bias"}
        return MOMENTS | {"by_bias", "condition_share"} | (effective(self.inner, Init()) & TRUNK)

    def _initialize(self, init: Init) -> None:
        """Give each weight the mean and variance that its tensor should have.

        The mean is added outside; the variance is that of the chunk, times a scale. Its
        sign is drawn: chunks have much in common, and layers of the main network that
        repeat each other would add up.
        """
        means, variances = scalar_moments(self.target, self.starts)
        wanted, scale = sizes_of_chunks(variances, self.chunk_size)
        seed = int(torch.randint(1, 2**31, ()))
        self.origin.place(means, scale, seed=seed)
        # The writer starts from draws; chunk embeddings are measured afterwards with
        # it.
        # Rows are limited, since every row is measured with all chunks.
        most = rows_to_measure(self.inner, self.num_chunks)
        rows, _ = self._rows_and_chunks(calibration_inputs(self, init)[:most])
        draw_writer(self.inner, rows, wanted, init)
        draw_chunks(self, init)
        rows, chunks = self._rows_and_chunks(calibration_inputs(self, init)[:most])
        kept = self.target.numel - (self.num_chunks - 1) * self.chunk_size
        if init.chunk_embedding_std is not None:
            self._scale_to_average(rows, chunks, wanted, kept)
        else:
            scales = chunk_scales(
                self.inner, rows, chunks, wanted, kept=kept, min_variance=init.min_variance
            )
            for embeddings in self.all_chunk_embeddings():
                embeddings.mul_(scales.unsqueeze(1))
        if init.by_bias:
            self.start_at_zero()
            draw = drawn_weights(self.target, of_draws(init))
            self.origin.place(draw.flat, scale, seed=seed)

    def _scale_to_average(self, rows: Tensor, chunks: Tensor, wanted: Tensor, kept: int) -> None:
        """Scale the whole output: with equal embeddings all chunks have one size."""
        if isinstance(self.inner, Scalable):
            found = mean_squares(self.inner, rows, chunks, kept=kept).mean()
            self.inner.scale_outputs((wanted.mean() / found.clamp_min(1e-30)).sqrt())

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero."""
        self.inner.start_at_zero()
        self.origin.reset()

    def all_chunk_embeddings(self) -> list[nn.Parameter]:
        """The chunk embeddings `[K, size]`: one tensor, or one per condition."""
        if self.chunk_embeddings is not None:
            return [self.chunk_embeddings]
        return list(self.parameters_of(CHUNK_EMBEDDINGS))

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        return self._in_blocks(self._written, inputs)

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads, and what they read for all pairs of a condition and a chunk."""
        inner = self.inner
        if not self._may_split or not isinstance(inner, WritesProducts):
            return None
        inputs, _ = self.inputs(condition)
        features = self._in_blocks(inner.features_product, inputs)
        return [LinearHead(features, head.weight, head.bias) for head in inner.linear_heads()]

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts; the surplus of the last chunk does not."""
        squares = importance * self.origin.scale.square()
        surplus = self.num_chunks * self.chunk_size - self.target.numel
        of_chunks = nn.functional.pad(squares, (0, surplus)).view(self.num_chunks, -1)
        heads = self.inner.linear_heads() if isinstance(self.inner, WritesProducts) else []
        return list(of_chunks.split([head.out_features for head in heads], dim=1))

    def _in_blocks(self, write: Callable[[Tensor, Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Compute for all pairs of conditions and chunks, some conditions at a time."""
        rows, chunks = self._rows_and_chunks(inputs)
        # Memory grows with pairs, not with conditions.
        block = max(1, _PAIRS // self.num_chunks) if self._may_split else len(rows)
        if len(rows) <= block:
            return write(rows, chunks)
        # Chunks of each condition are split with it; common ones serve every block.
        own = chunks.split(block) if chunks.ndim == 3 else itertools.repeat(chunks)
        return torch.cat(
            [
                write(some, of_some)
                for some, of_some in zip(rows.split(block), own, strict=False)
                # Not strict, because `repeat` has no end.
            ]
        )

    def _written(self, rows: Tensor, chunks: Tensor) -> Tensor:
        # [B, K, n] to [B, K n]; the surplus of the last chunk is cut off.
        flat = generate_product(self.inner, rows, chunks).flatten(1)[:, : self.target.numel]
        written: Tensor = self.origin(flat)
        return written

    def _rows_and_chunks(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the inputs that all chunks share, and the chunk embeddings."""
        if self.chunk_embeddings is not None:
            return inputs, self.chunk_embeddings
        own = self.input_sizes[CHUNK_EMBEDDINGS]
        rows, flat = inputs.split([inputs.shape[1] - own, own], dim=1)
        return rows, flat.unflatten(1, self.conditional_shapes[CHUNK_EMBEDDINGS])


class ChunkedOptions(ChunkOptions, InnerOption, total=False):
    """Options of the component `chunked`."""


def chunked(
    target: TargetSpec, conditions: ConditionSpec, **options: Unpack[ChunkedOptions]
) -> Chunked:
    """Make a `Chunked` around any registered hypernetwork.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        **options: See `ChunkedOptions`; `inner` writes one chunk.

    Raises:
        SpecError: A size is not positive, or `inner` cannot write chunks.
    """
    chosen = chosen_options(ChunkedOptions, options)
    refuse_inner_init(chosen["inner"])
    make_inner = functools.partial(build_inner, chosen["inner"])
    return Chunked(target, conditions, make_inner, **only(ChunkOptions, chosen))
