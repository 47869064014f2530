"""Protocols between initialisation and the networks that it starts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from hypnet_zoo.init.options import Init


@runtime_checkable
class Initializable(Protocol):
    """A hypernetwork that can start anew by given rules."""

    def initialize(self, init: Init | None = None) -> None:
        """Start anew; `None` repeats the rules that it was built with."""
        ...


@runtime_checkable
class HasInitOptions(Protocol):
    """A hypernetwork that names the options of `Init` that have an effect in it."""

    def init_options(self, init: Init) -> frozenset[str]:
        """The names of these options, given the others: `normal_std` replaces some."""
        ...


@runtime_checkable
class Scalable(Initializable, Protocol):
    """A hypernetwork whose output can be brought to a size, as chunks require."""

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all generated weights by a factor, in place."""
        ...


@runtime_checkable
class HasChunkEmbeddings(Protocol):
    """A hypernetwork that writes its target chunk by chunk."""

    def all_chunk_embeddings(self) -> list[nn.Parameter]:
        """The chunk embeddings kept here, each `[chunks, size]`."""
        ...
