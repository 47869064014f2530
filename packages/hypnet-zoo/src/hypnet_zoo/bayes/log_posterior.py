"""Log posteriors of networks, and of hypernetworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.networks import MainNetwork, Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.likelihoods import Classification, Likelihood, Regression
from hypnet_zoo.bayes.priors import Prior, PriorLike


class LogPosterior:
    r"""$\log p(y \mid x, \omega) + \log p(\omega)$ of a network's parameters.

    It is a log density for samplers, batched over chains; its negative is the potential
    energy. With a hypernetwork the parameters are its $\theta$, which generates
    $\omega$. Made by `log_posterior`.

    Attributes:
        spec: The parameters: those of the network, then those of the likelihood.
        target: The parameters of the network alone.
        likelihood: The likelihood.
    """

    def __init__(
        self,
        net: MainNetwork,
        x: Tensor,
        y: Tensor,
        *,
        prior: PriorLike,
        likelihood: Likelihood,
        hypernet: MainNetwork | None = None,
        condition: int | None = None,
    ) -> None:
        self.net = net
        self.x, self.y = x, y
        self.likelihood = likelihood
        self.hypernet, self.condition = hypernet, condition
        self.target: TargetSpec = net.target if hypernet is None else hypernet.target
        self.spec = TargetSpec(params=(*self.target.params, *likelihood.params))
        self.prior = prior.on(self.target)

    def __call__(self, params: Mapping[str, Tensor]) -> Tensor:
        """Log posteriors `[chains]`, up to the evidence."""
        weights, own = self.parts(params)
        found = self._log_likelihood(weights, own) + self.prior.log_prob(weights.flat)
        return found + self.likelihood.log_prior(own) if self.likelihood.params else found

    def log_likelihood(self, params: Mapping[str, Tensor]) -> Tensor:
        """Log likelihoods `[chains]` of all samples."""
        return self._log_likelihood(*self.parts(params))

    def potential(self, params: Mapping[str, Tensor]) -> Tensor:
        """Potential energies `[chains]`: negative log posteriors."""
        return -self(params)

    def parts(self, params: Mapping[str, Tensor]) -> tuple[Weights, Tensor]:
        """The parameters of the network, and those of the likelihood `[*batch, n]`."""
        whole = params if isinstance(params, Weights) else Weights.of(self.spec, params)
        if not self.likelihood.params:
            return whole, whole.flat[..., :0]
        size = self.target.numel
        flat, own = whole.flat.split([size, self.spec.numel - size], dim=-1)
        return Weights(flat, self.target), own

    def outputs(self, weights: Weights, x: Tensor) -> Tensor:
        """Outputs of the network `[*batch, N, *out_shape]`."""
        if self.hypernet is not None:
            weights = self.hypernet(self.condition, weights=weights)
        found: Tensor = self.net(x, weights=weights)
        return found

    def draw(
        self, count: int, generator: torch.Generator, *, dtype: torch.dtype | None = None
    ) -> Weights:
        """Draws from the prior, of batch shape `[count]`: starts that are far apart.

        Args:
            count: Number of draws.
            generator: The source of randomness, whose device they are on.
            dtype: Their dtype; torch's default if it is not given.
        """
        like = torch.empty((count, self.target.numel), dtype=dtype, device=generator.device)
        parts = [self.prior.sample(like, generator)]
        if self.likelihood.params:
            own = like.new_empty((count, self.spec.numel - self.target.numel))
            parts.append(self.likelihood.sample(own, generator))
        return Weights(torch.cat(parts, dim=-1), self.spec)

    def _log_likelihood(self, weights: Weights, own: Tensor) -> Tensor:
        return self.likelihood.each(self.outputs(weights, self.x), self.y, own).sum(dim=-1)


class NoisyLogPosterior(LogPosterior):
    """A log posterior that is estimated from batches of the samples.

    The likelihood of a batch counts for that of all samples: the estimate is unbiased.
    At first the batch is that of the first samples.

    Args:
        net: The network.
        x: All inputs.
        y: All targets.
        batch_size: Samples in a batch.
        **options: Those of `LogPosterior`.
    """

    def __init__(
        self, net: MainNetwork, x: Tensor, y: Tensor, *, batch_size: int, **options: Any
    ) -> None:
        super().__init__(net, x, y, **options)
        self.batch_size = min(batch_size, len(self.x))
        self._batch = self.x[: self.batch_size], self.y[: self.batch_size]

    def resample(self, generator: torch.Generator) -> None:
        """Draw another batch, without replacement."""
        chosen = torch.randperm(len(self.x), generator=generator, device=generator.device)
        chosen = chosen[: self.batch_size].to(self.x.device)
        self._batch = self.x[chosen], self.y[chosen]

    def _log_likelihood(self, weights: Weights, own: Tensor) -> Tensor:
        x, y = self._batch
        each = self.likelihood.each(self.outputs(weights, x), y, own)
        return each.sum(dim=-1) * (len(self.x) / self.batch_size)


def log_posterior(
    net: MainNetwork | nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    prior: PriorLike | None = None,
    likelihood: Likelihood | float | None = None,
    hypernet: MainNetwork | None = None,
    condition: int | None = None,
    batch_size: int | None = None,
) -> LogPosterior:
    """The log posterior of a network's parameters, given data.

    Args:
        net: A main network, or a module, whose parameters are then taken out of it.
        x: Inputs `[N, *in_shape]`.
        y: Targets `[N, *out_shape]`, or labels `[N]` (integers).
        prior: The prior; independent standard Gaussians by default.
        likelihood: The likelihood, or the standard deviation of the noise of a
            regression. By default labels are classified, and other targets have learned
            noise.
        hypernet: A hypernetwork whose own parameters are sampled in place of those that
            it generates: `MainNetwork(hnet, generate="unconditional")`.
        condition: The condition that it generates weights for.
        batch_size: Samples to estimate it from, for `sgld` and `sghmc`; all by default.

    Raises:
        ConfigError: The network has dropout or batch norm in training mode, or options
            do not fit together.
        DataError: There are not as many targets as inputs.

    Example:
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> density = log_posterior(nn.Linear(1, 1), x, 2 * x, likelihood=0.1)
        >>> from hypnet_zoo.bayes import sample
        >>> draws = sample(density, "nuts", density.spec, warmup=200, draws=200)
        >>> round(draws.summary().mean["weight"].item(), 1)
        2.0
    """
    if (hypernet is None) != (condition is None):
        raise ConfigError("hypernet and condition go together: give both, or neither")
    for name, part in (("net", net), ("hypernet", hypernet)):
        _check_mode(name, part)
    if len(x) != len(y) or not len(x):
        raise DataError(f"{len(x)} inputs and {len(y)} targets were given")
    if isinstance(likelihood, (int, float)):
        likelihood = Regression(float(likelihood))
    if likelihood is None:
        likelihood = Regression(None) if y.is_floating_point() else Classification()
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    # Last, since the module loses its parameters.
    main = net if isinstance(net, MainNetwork) else MainNetwork(net)
    options: dict[str, Any] = {"prior": prior or Prior(), "likelihood": likelihood}
    options |= {"hypernet": hypernet, "condition": condition}
    if batch_size is None:
        return LogPosterior(main, x, y, **options)
    return NoisyLogPosterior(main, x, y, batch_size=batch_size, **options)


def _check_mode(name: str, part: nn.Module | None) -> None:
    """Refuse modules of which each call, or each batch, gives another density."""
    for path, module in () if part is None else part.named_modules():
        if module.training and isinstance(module, (_DropoutNd, _NormBase)):
            where = path.removeprefix("module.")
            raise ConfigError(
                f"{name}: {type(module).__name__} ({where}) is in training mode, where outputs are"
                " random or depend on the batch: call net.eval() first"
            )
