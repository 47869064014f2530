"""Small things that are done to any hypernetwork: starting its embeddings, moving its unconditional parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hypnet_core.networks import EMBEDDING, HyperNetwork, Weights, weights_of
from hypnet_core.specs import TargetSpec

__all__ = ["init_chunk_embeddings", "init_condition_embeddings", "unconditional_weights"]


@torch.no_grad()
def init_condition_embeddings(
    hypernet: HyperNetwork,
    start: Callable[[Tensor, int], object] | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> None:
    r"""Start the embeddings of conditions anew, wherever inside a hypernetwork they are kept.

    Args:
        hypernet: The hypernetwork, changed in place. Without embeddings of its own it
            stays as it is.
        start: Called with each embedding `[size]` and the id of its condition, fills it
            in place.
        mean: Without `start`, mean of the normal distribution that is drawn from.
        std: Without `start`, its standard deviation.

    Example:
        >>> from hypnet_core.specs import ConditionSpec, TargetSpec
        >>> from hypnet_zoo.hypernets.hmlp import HMLP
        >>> hnet = HMLP(TargetSpec.from_shapes([[3, 2]]), ConditionSpec(count=2, size=4))
        >>> init_condition_embeddings(hnet, lambda embedding, condition: embedding.fill_(condition))
        >>> hnet.embedding(1)
        Parameter containing: tensor([1., 1., 1., 1.], requires_grad=True)
    """
    for part in _hypernetworks(hypernet):
        if EMBEDDING not in part.conditional_shapes:
            continue
        for condition, embedding in enumerate(part.parameters_of(EMBEDDING)):
            embedding.normal_(mean, std) if start is None else start(embedding, condition)


@torch.no_grad()
def init_chunk_embeddings(
    hypernet: HyperNetwork,
    start: Callable[[Tensor], object] | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> None:
    """Start the embeddings of chunks anew; a hypernetwork without chunks stays as it is.

    Args:
        hypernet: The hypernetwork, changed in place.
        start: Called with each tensor of chunk embeddings `[chunks, size]`, fills it in
            place. Where every condition has chunk embeddings of its own, it is called
            for one condition after the other.
        mean: Without `start`, mean of the normal distribution that is drawn from.
        std: Without `start`, its standard deviation.
    """
    for part in _hypernetworks(hypernet):
        kept: Callable[[], list[nn.Parameter]] = getattr(part, "all_chunk_embeddings", list)
        for embeddings in kept():
            embeddings.normal_(mean, std) if start is None else start(embeddings)


def unconditional_weights(hypernet: HyperNetwork) -> Weights:
    r"""A copy of the unconditional parameters $\theta$ as weights, for arithmetic.

    `MainNetwork(hypernet, generate="unconditional")` runs the hypernetwork with them:

    Example:
        >>> from hypnet_core import MainNetwork
        >>> from hypnet_core.specs import ConditionSpec, TargetSpec
        >>> from hypnet_zoo.hypernets.hmlp import HMLP
        >>> hnet = HMLP(TargetSpec.from_shapes([[3, 2]]), ConditionSpec(count=2, size=4), hidden=())
        >>> theta = unconditional_weights(hnet)
        >>> moved = MainNetwork(hnet, generate="unconditional")(1, weights=theta + 0.01)
        >>> moved.flat.shape
        torch.Size([6])
    """
    spec = TargetSpec.of(hypernet)
    names = set(hypernet.parameter_groups()["unconditional"])
    return weights_of(hypernet, spec.select(where=lambda param: param.name in names))


def _hypernetworks(hypernet: HyperNetwork) -> Iterator[HyperNetwork]:
    return (module for module in hypernet.modules() if isinstance(module, HyperNetwork))
