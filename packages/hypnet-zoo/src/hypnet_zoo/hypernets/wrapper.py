"""The base of hypernetworks that transform another hypernetwork's output."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hypnet_core.networks import Condition, HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.inner import initialize_inner
from hypnet_zoo.init.effects import effective
from hypnet_zoo.init.options import Init


class Wrapper(HyperNetwork):
    """Runs an inner hypernetwork and transforms its weights.

    A subclass implements `transform`.

    Args:
        target: The parameters that are generated in the end.
        inner: The hypernetwork; it keeps the conditions of the whole.
        conditions: Inputs of the whole, if they differ from those of the inner
            hypernetwork.
    """

    def __init__(
        self, target: TargetSpec, inner: HyperNetwork, *, conditions: ConditionSpec | None = None
    ) -> None:
        super().__init__(
            target, inner.conditions if conditions is None else conditions, embeddings=False
        )
        self.inner = inner
        self.conditions_per_call = inner.conditions_per_call

    def members(self) -> list[HyperNetwork]:
        """The inner hypernetwork."""
        return [self.inner]

    def initialize(self, init: Init | None = None) -> None:
        """Start the inner hypernetwork anew.

        Args:
            init: How to start; by default as the inner hypernetwork was built.

        Raises:
            SpecError: The inner hypernetwork cannot start by an `Init`, or an option
                has no effect in it.
        """
        initialize_inner(self.inner, init, type(self).__name__)

    def init_options(self, init: Init) -> frozenset[str]:
        """The options of `Init` that have an effect here: those of the inner one."""
        return effective(self.inner, init)

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights; the arguments are those of the inner hypernetwork."""
        generated: Weights = self.inner(condition, cond_input=cond_input, uncond_input=uncond_input)
        # Transforming may have made new weights, which do not know the ids.
        return self.transform(generated).belonging_to(generated.conditions)

    def transform(self, generated: Weights) -> Weights:
        """Transform the inner weights, with or without a batch dimension."""
        raise NotImplementedError(f"{type(self).__name__} must implement transform(generated)")

    def start_at_zero(self) -> None:
        """Let the inner hypernetwork start at zero."""
        self.inner.start_at_zero()
