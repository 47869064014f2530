"""Hypernetworks whose chunks respect the layers of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import POSITIONAL, Kind, options_from_signature, validated, values_of
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo._chunking.assembly import Assemble, Assembler
from hypnet_zoo._chunking.documents import Chunking, Piece
from hypnet_zoo._chunking.products import pairs
from hypnet_zoo._chunking.recipes import chunking_of
from hypnet_zoo.hypernets.hmlp import HMLP
from hypnet_zoo.init.chunks import chunk_scales, start_embeddings
from hypnet_zoo.init.heads import calibration_inputs, init_heads
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart

__all__ = ["StructuredHMLP", "structured_hmlp"]

_ROWS = 2048


class StructuredHMLP(HyperNetwork):
    r"""Several MLPs, each of which writes chunks of one shape; an assembly makes the target's tensors of them.

    Group $g$ has $K_g$ chunks of the same tensors. Its own network $h_g$ writes them
    all, told by an embedding $c_{g,k}$ which one:

    $$ t_{g,k} = h_g(e, u, c_{g,k}), \qquad \omega = \mathrm{assembly}(t_{1,1}, \ldots,
    t_{G,K_G}) $$

    With a linear network without bias the chunks are combinations of templates,
    $t_{g,k} = \sum_j c_{g,k,j} T_j$: soft sharing of layers, with the embeddings as
    coefficients. All chunks of a group and all conditions make one batch.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        chunking: The groups, and how their chunks are assembled.
        assemble: Assembles in the chunking's stead: from a list of chunks, group by
            group, each a list of tensors `[B, *shape]`, to the target's tensors `[B,
            *shape]`, as a list or by name. It may cut, lay end to end and leave out.
        conditional_chunks: Each condition has chunk embeddings of its own, of names
            `chunks_0`, `chunks_1`, … by group. With `conditions.count=0` they come from
            the caller: `cond_input={"chunks_0": …}` of shape `[K, size]` or `[B, K,
            size]`.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: The assembly does not fill the target exactly, or a group has no
            input.
        ConfigError: The options of a group are not those of an `hmlp`.

    References:
        P. Savarese, M. Maire: Learning implicitly recurrent CNNs through parameter
        sharing. ICLR 2019, arXiv:1902.09701.

    Example:
        >>> from hypnet_zoo._chunking.recipes import by_shape
        >>> target = TargetSpec.from_shapes([[6, 6], [6, 6], [6, 6], [2, 6]])
        >>> hnet = StructuredHMLP(target, ConditionSpec(count=2, size=4), by_shape(target))
        >>> hnet.num_chunks, [len(group) for group in hnet.all_chunk_embeddings()], hnet(1)["3"].shape
        (4, [3, 1], torch.Size([2, 6]))
    """

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        chunking: Chunking,
        *,
        assemble: Assemble | None = None,
        conditional_chunks: bool = False,
        fan: Fan = "in",
    ) -> None:
        embedded = {
            f"chunks_{g}": (group.count, group.embedding_size)
            for g, group in enumerate(chunking.groups)
            if group.embedding_size
        }
        super().__init__(target, conditions, conditional=embedded if conditional_chunks else None)
        self.chunking = chunking
        self.assembler = Assembler(target, chunking, assemble)
        self.conditional_chunks = conditional_chunks
        self.own_chunks = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(shape))
                for name, shape in embedded.items()
                if not conditional_chunks
            }
        )
        self.inner = nn.ModuleList()
        shared = conditions.size + conditions.input_size
        for number, group in enumerate(chunking.groups):
            if shared + group.embedding_size == 0:
                raise SpecError(
                    f"group {number} has no input: give it an embedding_size, or the conditions a"
                    " size"
                )
            options = values_of(
                validated(
                    options_from_signature(HMLP, POSITIONAL[Kind.HYPERNET], "hmlp"), group.options
                )
            )
            inputs = ConditionSpec(count=0, size=shared + group.embedding_size)
            self.inner.append(HMLP(TargetSpec.from_shapes(group.shapes), inputs, **options))
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

    @property
    def num_chunks(self) -> int:
        """Number of chunks of all groups together."""
        return self.chunking.num_chunks

    def hmlps(self) -> list[HMLP]:
        """The networks that write the chunks, one per group."""
        return [inner for inner in self.inner if isinstance(inner, HMLP)]

    def all_chunk_embeddings(self) -> list[nn.Parameter]:
        """The chunk embeddings `[K, size]` that are kept here, group by group; of all conditions, if each has its own."""
        return [
            one
            for number in range(len(self.chunking.groups))
            for one in self._embeddings_of(number)
        ]

    def chunk_embeddings(self, condition: int) -> list[nn.Parameter]:
        """The chunk embeddings `[K, size]` that a condition is generated with, one tensor per group that has any.

        Raises:
            ConditionError: There is no such condition.
        """
        if not self.conditional_chunks:
            return self.all_chunk_embeddings()
        self.conditional_parameters(condition)
        return [
            self.parameters_of(name)[condition]
            for name in self.conditional_shapes
            if name.startswith("chunks_")
        ]

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
        cond_var: float = 1.0,
        uncond_var: float = 1.0,
    ) -> None:
        """Start so that what the heads write has the mean and variance that the tensors want which it is a part of.

        Where chunks of one group are parts of tensors that want different variances,
        the head starts with the average, and chunk embeddings are stretched or shrunk.

        Args:
            fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme`, `bias`
                and `overrides`.
            scheme: As above.
            bias: As above.
            trunk: How the hidden layers start.
            overrides: As above.
            min_variance: Smallest variance that a chunk embedding may get.
            cond_var: Variance of embeddings, if they come from the caller.
            uncond_var: Variance of unconditional inputs.
        """
        self.starts = wanted_starts(
            self.target, fan=fan, scheme=scheme, bias=bias, overrides=overrides
        )
        for embeddings in self.all_chunk_embeddings():
            start_embeddings(embeddings, uniform=False)
        inputs = self._split(calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var))
        wanted = dict(zip(self.target.names, self.starts, strict=True))
        for number, (inner, (shared, chunks)) in enumerate(zip(self.hmlps(), inputs, strict=True)):
            starts = self._starts_of(number, wanted)
            average = tuple(_mean(of_tensor) for of_tensor in zip(*starts, strict=True))
            rows = shared[: max(8, _ROWS // len(starts))]
            if chunks is None:
                inner.start(average, rows, trunk=trunk)
                continue
            some = chunks if chunks.ndim == 2 else chunks[: len(rows)]
            inner.start(average, pairs(rows, some).flatten(0, 1), trunk=trunk)
            squares = self._squares(number, starts, average)
            if float(squares.max()) > 1.01 * float(squares.min()):
                size = inner.target.numel
                scales = chunk_scales(
                    inner, rows, some, squares, kept=size, min_variance=min_variance
                )
                for embeddings in self._embeddings_of(number):
                    embeddings.mul_(scales.unsqueeze(1))
                features = inner.features_product(rows, scales.unsqueeze(1) * some)
                used = (
                    [k for k, chunk in enumerate(starts) if chunk[t] is not None]
                    for t in range(len(average))
                )
                init_heads(
                    inner.linear_heads(),
                    [features[:, k].flatten(0, 1) for k in used],
                    inner.target,
                    average,
                )

    def _starts_of(self, group: int, wanted: Mapping[str, Start]) -> list[list[Start | None]]:
        """What each tensor of each chunk should start with; `None` if it is not used."""
        document = self.chunking.groups[group]
        return [
            [
                (
                    _mean(
                        [
                            wanted[param.name]
                            for param in self.assembler.parts.get(Piece(group, chunk, tensor), [])
                        ]
                    )
                    if Piece(group, chunk, tensor) in self.assembler.parts
                    else None
                )
                for tensor in range(len(document.shapes))
            ]
            for chunk in range(document.count)
        ]

    def _squares(
        self, group: int, starts: list[list[Start | None]], average: tuple[Start, ...]
    ) -> Tensor:
        """The variance that each chunk of a group wants on average, `[K]`; means are written by biases."""
        sizes = self.chunking.groups[group].sizes
        chunks = (
            sum(
                n * (one or other).variance
                for n, one, other in zip(sizes, chunk, average, strict=True)
            )
            for chunk in starts
        )
        return torch.tensor(list(chunks)) / sum(sizes)

    def _embeddings_of(self, group: int) -> list[nn.Parameter]:
        name = f"chunks_{group}"
        if self.conditional_chunks:
            return list(self.parameters_of(name)) if name in self.conditional_shapes else []
        return [self.own_chunks[name]] if name in self.own_chunks else []

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: the heads of all groups are."""
        for inner in self.hmlps():
            inner.start_at_zero()

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        outputs = [
            (
                inner.generate(rows).unsqueeze(1)
                if chunks is None
                else inner.generate_product(rows, chunks)
            )
            for inner, (rows, chunks) in zip(self.hmlps(), self._split(inputs), strict=True)
        ]
        return self.assembler(outputs)

    def _split(self, inputs: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """For each group the part of the inputs that its chunks share, and its chunk embeddings."""
        names = [f"chunks_{number}" for number in range(len(self.chunking.groups))]
        sizes = self.input_sizes
        parts = (
            dict(zip(sizes, inputs.split(list(sizes.values()), dim=1), strict=True))
            if sizes
            else {}
        )
        shared = [part for name, part in parts.items() if name not in names]
        rows = torch.cat(shared, dim=1) if shared else inputs[:, :0]
        chunks: dict[str, Tensor] = dict(self.own_chunks)
        chunks |= {
            name: part.unflatten(1, self.conditional_shapes[name])
            for name, part in parts.items()
            if name in names
        }
        return [(rows, chunks.get(name)) for name in names]


def _mean(starts: Any) -> Start:
    """The average of what is wanted; nothing where nothing is."""
    known = [start for start in starts if start is not None]
    if not known:
        return Start(0.0, 0.0)
    return Start(
        sum(start.mean for start in known) / len(known),
        sum(start.variance for start in known) / len(known),
    )


def structured_hmlp(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    chunking: Chunking | str = "by_shape",
    chunking_options: dict[str, Any] | None = None,
    conditional_chunks: bool = False,
    fan: Fan = "in",
) -> StructuredHMLP:
    """Several MLPs, each of which writes chunks of one shape; an assembly makes the target's tensors of them.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        chunking: The groups of chunks and their assembly, as a document; or `by_shape`,
            `resnet`, `wide_resnet`, `economical_ensemble`; or an import string
            `module:function` of your own, from a `TargetSpec` to a `Chunking`.
        chunking_options: Options of a chunking that is chosen by name.
        conditional_chunks: Each condition has chunk embeddings of its own.
        fan: Start with weights that keep the size of the main network's activations
            (in), of its gradients (out), or between (harmonic).
    """
    document = chunking_of(target, chunking, chunking_options or {})
    return StructuredHMLP(
        target, conditions, document, conditional_chunks=conditional_chunks, fan=fan
    )
