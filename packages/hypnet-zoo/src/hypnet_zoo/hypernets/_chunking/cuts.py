"""Collection of chunks, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hypnet_core.errors import SpecError
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.hypernets._chunking.documents import ChunkGroup, Chunking, Layout, Piece

Layer: TypeAlias = Sequence[ParamSpec]
"""A weight, and the vectors that are written together with it."""


class Cuts:
    """Collects groups of chunks and their assembly."""

    def __init__(self) -> None:
        self._groups: list[tuple[tuple[tuple[int, ...], ...], int]] = []
        self._assembly: dict[str, Layout] = {}

    def whole(self, layers: Sequence[Layer]) -> None:
        """Add a group for layers of the same shapes, one chunk each."""
        if layers:
            first = layers[0][0].shape
            # A scalar counts as one row.
            self.add(layers, first[0] if first else 1, dim=0)

    def add(self, layers: Sequence[Layer], size: int, *, dim: int) -> None:
        """Add a group for layers whose weights are cut along a dimension into chunks.

        Vectors are cut with the outputs (dimension 0). Along another dimension every
        chunk holds all of them, and those of the first chunk are used.

        Args:
            layers: The layers.
            size: Size of a chunk along the dimension.
            dim: The dimension.
        """
        # All chunks of a group come from one network, so their shapes must agree.
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
                # A vector has no dimension 1: the copy in the layer's first chunk is
                # used.
                parts = pieces if dim < max(1, len(param.shape)) else 1
                self._assembly[param.name] = Layout(
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


class ResidualLayers:
    """The layers of a residual network of this package, by the names of its parameters.

    Args:
        target: The weights of the network.
        norms: Maps the names of its convolutions, in order, to those of the norms after
            them.

    Raises:
        SpecError: These are not the weights of a residual network.
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
        # The residual networks of this package have three groups of blocks.
        stages = [
            [name for name in names if name.startswith(f"groups.{stage}.")] for stage in range(3)
        ]
        # Even one block per group has two convolutions.
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
