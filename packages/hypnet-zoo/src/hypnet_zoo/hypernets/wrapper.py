"""The base of hypernetworks that do something to what another one generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec


def check_hypernetwork(given: object, name: str) -> None:
    """Refuse what is no hypernetwork, by the name of its argument.

    Raises:
        SpecError: It is none.
    """
    if not isinstance(given, HyperNetwork):
        raise SpecError(f"{name} must be a hypernetwork, got {type(given).__name__}")


class Wrapper(HyperNetwork):
    """Runs an inner hypernetwork and transforms its weights.

    A subclass implements `transform`.

    Args:
        target: What is generated in the end.
        inner: The hypernetwork; its conditions are those of the whole.
        conditions: What the whole takes, if it is not what the inner hypernetwork
            takes.
    """

    def __init__(
        self, target: TargetSpec, inner: HyperNetwork, *, conditions: ConditionSpec | None = None
    ) -> None:
        super().__init__(
            target, inner.conditions if conditions is None else conditions, embeddings=False
        )
        self.inner = inner
        self.conditions_per_call = inner.conditions_per_call  # type: ignore[misc]  # the wrapper costs little

    def members(self) -> list[HyperNetwork]:
        """The hypernetwork inside."""
        return [self.inner]

    def forward(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights; the arguments are those of the inner hypernetwork."""
        return self.transform(
            self.inner(condition, cond_input=cond_input, uncond_input=uncond_input)
        )

    def transform(self, generated: Weights) -> Weights:
        """What becomes of the weights that the inner hypernetwork generates, with or without a batch dimension."""
        raise NotImplementedError(f"{type(self).__name__} must implement transform(generated)")

    def start_at_zero(self) -> None:
        """Let the inner hypernetwork start at zero."""
        self.inner.start_at_zero()
