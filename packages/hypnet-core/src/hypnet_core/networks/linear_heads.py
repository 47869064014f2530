"""Linear heads of a hypernetwork: what they read, and how their outputs count."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from hypnet_core.networks.conditions import Condition


class LinearHead(NamedTuple):
    r"""A linear layer that writes a part of the weights: $v_{ck} = W \varphi_{ck} + b$.

    Attributes:
        features: The inputs $\varphi$ of the layer: `[C, K, d]` for $C$ conditions,
            each of which is written in $K$ chunks.
        weight: $W$, `[n, d]`; `None` for the identity, where the features are the
            outputs themselves.
        bias: $b$, `[n]`.
    """

    features: Tensor
    weight: Tensor | None
    bias: Tensor | None = None


@runtime_checkable
class HasLinearHeads(Protocol):
    """A hypernetwork whose weights are outputs of linear heads, or fixed multiples.

    A regulariser can then compare the weights of many conditions without generating
    them. Each weight is one output $v_{ckr}$ times a factor, plus an offset, neither of
    which training changes. An output may go unused.

    Example:
        A hypernetwork of one linear layer:

        >>> from torch import nn
        >>> from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
        >>> class Linear(HyperNetwork):
        ...     def __init__(self, target, conditions):
        ...         super().__init__(target, conditions)
        ...         self.head = nn.Linear(conditions.size, target.numel)
        ...
        ...     def generate(self, inputs):
        ...         return self.head(inputs)
        ...
        ...     def heads_at(self, condition):
        ...         inputs, _ = self.inputs(condition)
        ...         features = inputs[:, None]  # [C, K, d] with K = 1
        ...         return [LinearHead(features, self.head.weight, self.head.bias)]
        ...
        ...     def importance_of_outputs(self, importance):
        ...         return [importance[None]]  # [K, n] with K = 1
        >>> hypernet = Linear(TargetSpec.from_shapes([[3, 2]]), ConditionSpec(count=4))
        >>> isinstance(hypernet, HasLinearHeads)
        True
    """

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads, with what they read for some conditions.

        Args:
            condition: A batch of ids.

        Returns:
            The heads in a fixed order; `None` where this hypernetwork cannot be read
            so, for example with batch norm.
        """
        ...

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        r"""How much the squared change of each output counts.

        An output that is written with the factor $s$ to a weight of importance $F$
        counts $s^2 F$, one that goes unused 0.

        Args:
            importance: How much the squared change of each weight counts: `[numel]`.

        Returns:
            `[K, n]` for each head.
        """
        ...
