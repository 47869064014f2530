"""Families of distributions whose parameters a hypernetwork writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import MainNetwork, Weights
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.bayes.posteriors.gaussian import Dirac, Gaussian, Radial
from hypnet_zoo.bayes.posteriors.implicit import Implicit
from hypnet_zoo.bayes.posteriors.posterior import Posterior
from hypnet_zoo.init import wanted_moments
from hypnet_zoo.mainnets import MLP


class Family(nn.Module):
    """A kind of distribution over weights, made from the outputs of a hypernetwork.

    Args:
        spec: Names and shapes of the weights.
        target: What the hypernetwork has to generate.
    """

    def __init__(self, spec: TargetSpec, target: TargetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.target = target

    def forward(self, written: Tensor) -> Posterior:
        """The distribution.

        Args:
            written: Outputs of the hypernetwork, flat `[*batch, target.numel]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement forward()")


class DiracFamily(Family):
    """Points: the hypernetwork writes the weights themselves.

    Args:
        spec: Names and shapes of the weights.
    """

    def __init__(self, spec: TargetSpec) -> None:
        super().__init__(spec, spec)

    def forward(self, written: Tensor) -> Dirac:
        """The point."""
        return Dirac(Weights(written, self.spec))


class GaussianFamily(Family):
    r"""Independent Gaussians: the hypernetwork writes means, and logarithms of scales.

    Scales start as a share of the standard deviation with which weights start in a
    network of their own, $\sigma_i = s \cdot \sqrt{Var(w_i)}$ (biases as the weights of
    their layer), so that activations keep their size. Scales that all start at 1 drown
    the signal in noise.

    Args:
        spec: Names and shapes of the weights.
        start: The share $s$.

    Raises:
        SpecError: The share is not positive.
    """

    log_start: Tensor
    made: type[Gaussian] = Gaussian
    """The distribution of these means and scales."""

    def __init__(self, spec: TargetSpec, start: float = 0.1) -> None:
        if not start > 0:
            raise SpecError(f"start must be positive, got {start}")
        scales = tuple(
            ParamSpec(
                name=f"{param.name}.log_scale",
                shape=param.shape,
                kind=ParamKind.OTHER,
                layer=param.layer,
            )
            for param in spec.params
        )
        super().__init__(spec, TargetSpec(params=(*spec.params, *scales)))
        self.register_buffer("log_start", (start * usual_scales(spec)).log())

    def forward(self, written: Tensor) -> Gaussian:
        """The distribution."""
        mean, log_scale = written.split(self.spec.numel, dim=-1)
        return self.made(Weights(mean, self.spec), (self.log_start + log_scale).exp())


class RadialFamily(GaussianFamily):
    """Radial distributions, by the same outputs as those of `GaussianFamily`."""

    made = Radial


class ImplicitFamily(Family):
    r"""Distributions of any shape: what is written is a network that writes weights.

    A small network $g$ maps noise to weights; a hypernetwork generates its parameters,
    others for each condition.

    Args:
        spec: Names and shapes of the weights.
        latent: Dimensions of the noise.
        latent_std: Standard deviation of the noise.
        hidden: Widths of the hidden layers of $g$.
        spread: Standard deviation of further noise in each weight, as a share of that
            with which weights start; it gives the distribution a density.
    """

    scales: Tensor

    def __init__(
        self,
        spec: TargetSpec,
        *,
        latent: int = 8,
        latent_std: float = 1.0,
        hidden: Sequence[int] = (10, 10),
        spread: float = 0.02,
    ) -> None:
        # Odd activations: draws start around zero, with as much spread as size.
        made = MLP((latent,), spec.numel, hidden=tuple(hidden), activation="tanh")
        writer = MainNetwork(made)
        super().__init__(spec, writer.target)
        self.writer = writer
        self.latent, self.latent_std, self.spread = latent, latent_std, spread
        # Outputs of the network have about the size 1.
        self.register_buffer("scales", usual_scales(spec))

    def forward(self, written: Tensor) -> Implicit:
        """The distribution of one condition; outputs without leading dimensions.

        Raises:
            SpecError: There are leading dimensions.
        """
        if written.ndim != 1:
            raise SpecError(
                "implicit distributions are made one by one, from outputs without leading"
                f" dimensions, got shape {list(written.shape)}"
            )
        weights = Weights(written, self.target)

        def make(z: Tensor) -> Tensor:
            flat: Tensor = self.writer(z, weights=weights)
            return self.scales * flat

        return Implicit(
            make,
            self.spec,
            self.latent,
            latent_std=self.latent_std,
            noise=self.spread * self.scales if self.spread else 0.0,
            like=written,
        )


def usual_scales(spec: TargetSpec) -> Tensor:
    """The standard deviation with which each weight starts, flat `[numel]`.

    Biases and others that start at a constant have that of their layer's weights, or
    else 0.1.
    """
    found = [moments.variance**0.5 for moments in wanted_moments(spec)]
    layers: dict[str, float] = {}
    for param, scale in zip(spec.params, found, strict=True):
        if scale > 0:
            layers.setdefault(param.layer, scale)
    return torch.cat(
        [
            torch.full((param.numel,), scale or layers.get(param.layer, 0.1))
            for param, scale in zip(spec.params, found, strict=True)
        ]
    )
