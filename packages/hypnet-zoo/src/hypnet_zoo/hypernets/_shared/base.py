"""The base of hypernetworks that start with the right moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import EMBEDDING, HyperNetwork
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.origin import Origin
from hypnet_zoo.init.effects import MOMENTS, TRUNK, refuse_without_effect
from hypnet_zoo.init.embeddings import draw_chunk_embeddings, equalize_, spread_
from hypnet_zoo.init.mainnet import normal_
from hypnet_zoo.init.moments import Moments, wanted_moments
from hypnet_zoo.init.options import Init, init_from
from hypnet_zoo.init.protocols import HasChunkEmbeddings


class InitializedHyperNetwork(HyperNetwork):
    """A hypernetwork that starts so that the weights it generates have given moments.

    A subclass implements `_initialize`, and calls `initialize` at the end of its
    constructor.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of the inputs.
        init: How it starts.
        conditional: Shapes of further parameters that each condition owns, by name.
    """

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        init: Init,
        *,
        conditional: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(target, conditions, conditional=conditional)
        self.init = init
        self.origin: Origin | None = None
        """Added outside of the networks; `None` if they write everything."""
        self._start_embeddings(range(conditions.count))
        self.starts: tuple[Moments, ...] = ()  # set by `initialize`
        """Moments of the tensors at the start; empty after a plain normal start."""

    @torch.no_grad()
    def initialize(self, init: Init | None = None) -> None:
        """Start anew.

        Args:
            init: How to start; by default as the hypernetwork was built.

        Raises:
            SpecError: An override matches no tensor of the target, or an option has no
                effect here.
        """
        rules = self.init if init is None else init_from(init)
        refuse_without_effect(rules, self.init_options(rules), type(self).__name__)
        # Remembered, so that starting anew and new conditions follow the same rules.
        self.init = rules
        if only_counted(self):
            return
        chosen = rules.embedding_std is not None or rules.embeddings != "random"
        if chosen and EMBEDDING in self.conditional_shapes:
            for embedding in self.parameters_of(EMBEDDING):
                embedding.normal_()
            self._start_embeddings(range(self.conditions.count))
        if self.origin is not None:
            self.origin.reset()
        if self.init.normal_std is None:
            self.starts = wanted_moments(self.target, self.init)
            self._initialize(self.init)
            return
        self.starts = ()
        normal_(self, std=self.init.normal_std)
        # Chunk embeddings may still have the lengths of an earlier start.
        chunk_std = self.init.chunk_embedding_std
        draw_chunk_embeddings(self, std=1.0 if chunk_std is None else chunk_std)

    def add_condition(self) -> int:
        """Add a condition; its embedding starts like the others, at the same length."""
        new = super().add_condition()
        self._start_embeddings([new])
        return new

    def init_options(self, init: Init) -> frozenset[str]:
        """The options of `Init` that have an effect here."""
        names = {"normal_std"}
        # Also without ids, because conditions may be added later.
        if EMBEDDING in self.conditional_shapes:
            names |= {"embeddings", "embedding_std"}
        has_chunks = isinstance(self, HasChunkEmbeddings)
        if has_chunks:
            names.add("chunk_embedding_std")
        if init.normal_std is not None:
            return frozenset(names)
        if has_chunks and init.chunk_embedding_std is None:
            names |= {"uniform_chunks", "min_variance"}
        if self.conditions.size:
            names.add("cond_var")
        if self.conditions.input_size:
            names.add("uncond_var")
        return frozenset(names | self._init_options())

    def _init_options(self) -> frozenset[str]:
        """Those that depend on the layers, which exist when `initialize` is called."""
        return MOMENTS | TRUNK

    def _initialize(self, init: Init) -> None:
        """Bring the generated weights to the moments in `self.starts`."""
        raise NotImplementedError(f"{type(self).__name__} must implement _initialize(init)")

    @torch.no_grad()
    def _start_embeddings(self, conditions: Iterable[int]) -> None:
        """Bring the embeddings that the base class has drawn to the same length.

        A longer one would scale all weights of its condition.
        """
        if EMBEDDING not in self.conditional_shapes:
            return
        new = list(conditions)
        if self.init.embeddings == "spread":
            others = [one for one in range(self.conditions.count) if one not in set(new)]
            spread_([self.embedding(one) for one in new], [self.embedding(one) for one in others])
        std = self.init.embedding_std
        for condition in new:
            equalize_(self.embedding(condition), 1.0 if std is None else std)

    def _in_features(self) -> int:
        """Length of the input.

        Raises:
            SpecError: There is no input.
        """
        size = sum(self.input_sizes.values())
        # Without an input the output would be the same for all conditions.
        if size == 0:
            raise SpecError(
                "the hypernetwork has no input: give the conditions a size, or an input_size"
            )
        return size


def check_batch(count: int, *, training: bool) -> None:
    """Refuse a batch of one condition for batch norm in training.

    Raises:
        ConditionError: Fewer than two rows.
    """
    # The variance of one row is zero: nothing of the row would be left.
    if training and count < 2:
        raise ConditionError(
            "batch norm needs at least two conditions in one call while training: pass a batch,"
            " or call eval()"
        )


def independent_rows(module: nn.Module) -> bool:
    """Whether each row of a batch is computed by itself, with parameters that stay.

    Batch norms mix rows, and parametrisations may change with every call.
    """
    return not any(isinstance(one, _BatchNorm) or is_parametrized(one) for one in module.modules())


def only_counted(module: nn.Module) -> bool:
    """Whether it is on the meta device, with no numbers to draw or to measure."""
    return any(parameter.is_meta for parameter in module.parameters())
