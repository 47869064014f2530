"""The unconditional parameters of a hypernetwork as weights."""

from __future__ import annotations

from hypnet_core.networks import HyperNetwork, Weights, weights_of
from hypnet_core.specs import TargetSpec


def unconditional_weights(hypernet: HyperNetwork) -> Weights:
    r"""Copy the unconditional parameters $\theta$ as weights, for arithmetic.

    `MainNetwork(hypernet, generate="unconditional")` runs the hypernetwork with them.

    Example:
        >>> from hypnet_core import MainNetwork
        >>> from hypnet_core.specs import ConditionSpec, TargetSpec
        >>> from hypnet_zoo.hypernets import HMLP
        >>> target = TargetSpec.from_shapes([[3, 2]])
        >>> hnet = HMLP(target, ConditionSpec(count=2, size=4), hidden=())
        >>> theta = unconditional_weights(hnet)
        >>> moved = MainNetwork(hnet, generate="unconditional")(1, weights=theta + 0.01)
        >>> moved.flat.shape
        torch.Size([6])
    """
    spec = TargetSpec.of(hypernet)
    names = set(hypernet.parameter_groups()["unconditional"])
    return weights_of(hypernet, spec.select(where=lambda param: param.name in names))
