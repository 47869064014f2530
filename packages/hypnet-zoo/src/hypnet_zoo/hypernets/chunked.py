"""Hypernetworks that write their target chunk by chunk."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks import EMBEDDING, HyperNetwork
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec
from hypnet_zoo._activations import ActivationName
from hypnet_zoo._chunking.products import generate_product
from hypnet_zoo.hypernets._inner import HypernetChoice, build_inner
from hypnet_zoo.hypernets.hmlp import HMLP
from hypnet_zoo.init.chunks import (
    chunk_scales,
    init_inner,
    rows_to_measure,
    start_embeddings,
    wanted_per_chunk,
)
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart

__all__ = ["CHUNK_EMBEDDINGS", "Chunked", "ChunkedHMLP", "chunked"]

CHUNK_EMBEDDINGS = "chunk_embeddings"

# Pairs of conditions and chunks in one batch: enough for full speed, few enough that
# what a pass needs for a moment stays small.
_PAIRS = 8192

_logger = logging.getLogger(__name__)


class Chunked(HyperNetwork):
    r"""A hypernetwork that writes the target's weights one chunk at a time, with an inner hypernetwork of any kind.

    The $P$ target weights are laid end to end and cut into $K = \lceil P/n \rceil$
    chunks of $n$. One network $h_\theta$ writes them all, told by a learned embedding
    $c_k$ which chunk it is at, by $e$ which condition, and by $u$ what the caller adds:

    $$ \omega = \bigl[\, h_\theta(e, u, c_1) \;\cdots\; h_\theta(e, u, c_K)
    \,\bigr]_{1:P} $$

    Only the chunk embeddings grow with the target, so $\theta$ may hold far fewer
    weights than it writes. Where $n$ does not divide $P$, the surplus of the last chunk
    is dropped. Cuts ignore layer borders; `StructuredHMLP` respects them.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        make_inner: Makes $h_\theta$ for one chunk, from the chunk's spec and a
            `ConditionSpec` without ids whose embedding is $[e; u; c_k]$.
        chunk_size: Weights per chunk.
        chunk_embedding_size: Length of a chunk embedding.
        conditional_chunks: Each condition has chunk embeddings of its own. With
            `conditions.count=0` they come from the caller:
            `cond_input={"chunk_embeddings": …}` of shape `[K, chunk_embedding_size]` or
            `[B, K, chunk_embedding_size]`.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: A size is not positive, or the inner hypernetwork has conditions or
            inputs of its own.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = Chunked(target, ConditionSpec(count=2, size=8), HMLP, chunk_size=25)
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([60]))
    """

    # One batch of very many conditions touches more fresh memory than it saves
    # (benchmarks/hypercl_step.py).
    conditions_per_call: ClassVar[int | None] = 10

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        make_inner: Callable[[TargetSpec, ConditionSpec], HyperNetwork],
        *,
        chunk_size: int = 1000,
        chunk_embedding_size: int = 8,
        conditional_chunks: bool = False,
        fan: Fan = "in",
    ) -> None:
        if chunk_size < 1 or chunk_embedding_size < 1:
            raise SpecError(
                f"chunk_size and chunk_embedding_size must be positive, got {chunk_size} and"
                f" {chunk_embedding_size}"
            )
        num_chunks = -(-target.numel // chunk_size)
        chunk_shape = (num_chunks, chunk_embedding_size)
        super().__init__(
            target,
            conditions,
            conditional={CHUNK_EMBEDDINGS: chunk_shape} if conditional_chunks else None,
        )
        self.num_chunks = num_chunks
        self.chunk_size = chunk_size
        self.conditional_chunks = conditional_chunks
        if chunk_size > target.numel:
            surplus = chunk_size - target.numel
            _logger.warning(
                "chunk_size %d is above the target's %d weights: %d are wasted",
                chunk_size,
                target.numel,
                surplus,
            )
        self.chunk_embeddings = (
            None if conditional_chunks else nn.Parameter(torch.randn(chunk_shape))
        )
        self.inner = make_inner(
            TargetSpec(
                params=(ParamSpec(name="chunk", shape=(chunk_size,), kind=ParamKind.OTHER),)
            ),
            ConditionSpec(
                count=0, size=conditions.size + conditions.input_size + chunk_embedding_size
            ),
        )
        if list(self.inner.input_sizes) != [EMBEDDING] or self.inner.members():
            raise SpecError(
                f"{type(self.inner).__name__} cannot write chunks: it has inputs of its own beside"
                " the embedding that it is given"
            )
        # What depends on the batch, or changes with every call, sees all chunks of all
        # conditions in one.
        self._may_split = not any(
            isinstance(one, _BatchNorm) or is_parametrized(one) for one in self.inner.modules()
        )
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

    @torch.no_grad()
    def initialize(
        self,
        *,
        fan: Fan = "in",
        scheme: Scheme = "kaiming",
        bias: BiasStart = "zero",
        trunk: TrunkStart = "kaiming",
        overrides: Mapping[str, Start | tuple[float, float]] | None = None,
        min_variance: float = 1e-5,
        uniform: bool = False,
        condition_share: float = 0.8,
        cond_var: float = 1.0,
        uncond_var: float = 1.0,
    ) -> None:
        """Start so that each chunk has the mean square that its tensors want on average (chunked hyperfan).

        One head writes all chunks, so only the size of a chunk's embedding can tell
        them apart: see `hypnet_zoo.init.chunks`.

        Args:
            fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme`, `bias`
                and `overrides`.
            scheme: As above.
            bias: As above.
            trunk: How the hidden layers start.
            overrides: As above.
            min_variance: Smallest variance that a chunk embedding may get.
            uniform: Draw chunk embeddings uniformly instead of normally.
            condition_share: How much of the smallest chunk's variance comes from the
                condition rather than from the chunk.
            cond_var: Variance of embeddings, if they come from the caller.
            uncond_var: Variance of unconditional inputs.
        """
        self.starts = wanted_starts(
            self.target, fan=fan, scheme=scheme, bias=bias, overrides=overrides
        )
        wanted = wanted_per_chunk(self.target, self.starts, self.chunk_size)
        most = rows_to_measure(self.inner, self.num_chunks)
        rows, _ = self._rows_and_chunks(
            calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var)[:most]
        )
        init_inner(self.inner, rows, wanted, trunk=trunk, condition_share=condition_share)
        for embeddings in self.all_chunk_embeddings():
            start_embeddings(embeddings, uniform=uniform)
        rows, chunks = self._rows_and_chunks(
            calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var)[:most]
        )
        kept = self.target.numel - (self.num_chunks - 1) * self.chunk_size
        scales = chunk_scales(
            self.inner, rows, chunks, wanted, kept=kept, min_variance=min_variance
        )
        for embeddings in self.all_chunk_embeddings():
            embeddings.mul_(scales.unsqueeze(1))

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: the inner heads are."""
        self.inner.start_at_zero()

    def all_chunk_embeddings(self) -> list[nn.Parameter]:
        """The chunk embeddings that are kept here: one `[K, chunk_embedding_size]`, or one per condition."""
        if self.chunk_embeddings is not None:
            return [self.chunk_embeddings]
        return list(self.parameters_of(CHUNK_EMBEDDINGS))

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        rows, chunks = self._rows_and_chunks(inputs)
        block = max(1, _PAIRS // self.num_chunks) if self._may_split else len(rows)
        if len(rows) <= block:
            return self._written(rows, chunks)
        own = chunks.split(block) if chunks.ndim == 3 else itertools.repeat(chunks)
        return torch.cat(
            [
                self._written(some, of_some)
                for some, of_some in zip(rows.split(block), own, strict=False)
            ]
        )

    def _written(self, rows: Tensor, chunks: Tensor) -> Tensor:
        return generate_product(self.inner, rows, chunks).flatten(1)[:, : self.target.numel]

    def _rows_and_chunks(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the inputs that all chunks share, and the chunk embeddings."""
        if self.chunk_embeddings is not None:
            return inputs, self.chunk_embeddings
        own = self.input_sizes[CHUNK_EMBEDDINGS]
        rows, flat = inputs.split([inputs.shape[1] - own, own], dim=1)
        return rows, flat.unflatten(1, self.conditional_shapes[CHUNK_EMBEDDINGS])


class ChunkedHMLP(Chunked):
    r"""An MLP that writes the target's weights one chunk at a time: `Chunked` around an `HMLP`.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        chunk_size: Weights per chunk.
        chunk_embedding_size: Length of a chunk embedding.
        conditional_chunks: Each condition has chunk embeddings of its own; see
            `Chunked`.
        hidden: Width of each hidden layer; empty for a linear hypernetwork.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        spectral_norm: Spectral norm on all layers.
        batch_norm: Batch norm before each hidden activation, over chunks and
            conditions.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: A size is not positive.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = ChunkedHMLP(target, ConditionSpec(count=2, size=8), chunk_size=25, hidden=(10,))
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([60]))
    """

    inner: HMLP

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        chunk_size: int = 1000,
        chunk_embedding_size: int = 8,
        conditional_chunks: bool = False,
        hidden: tuple[int, ...] = (100, 100),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        spectral_norm: bool = False,
        batch_norm: bool = False,
        fan: Fan = "in",
    ) -> None:
        make_inner = functools.partial(
            HMLP,
            hidden=hidden,
            activation=activation,
            bias=bias,
            dropout=dropout,
            spectral_norm=spectral_norm,
            batch_norm=batch_norm,
        )
        super().__init__(
            target,
            conditions,
            make_inner,
            chunk_size=chunk_size,
            chunk_embedding_size=chunk_embedding_size,
            conditional_chunks=conditional_chunks,
            fan=fan,
        )


def chunked(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    chunk_size: int = 1000,
    chunk_embedding_size: int = 8,
    conditional_chunks: bool = False,
    fan: Fan = "in",
    inner: HypernetChoice | None = None,
) -> Chunked:
    """A hypernetwork that writes the target's weights one chunk at a time, with an inner hypernetwork of any kind.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        chunk_size: Weights per chunk.
        chunk_embedding_size: Length of a chunk embedding.
        conditional_chunks: Each condition has chunk embeddings of its own.
        fan: Start with weights that keep the size of the main network's activations
            (in), of its gradients (out), or between (harmonic).
        inner: What writes one chunk, by name and with its options; an `hmlp` by
            default.
    """
    return Chunked(
        target,
        conditions,
        functools.partial(build_inner, inner),
        chunk_size=chunk_size,
        chunk_embedding_size=chunk_embedding_size,
        conditional_chunks=conditional_chunks,
        fan=fan,
    )
