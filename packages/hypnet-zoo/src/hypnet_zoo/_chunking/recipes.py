"""Chunkings of networks: functions from a `TargetSpec` to a `Chunking`."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo._chunking.documents import Assembled, ChunkGroup, Chunking, Piece
from hypnet_zoo.mainnets.imports import imported

Layer: TypeAlias = Sequence[ParamSpec]
"""A weight, and the vectors that are written together with it."""


def by_shape(
    target: TargetSpec,
    *,
    embedding_size: int = 8,
    hidden: tuple[int, ...] = (100, 100),
    bias: bool = True,
) -> Chunking:
    """One group for all tensors of the same shape and kind, one chunk per tensor; for any network.

    Args:
        target: The target.
        embedding_size: Length of all chunk embeddings.
        hidden: Hidden layers of every network; empty for soft sharing by templates.
        bias: Whether their layers have biases.

    Example:
        >>> chunking = by_shape(TargetSpec.from_shapes([[6, 6], [6], [6, 6], [6]]))
        >>> [(group.shapes, group.count) for group in chunking.groups]
        [(((6, 6),), 2), (((6,),), 2)]
    """
    alike: dict[object, list[ParamSpec]] = {}
    for param in target.params:
        if param.numel:
            alike.setdefault((param.shape, param.kind), []).append(param)
    cuts = _Cuts()
    for params in alike.values():
        cuts.whole([[param] for param in params])
    return cuts.chunking(embedding_size, hidden=hidden, bias=bias)


def resnet(
    target: TargetSpec,
    *,
    gcd: bool = False,
    embedding_size: int | tuple[int, ...] = 8,
    hidden: tuple[int, ...] = (100, 100),
    bias: bool = True,
) -> Chunking:
    """Chunks of a `resnet`, layer by layer: weight and bias of a layer, and the norm that follows it.

    Eight groups: the first layer; of each of the three parts of the network its first
    convolution, then all others; the output layer. With n blocks they have 1, 1, 2n -
    1, 1, 2n - 1, 1, 2n - 1 and 1 chunks. What the target lacks is left out.

    Args:
        target: Weights of a `resnet`, with or without biases, norms and output layer.
        gcd: Write the convolutions of the three parts in pieces: as many outputs as the
            greatest common divisor of all numbers of feature maps. One group for each
            number of inputs, six groups in all.
        embedding_size: Length of the chunk embeddings; one for all groups, or one each.
        hidden: Hidden layers of every network.
        bias: Whether their layers have biases.

    Raises:
        SpecError: These are not the weights of a `resnet`, or the number of embedding
            sizes is wrong.
    """
    net = _ResidualNet(
        target, lambda convolutions: [name.replace("conv", "norm") for name in convolutions]
    )
    cuts = _Cuts()
    cuts.whole([net.first])
    if gcd:
        size = math.gcd(net.first[0].shape[0], *(stage[0][0].shape[0] for stage in net.stages))
        first, second, third = net.stages
        for layers in (first[:1], [*first[1:], *second[:1]], [*second[1:], *third[:1]], third[1:]):
            cuts.add(layers, size, dim=0)
    else:
        for stage in net.stages:
            cuts.whole(stage[:1])
            cuts.whole(stage[1:])
    cuts.whole(net.output)
    return cuts.chunking(embedding_size, hidden=hidden, bias=bias)


def wide_resnet(
    target: TargetSpec,
    *,
    gcd: bool = False,
    embedding_size: int | tuple[int, ...] = 8,
    hidden: tuple[int, ...] = (100, 100),
    bias: bool = True,
) -> Chunking:
    """Chunks of a `wide_resnet`, layer by layer: weight and bias of a convolution, and the norm that follows it.

    Up to eleven groups: the first layer; of each of the three parts of the network its
    first convolution, then all others; the shortcuts, each by itself; the output layer.
    Where the first convolution of a part has as many inputs as outputs, or a factor of
    two more or fewer, one group writes the whole part, in chunks of as many inputs as
    the greatest common divisor of both; biases and norms are then written with every
    chunk, and those of the first are used. What the target lacks is left out.

    Args:
        target: Weights of a `wide_resnet`, with or without biases, norms and output
            layer.
        gcd: Let one group write each part, whatever the number of inputs of its first
            convolution.
        embedding_size: Length of the chunk embeddings; one for all groups, or one each.
        hidden: Hidden layers of every network.
        bias: Whether their layers have biases.

    Raises:
        SpecError: These are not the weights of a `wide_resnet`, or the number of
            embedding sizes is wrong.
    """
    # The norm before a convolution is that of its inputs; the one after it stands
    # before the next.
    net = _ResidualNet(
        target,
        lambda convolutions: [*(name.replace("conv", "norm") for name in convolutions[1:]), "norm"],
    )
    cuts = _Cuts()
    cuts.whole([net.first])
    for stage in net.stages:
        outputs, inputs = stage[0][0].shape[:2]
        if gcd or max(inputs, outputs) in {min(inputs, outputs), 2 * min(inputs, outputs)}:
            cuts.add(stage, math.gcd(inputs, outputs), dim=1)
        else:
            cuts.whole(stage[:1])
            cuts.whole(stage[1:])
    for shortcut in net.shortcuts:
        cuts.whole([shortcut])
    cuts.whole(net.output)
    return cuts.chunking(embedding_size, hidden=hidden, bias=bias)


def economical_ensemble(target: TargetSpec) -> Chunking:
    """The chunking of WRN-28-10 of the paper: eight linear generators without bias, and 42 chunks.

    Its target is the convolutions alone (`generate=["*conv*", "*shortcut*"]`). Use it
    with `conditional_chunks` and conditions of size 0: the chunk embeddings are all
    that the members of an ensemble do not share.

    Args:
        target: Weights of the convolutions of `wide_resnet` with n = 4 and k = 10.

    Raises:
        SpecError: The target is another one.

    References:
        J. Sacramento, J. von Oswald, S. Kobayashi, C. Henning, B. F. Grewe: Economical
        ensembles with hypernetworks. 2020, arXiv:2007.12927, table S1.
    """
    chunking = wide_resnet(target, embedding_size=8, hidden=(), bias=False)
    counts = tuple(group.count for group in chunking.groups)
    if counts != (1, 1, 7, 15, 15, 1, 1, 1) or any(
        len(group.shapes) > 1 for group in chunking.groups
    ):
        raise SpecError(
            "economical_ensemble is for the convolutions of WRN-28-10 without biases (generate"
            " *conv* and *shortcut*): expected groups of 1, 1, 7, 15, 15, 1, 1 and 1 chunks of one"
            f" tensor, got {', '.join(map(str, counts))}"
        )
    return wide_resnet(target, embedding_size=(10, 7, 14, 14, 14, 7, 7, 7), hidden=(), bias=False)


CHUNKINGS: Mapping[str, Callable[..., Chunking]] = {
    "by_shape": by_shape,
    "resnet": resnet,
    "wide_resnet": wide_resnet,
    "economical_ensemble": economical_ensemble,
}


def chunking_of(
    target: TargetSpec, chunking: Chunking | str, options: Mapping[str, Any]
) -> Chunking:
    """A chunking as given: a document, or the name or import string of a function from a `TargetSpec` to one.

    Raises:
        SpecError: There is no such function, it has no such option, or it returns
            something else.
    """
    if isinstance(chunking, Chunking):
        if options:
            raise SpecError(
                "chunking_options are for chunkings by name, not for a document:"
                f" {', '.join(options)}"
            )
        return chunking
    if ":" not in chunking and chunking not in CHUNKINGS:
        raise SpecError(
            f"there is no chunking {chunking!r} (one of your own is given as"
            f" module:function){did_you_mean(chunking, CHUNKINGS)}"
        )
    function = imported(chunking, "chunking") if ":" in chunking else CHUNKINGS[chunking]
    try:
        inspect.signature(function).bind(target, **options)
    except TypeError as error:
        known = list(inspect.signature(function).parameters)[1:]
        raise SpecError(
            f"chunking_options of {chunking}: {error}; it has: {', '.join(known) or 'none'}"
        ) from None
    # From a configuration, tuples come as lists.
    made = function(
        target,
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        },
    )
    if not isinstance(made, Chunking):
        raise SpecError(f"{chunking} must return a Chunking, returned a {type(made).__name__}")
    return made


class _Cuts:
    """Groups of chunks and their assembly, while they are collected."""

    def __init__(self) -> None:
        self._groups: list[tuple[tuple[tuple[int, ...], ...], int]] = []
        self._assembly: dict[str, Assembled] = {}

    def whole(self, layers: Sequence[Layer]) -> None:
        """A group for layers of the same shapes, one chunk each."""
        if layers:
            first = layers[0][0].shape
            self.add(layers, first[0] if first else 1, dim=0)

    def add(self, layers: Sequence[Layer], size: int, *, dim: int) -> None:
        """A group for layers whose weights are cut along a dimension into chunks of `size`.

        Vectors are cut with the outputs (dimension 0); along another dimension every
        chunk holds all of them, and the first one's are used.
        """
        shapes = tuple(_cut(param.shape, size, dim) for param in layers[0])
        group, chunk = len(self._groups), 0
        for layer in layers:
            if tuple(_cut(param.shape, size, dim) for param in layer) != shapes:
                raise SpecError(
                    f"{layer[0].name} and {layers[0][0].name} cannot share chunks: their layers"
                    " differ"
                )
            weight = layer[0].shape
            pieces = weight[dim] // size if weight else 1
            for tensor, param in enumerate(layer):
                parts = pieces if dim < max(1, len(param.shape)) else 1
                self._assembly[param.name] = Assembled(
                    pieces=tuple(Piece(group, chunk + part, tensor) for part in range(parts)),
                    dim=dim if parts > 1 else 0,
                )
            chunk += pieces
        self._groups.append((shapes, chunk))

    def chunking(self, embedding_size: int | Sequence[int], **options: object) -> Chunking:
        """The document."""
        count = len(self._groups)
        sizes: list[Any] = (
            [embedding_size] * count if isinstance(embedding_size, int) else list(embedding_size)
        )
        if not count:
            raise SpecError("there is nothing to cut: the target holds no weights")
        if any(not isinstance(size, int) or size < 0 for size in sizes):
            raise SpecError(
                "embedding_size must be a number from 0, or one for each group of chunks, got"
                f" {embedding_size!r}"
            )
        if len(sizes) != count:
            raise SpecError(f"there are {count} groups of chunks, but {len(sizes)} embedding sizes")
        groups = tuple(
            ChunkGroup(shapes=shapes, count=chunks, embedding_size=size, options=options)
            for (shapes, chunks), size in zip(self._groups, sizes, strict=True)
        )
        return Chunking(groups=groups, assembly=self._assembly)


def _cut(shape: tuple[int, ...], size: int, dim: int) -> tuple[int, ...]:
    """The shape of a piece; a shape without that dimension stays whole."""
    return (*shape[:dim], size, *shape[dim + 1 :]) if dim < len(shape) else shape


class _ResidualNet:
    """The layers of a residual network of this package, read off the names of its parameters.

    Args:
        target: Its weights.
        norms: From the names of its convolutions, in order, to those of the norms after
            them.
    """

    def __init__(self, target: TargetSpec, norms: Callable[[list[str]], list[str]]) -> None:
        self._layers: dict[str, list[ParamSpec]] = {}
        for param in target.params:
            self._layers.setdefault(param.layer, []).append(param)
        names = [
            name
            for name in self._layers
            if self._weight(name) and re.fullmatch(r"(groups\.\d+\.\d+\.)?conv[12]", name)
        ]
        stages = [
            [name for name in names if name.startswith(f"groups.{stage}.")] for stage in range(3)
        ]
        if names[:1] != ["conv1"] or not all(len(stage) > 1 for stage in stages):
            raise SpecError(
                "these are not the weights of a residual network: expected the weights of conv1"
                f" and of groups.I.J.conv1 and conv2 for I = 0, 1, 2, got {len(target)} tensors,"
                f" the first of them {target.names[0] if target.names else 'missing'}"
            )
        after = dict(zip(names, norms(names), strict=True))
        self.stages: list[list[Layer]] = [
            [self._layer(name, after[name]) for name in stage] for stage in stages
        ]
        self.first = self._layer("conv1", after["conv1"])
        shortcuts = (f"groups.{stage}.0.shortcut" for stage in range(3))
        self.shortcuts: list[Layer] = [
            self._layers[name] for name in shortcuts if name in self._layers
        ]
        self.output: list[Layer] = [self._layers["out"]] if "out" in self._layers else []

    def _weight(self, name: str) -> bool:
        return self._layers[name][0].kind is ParamKind.WEIGHT

    def _layer(self, name: str, norm: str) -> Layer:
        return [*self._layers[name], *self._layers.get(norm, [])]
