"""Protection of the posteriors of earlier tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnet_zoo.bayes.posteriors import between_means, kl, wasserstein
from hypnet_zoo.continual.methods._posterior.network import PosteriorNetwork
from hypnet_zoo.continual.methods._posterior.options import Between
from hypnet_zoo.regularizers import OutputRegularizer

_DIVERGENCES: dict[str, Callable[[Any, Any], Tensor]] = {
    "means": between_means,
    "forward_kl": kl,
    "reverse_kl": lambda old, new: kl(new, old),
    "w2": wasserstein,
}


class BetweenPosteriors:
    """The mean divergence of earlier tasks' posteriors from what they were.

    Args:
        network: Writes the posteriors, as they are now: these are the ones to keep.
        earlier: The conditions of earlier tasks.
        how: The divergence.
    """

    def __init__(self, network: PosteriorNetwork, earlier: Sequence[int], how: Between) -> None:
        self._network = network
        self._earlier = list(earlier)
        self._divergence = _DIVERGENCES.get(how)
        self._outputs: OutputRegularizer | None = None
        self._old = torch.empty(0)
        if self._divergence is None:
            self._outputs = OutputRegularizer(network.hypernet, self._earlier)
        else:
            with torch.no_grad():
                self._old = network.hypernet(self._earlier).flat

    def __call__(self) -> Tensor:
        """The divergence, a scalar."""
        if self._outputs is not None:
            return self._outputs()
        assert self._divergence is not None  # noqa: S101
        old = self._network.posterior(self._old)
        new = self._network.posterior(self._network.hypernet(self._earlier).flat)
        return self._divergence(old, new).mean()

    @property
    def memory_bytes(self) -> int:
        """Memory that is kept for it."""
        if self._outputs is not None:
            return self._outputs.memory_bytes
        return self._old.numel() * self._old.element_size()
