"""The hypernetwork `linear`."""

from __future__ import annotations

from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec


class Linear(HyperNetwork):
    """A linear map from the embedding of a condition to all weights.

    Args:
        target: What to generate.
        conditions: How many conditions, and the size of their embeddings.
        scale: Standard deviation of the generated weights before training.
    """

    def __init__(
        self, target: TargetSpec, conditions: ConditionSpec, *, scale: float = 0.5
    ) -> None:
        super().__init__(target, conditions)
        inputs = conditions.size + conditions.input_size
        self.head = nn.Linear(inputs, target.numel)
        nn.init.normal_(self.head.weight, std=scale / max(inputs, 1) ** 0.5)
        nn.init.zeros_(self.head.bias)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        weights: Tensor = self.head(inputs)
        return weights
