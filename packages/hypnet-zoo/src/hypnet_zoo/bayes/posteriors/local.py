"""Local reparametrisation: noise in the outputs of layers instead of their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from hypnet_core.errors import SpecError
from hypnet_core.networks import Weights
from hypnet_zoo.bayes.posteriors.gaussian import Gaussian, Radial
from hypnet_zoo.bayes.posteriors.posterior import standard_normal

_LEAST = 1e-16
"""Added to variances, whose root has no slope at zero."""


class LocalWeights(Mapping[str, Any]):
    r"""Weights of a Gaussian distribution, of which each sample sees draws of its own.

    Where a linear layer or a convolution reads them, the output is drawn instead,

    $$ y \sim \mathcal{N}(x M^\top + m, \; x^2 (S^2)^\top + s^2) $$

    which has the same distribution for each sample, and far less noise in gradients
    than one draw for a whole batch. Every other operation sees one draw of the weights.
    Give them to a main network in the place of `Weights`: `net(x, weights=
    LocalWeights(q))`. Make new ones for each call.

    Args:
        distribution: One Gaussian, without leading dimensions.

    Raises:
        SpecError: It is no Gaussian, or it has leading dimensions.

    References:
        D. P. Kingma, T. Salimans, M. Welling: Variational dropout and the local
        reparameterization trick. NeurIPS 2015, arXiv:1506.02557, section 2.2.

    Example:
        >>> from hypnet_core import MainNetwork
        >>> net = MainNetwork(torch.nn.Linear(3, 2))
        >>> q = Gaussian(Weights(torch.zeros(8), net.target), torch.ones(8))
        >>> net(torch.ones(5, 3), weights=LocalWeights(q)).shape
        torch.Size([5, 2])
    """

    def __init__(self, distribution: Gaussian) -> None:
        given: object = distribution
        if not isinstance(given, Gaussian) or isinstance(given, Radial):
            raise SpecError(
                "the noise of outputs is known for independent Gaussians alone, not for a"
                f" {type(distribution).__name__}"
            )
        if distribution.mean.batch_shape:
            raise SpecError(
                "one distribution at a time has noise in outputs, got a batch of"
                f" {list(distribution.mean.batch_shape)}"
            )
        scale = Weights(distribution.scale, distribution.spec)
        self._parts = {
            name: _Noisy(distribution.mean[name], scale[name]) for name in distribution.spec.names
        }

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


class _Noisy:
    """A parameter with mean and scale, which is one draw to all but some operations."""

    requires_grad = False  # what is inside has its own gradients

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        self.mean = mean
        self.scale = scale
        self._drawn: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return self.mean.shape

    @property
    def drawn(self) -> Tensor:
        """One draw, the same for all that ask."""
        if self._drawn is None:
            noise = standard_normal(tuple(self.mean.shape), self.mean)
            self._drawn = self.mean + self.scale * noise
        return self._drawn

    @property
    def dtype(self) -> torch.dtype:
        return self.mean.dtype

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def to(self, *args: Any, **kwargs: Any) -> _Noisy:
        """Cast or move it; the draw is that of the new one."""
        moved = self.mean.to(*args, **kwargs), self.scale.to(*args, **kwargs)
        same = moved[0] is self.mean and moved[1] is self.scale
        return self if same else _Noisy(*moved)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.drawn, name)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        layer = _LAYERS.get(function)
        if layer is not None:
            found = layer(*args, **(kwargs or {}))
            if found is not None:
                return found
        args, kwargs = pytree.tree_map_only(cls, lambda one: one.drawn, (args, kwargs or {}))
        return function(*args, **kwargs)


def _layer(function: Callable[..., Tensor]) -> Callable[..., Tensor | None]:
    """A layer's output for a noisy weight; `None` if its weight is not noisy."""

    def call(
        x: Tensor,
        weight: Any,
        bias: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor | None:
        if not isinstance(weight, _Noisy) or not isinstance(x, Tensor):
            return None
        shift, spread = (
            (bias.mean, bias.scale.square()) if isinstance(bias, _Noisy) else (bias, None)
        )
        mean = function(x, weight.mean, shift, *args, **kwargs)
        variance = function(x.square(), weight.scale.square(), spread, *args, **kwargs)
        return mean + (variance + _LEAST).sqrt() * standard_normal(tuple(mean.shape), mean)

    return call


_LAYERS: dict[Any, Callable[..., Tensor | None]] = {
    function: _layer(function) for function in (F.linear, torch.conv1d, torch.conv2d, torch.conv3d)
}
