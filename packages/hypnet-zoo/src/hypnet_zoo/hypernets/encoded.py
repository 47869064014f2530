"""Hypernetworks whose embedding is computed by an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import EMBEDDING, Condition, HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec
from hypnet_zoo.hypernets._shared.inner import check_hypernetwork, initialize_inner
from hypnet_zoo.init.effects import effective, refuse_without_effect
from hypnet_zoo.init.options import Init, init_from


class Encoded(HyperNetwork):
    r"""A hypernetwork behind an encoder $E$: $\omega = h(E(x), \theta)$.

    The encoder is any module: of a batch of data, a text embedding or a position on a
    curve, for example. It gets `cond_input` as it is, and its output is the embedding
    that the inner hypernetwork reads. Ids are possible too, if `conditions` are given:
    each condition then owns a learned input of the encoder.

    Args:
        inner: The hypernetwork. It keeps no conditions itself (`count=0`); its
            embedding size is the size of the encoder's output.
        encoder: Maps `cond_input` to an embedding `[size]`, or to a batch of them `[B,
            size]`.
        conditions: Number of ids and length of the encoder's input; no ids by default.

    Raises:
        SpecError: The inner hypernetwork keeps conditions, or takes an unconditional
            input of another size.

    Example:
        >>> from hypnet_core.specs import TargetSpec
        >>> from hypnet_zoo.hypernets import HMLP
        >>> class MeanOfSet(nn.Module):
        ...     def forward(self, samples):  # [n, 5], a batch of data, to one embedding
        ...         return samples.mean(dim=0)
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = Encoded(HMLP(target, ConditionSpec(count=0, size=5)), MeanOfSet())
        >>> hnet(cond_input=torch.randn(32, 5)).batch_shape
        torch.Size([])
    """

    def __init__(
        self, inner: HyperNetwork, encoder: nn.Module, conditions: ConditionSpec | None = None
    ) -> None:
        check_hypernetwork(inner, "inner")
        outer = (
            # No ids by default: the encoder then reads data alone.
            ConditionSpec(count=0, size=0, input_size=inner.conditions.input_size)
            if conditions is None
            else conditions
        )
        if inner.conditions.count:
            raise SpecError(
                f"the inner hypernetwork keeps {inner.conditions.count} conditions; behind an"
                " encoder it must keep none"
            )
        if outer.input_size != inner.conditions.input_size:
            raise SpecError(
                "the inner hypernetwork takes an unconditional input of size"
                f" {inner.conditions.input_size}, not {outer.input_size}"
            )
        super().__init__(inner.target, outer)
        self.inner = inner
        self.encoder = encoder
        self._std: float | None = None  # of the kept inputs, if not 1
        self.conditions_per_call = inner.conditions_per_call

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: object = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: The encoder's input instead, of any type.
            uncond_input: `[input_size]` or `[B, input_size]`.

        Raises:
            ConditionError: Neither an id nor an input is given, or both are; or the
                encoder's output has the wrong shape.
        """
        if (condition is None) == (cond_input is None):
            given = "both were given" if condition is not None else "neither was given"
            raise ConditionError(f"the encoder needs either condition= or cond_input=, {given}")
        if condition is not None:
            cond_input = self.embeddings(condition)
        encoded = self.encoder(cond_input)
        size = self.inner.conditions.size
        # An encoder of any origin is checked here, where the message can name it.
        if (
            not isinstance(encoded, Tensor)
            or encoded.ndim not in {1, 2}
            or encoded.shape[-1] != size
        ):
            got = list(encoded.shape) if isinstance(encoded, Tensor) else type(encoded).__name__
            raise ConditionError(
                f"the encoder must give an embedding [{size}] or [B, {size}], it gave {got}"
            )
        weights: Weights = self.inner(cond_input=encoded, uncond_input=uncond_input)
        return weights.belonging_to(condition)

    def embeddings(self, condition: Condition) -> Tensor:
        """The learned inputs of the encoder: `[size]` for one id, else `[B, size]`."""
        if not self.conditional_shapes:
            raise ConditionError(
                "this hypernetwork keeps no inputs for its encoder: pass cond_input"
            )
        ids = self.ids_of(condition)
        rows = torch.stack([self.embedding(i) for i in ids.ids])
        return rows if ids.batched else rows[0]

    def start_at_zero(self) -> None:
        """Let the inner hypernetwork start at zero."""
        self.inner.start_at_zero()

    def initialize(self, init: Init | None = None) -> None:
        """Start the inner hypernetwork and the kept inputs anew; the encoder stays.

        Args:
            init: How to start; by default as before. `embedding_std` is the standard
                deviation of the inputs that are kept for ids.

        Raises:
            SpecError: The inner hypernetwork cannot start by an `Init`, or an option
                has no effect.
        """
        if init is not None:
            init = init_from(init)
            refuse_without_effect(init, self.init_options(init), type(self).__name__)
            self._std = init.embedding_std
        initialize_inner(self.inner, init)
        if self._std is not None:
            for condition in range(self.conditions.count):
                self._draw(condition, self._std)

    def init_options(self, init: Init) -> frozenset[str]:
        """The options of `Init` that have an effect here."""
        kept = {"embedding_std"} if EMBEDDING in self.conditional_shapes else set()
        # The inner hypernetwork keeps no embeddings.
        return effective(self.inner, init) - {"embeddings", "embedding_std"} | kept

    def add_condition(self) -> int:
        """Add a condition; its input starts like the others."""
        new = super().add_condition()
        if self._std is not None:
            self._draw(new, self._std)
        return new

    @torch.no_grad()
    def _draw(self, condition: int, std: float) -> None:
        if EMBEDDING in self.conditional_shapes:
            self.embedding(condition).normal_(0.0, std)
