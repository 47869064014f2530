"""Hypernetworks whose chunks respect the layers of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import Condition, LinearHead
from hypnet_core.plugins import (
    POSITIONAL,
    Kind,
    options_from_signature,
    validated,
    values_of,
)
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._chunking.assembly import AssembleFunction, Assembly
from hypnet_zoo.hypernets._chunking.documents import ChunkGroup, Chunking
from hypnet_zoo.hypernets._chunking.moments import (
    mean_moments,
    moments_of_chunks,
    variances_of_chunks,
)
from hypnet_zoo.hypernets._chunking.recipes import chunking_of
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork, independent_rows
from hypnet_zoo.hypernets._shared.inner import refuse_own_init
from hypnet_zoo.hypernets._shared.options import ConditionalChunksOption
from hypnet_zoo.hypernets._shared.origin import Origin
from hypnet_zoo.hypernets.hmlp import HMLP
from hypnet_zoo.init.chunks import chunk_scales
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import MOMENTS, TRUNK, of_draws
from hypnet_zoo.init.embeddings import draw_chunks
from hypnet_zoo.init.heads import calibration_inputs, draw_heads
from hypnet_zoo.init.moments import Moments, scalar_moments
from hypnet_zoo.init.options import Init, InitOption, chosen_options
from hypnet_zoo.init.products import pairs
from hypnet_zoo.init.trunk import is_drawn

_ROWS = 2048  # pairs of conditions and chunks to measure the start with


class StructuredOptions(ConditionalChunksOption, InitOption, total=False):
    """Options that `StructuredHMLP` shares with its component `structured_hmlp`."""


class StructuredHMLP(InitializedHyperNetwork):
    r"""Several MLPs, each of which writes the chunks of one shape.

    Group $g$ has $K_g$ chunks of the same tensors. Its own network $h_g$ writes them
    all, each by its embedding $c_{g,k}$, and an assembly makes the target's tensors of
    the chunks:

    $$ t_{g,k} = h_g(e, u, c_{g,k}), \qquad \omega = \mathrm{assembly}(t_{1,1}, \ldots,
    t_{G,K_G}) $$

    With a linear network without bias the chunks are combinations of templates,
    $t_{g,k} = \sum_j c_{g,k,j} T_j$: soft sharing of layers, with the embeddings as
    coefficients. All chunks of a group and all conditions make one batch.

    Conditional chunk embeddings are named `chunks_0`, `chunks_1`, … by group. Without
    ids (`conditions.count=0`) they come from the caller: `cond_input={"chunks_0": …}`
    of shape `[K, size]` or `[B, K, size]`.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        chunking: The groups, and how their chunks are assembled.
        assemble: Function that assembles instead of the chunking: from a list of
            chunks, group by group, each a list of tensors `[B, *shape]`, to the
            target's tensors `[B, *shape]`, as a list or by name. It may cut, lay end to
            end and leave out.
        **options: See `StructuredOptions`.

    Raises:
        SpecError: The assembly does not fill the target exactly, or a group has no
            input.
        ConfigError: The options of a group are not those of an `hmlp`.

    References:
        P. Savarese, M. Maire: Learning implicitly recurrent CNNs through parameter
        sharing. ICLR 2019, arXiv:1902.09701.

    Example:
        >>> from hypnet_zoo.hypernets import by_shape
        >>> target = TargetSpec.from_shapes([[6, 6], [6, 6], [6, 6], [2, 6]])
        >>> conditions = ConditionSpec(count=2, size=4)
        >>> hnet = StructuredHMLP(target, conditions, by_shape(target))
        >>> hnet.num_chunks, [len(group) for group in hnet.all_chunk_embeddings()]
        (4, [3, 1])
        >>> hnet(1)["3"].shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        chunking: Chunking,
        *,
        assemble: AssembleFunction | None = None,
        **options: Unpack[StructuredOptions],
    ) -> None:
        chosen = chosen_options(StructuredOptions, options)
        conditional_chunks = chosen["conditional_chunks"]
        # A group of one chunk may do without an embedding.
        embedded = {
            f"chunks_{g}": (group.count, group.embedding_size)
            for g, group in enumerate(chunking.groups)
            if group.embedding_size
        }
        super().__init__(
            target,
            conditions,
            chosen["init"],
            conditional=embedded if conditional_chunks else None,
        )
        self.chunking = chunking
        self.assembly = Assembly(target, chunking, assemble)
        self.conditional_chunks = conditional_chunks
        self.own_chunks = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(shape))
                for name, shape in embedded.items()
                if not conditional_chunks
            }
        )
        shared = conditions.size + conditions.input_size  # inputs of all chunks
        self.writers = nn.ModuleList(
            _writer(number, group, shared + group.embedding_size)
            for number, group in enumerate(chunking.groups)
        )
        self.origin: Origin = Origin(target.numel)
        self.initialize()

    @property
    def num_chunks(self) -> int:
        """Number of chunks of all groups together."""
        return self.chunking.num_chunks

    def hmlps(self) -> list[HMLP]:
        """The networks that write the chunks, one per group."""
        return [writer for writer in self.writers if isinstance(writer, HMLP)]

    def all_chunk_embeddings(self) -> list[nn.Parameter]:
        """The chunk embeddings `[K, size]` that are kept here, group by group.

        Where each condition has its own, those of all conditions.
        """
        return [
            one
            for number in range(len(self.chunking.groups))
            for one in self._embeddings_of(number)
        ]

    def chunk_embeddings(self, condition: int) -> list[nn.Parameter]:
        """The chunk embeddings `[K, size]` of a condition, for each group that has any.

        Raises:
            ConditionError: There is no such condition.
        """
        if not self.conditional_chunks:
            return self.all_chunk_embeddings()
        self.conditional_parameters(condition)  # refuses an unknown id
        return [
            self.parameters_of(name)[condition]
            for name in self.conditional_shapes
            if name.startswith("chunks_")
        ]

    def _init_options(self) -> frozenset[str]:
        drawn = any(is_drawn(writer.trunk) for writer in self.hmlps())
        return MOMENTS | {"by_bias"} | (TRUNK if drawn else frozenset())

    def _initialize(self, init: Init) -> None:
        """Bring each head to the average moments of the tensors that it contributes to.

        Where chunks of one group belong to tensors of different variances, their
        embeddings are stretched or shrunk.
        """
        draw_chunks(self, init)
        inputs = self._split(calibration_inputs(self, init))
        # Tensors of one group may have different means, which are added outside.
        means, _ = scalar_moments(self.target, self.starts)
        self.origin.place(means)
        spreads = [Moments(0.0, one.variance) for one in self.starts]
        wanted = dict(zip(self.target.names, spreads, strict=True))
        for number, (rows, chunks) in enumerate(inputs):
            self._initialize_group(number, wanted, rows, chunks, init)
        if init.by_bias:
            self.start_at_zero()
            self.origin.place(drawn_weights(self.target, of_draws(init)).flat)

    def _initialize_group(
        self,
        number: int,
        wanted: Mapping[str, Moments],
        shared: Tensor,
        chunks: Tensor | None,
        init: Init,
    ) -> None:
        writer = self.hmlps()[number]
        per_chunk = moments_of_chunks(self.assembly, number, wanted)
        # One head writes all chunks of a group, so it can only have average moments.
        average = tuple(mean_moments(of_tensor) for of_tensor in zip(*per_chunk, strict=True))
        # All pairs with the chunks are computed, so fewer rows of many chunks.
        rows = shared[: max(8, _ROWS // len(per_chunk))]
        if chunks is None:
            writer.draw_layers(average, rows, init)
            return
        some = chunks if chunks.ndim == 2 else chunks[: len(rows)]
        writer.draw_layers(average, pairs(rows, some).flatten(0, 1), init)
        squares = variances_of_chunks(self.chunking.groups[number].sizes, per_chunk, average)
        # Within 1 % all variances count as equal, and embeddings keep their length.
        alike = float(squares.max()) <= 1.01 * float(squares.min())
        if alike or init.chunk_embedding_std is not None:
            return
        size = writer.target.numel
        scales = chunk_scales(
            writer, rows, some, squares, kept=size, min_variance=init.min_variance
        )
        for embeddings in self._embeddings_of(number):
            embeddings.mul_(scales.unsqueeze(1))
        features = writer.features_product(rows, scales.unsqueeze(1) * some)
        # A tensor is not measured in chunks where it is unused.
        used = (
            [k for k, chunk in enumerate(per_chunk) if chunk[t] is not None]
            for t in range(len(average))
        )
        draw_heads(
            writer.linear_heads(),
            [features[:, k].flatten(0, 1) for k in used],  # [B chunks, d]
            writer.target,
            average,
        )

    def _embeddings_of(self, group: int) -> list[nn.Parameter]:
        name = f"chunks_{group}"
        if self.conditional_chunks:
            return list(self.parameters_of(name)) if name in self.conditional_shapes else []
        return [self.own_chunks[name]] if name in self.own_chunks else []

    def start_at_zero(self) -> None:
        """Set the heads of all groups to zero, so that every weight is exactly zero."""
        for writer in self.hmlps():
            writer.start_at_zero()
        self.origin.reset()

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        # For each group [B, K, scalars]; a group without embeddings has K = 1.
        outputs = [
            (
                writer.generate(rows).unsqueeze(1)
                if chunks is None
                else writer.generate_product(rows, chunks)
            )
            for writer, (rows, chunks) in zip(self.hmlps(), self._split(inputs), strict=True)
        ]
        weights: Tensor = self.origin(self.assembly(outputs))
        return weights

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads of all groups, and what they read for a batch of conditions."""
        if not independent_rows(self):
            return None
        inputs, _ = self.inputs(condition)
        found = []
        for writer, (rows, chunks) in zip(self.hmlps(), self._split(inputs), strict=True):
            features = (
                writer.trunk(rows).unsqueeze(1)
                if chunks is None
                else writer.features_product(rows, chunks)
            )
            found += [
                LinearHead(features, head.weight, head.bias) for head in writer.linear_heads()
            ]
        return found

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts: as much as all weights that it becomes."""
        squares = (importance * self.origin.scale.square()).unsqueeze(0)
        shapes = [(1, group.count, sum(group.sizes)) for group in self.chunking.groups]
        with torch.enable_grad():
            outputs = [importance.new_zeros(shape, requires_grad=True) for shape in shapes]
            # Assembling only moves numbers, so its transpose tells where each one went.
            counted = torch.autograd.grad(
                self.assembly(outputs), outputs, squares, materialize_grads=True
            )
        return [
            part
            for writer, (of_group,) in zip(self.hmlps(), counted, strict=True)
            for part in of_group.split([head.out_features for head in writer.linear_heads()], 1)
        ]

    def _split(self, inputs: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """For each group the inputs that its chunks share, and its chunk embeddings."""
        names = [f"chunks_{number}" for number in range(len(self.chunking.groups))]
        sizes = self.input_sizes
        # One split instead of a slice per input: one node in the graph.
        parts = (
            dict(zip(sizes, inputs.split(list(sizes.values()), dim=1), strict=True))
            if sizes
            else {}
        )
        shared = [part for name, part in parts.items() if name not in names]
        # `[:, :0]` keeps the batch size where there is no common input.
        rows = torch.cat(shared, dim=1) if shared else inputs[:, :0]
        chunks: dict[str, Tensor] = dict(self.own_chunks)
        chunks |= {
            name: part.unflatten(1, self.conditional_shapes[name])
            for name, part in parts.items()
            if name in names
        }
        return [(rows, chunks.get(name)) for name in names]


def _writer(number: int, group: ChunkGroup, in_features: int) -> HMLP:
    """The network that writes the chunks of a group."""
    if in_features == 0:
        raise SpecError(
            f"group {number} has no input: give it an embedding_size, or the conditions a size"
        )
    # Checked like options of a configuration, with the nearest names in errors.
    model = options_from_signature(HMLP, POSITIONAL[Kind.HYPERNET], "hmlp")
    options = values_of(validated(model, group.options))
    inputs = ConditionSpec(count=0, size=in_features)
    writer = HMLP(TargetSpec.from_shapes(group.shapes), inputs, **options)
    refuse_own_init(writer, "StructuredHMLP")
    return writer


def structured_hmlp(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    chunking: Chunking | str = "by_shape",
    chunking_options: dict[str, Any] | None = None,
    **options: Unpack[StructuredOptions],
) -> StructuredHMLP:
    """Make a `StructuredHMLP` by a chunking document or recipe.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        chunking: The groups of chunks and their assembly, as a document; or `by_shape`,
            `resnet`, `wide_resnet`, `economical_ensemble`; or the import string
            `module:function` of a function from a `TargetSpec` to a `Chunking`.
        chunking_options: Options of a chunking that is chosen by name.
        **options: See `StructuredOptions`.

    Raises:
        SpecError: There is no such recipe, or it does not suit the target.
    """
    document = chunking_of(target, chunking, chunking_options or {})
    return StructuredHMLP(target, conditions, document, **options)
