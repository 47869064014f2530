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
        divergence: From the old and the new posteriors.
    """

    def __init__(
        self,
        network: PosteriorNetwork,
        earlier: Sequence[int],
        divergence: Callable[[Any, Any], Tensor],
    ) -> None:
        self._network = network
        self._earlier = list(earlier)
        self._divergence = divergence
        with torch.no_grad():
            self._old: Tensor = network.hypernet(self._earlier).flat

    def __call__(self) -> Tensor:
        """The divergence, a scalar."""
        old = self._network.posterior(self._old)
        new = self._network.posterior(self._network.hypernet(self._earlier).flat)
        return self._divergence(old, new).mean()

    @property
    def memory_bytes(self) -> int:
        """Memory that is kept for it."""
        return self._old.numel() * self._old.element_size()


def between_posteriors(
    network: PosteriorNetwork, earlier: Sequence[int], how: Between
) -> OutputRegularizer | BetweenPosteriors:
    """Protection of earlier posteriors as they are now, called for its loss.

    Args:
        network: Writes the posteriors.
        earlier: The conditions of earlier tasks.
        how: By what is written, or by a divergence of the posteriors.
    """
    if how == "outputs":
        return OutputRegularizer(network.hypernet, list(earlier))
    return BetweenPosteriors(network, earlier, _DIVERGENCES[how])
