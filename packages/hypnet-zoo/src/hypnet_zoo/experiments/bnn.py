"""Bayesian neural networks, by any sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, HypnetError, error_line, listed
from hypnet_core.networks import Weights
from hypnet_core.protocols import Climbs, Logger, Sampler
from hypnet_core.runs import Log, Run, build_loggers, write_atomic
from hypnet_zoo.bayes.diagnostics import ess_bulk, rhat
from hypnet_zoo.bayes.draws import Draws
from hypnet_zoo.bayes.likelihoods import Regression
from hypnet_zoo.bayes.log_posterior import LogPosterior, log_posterior
from hypnet_zoo.bayes.sample import sample
from hypnet_zoo.continual.preparation import cpu_threads, named, pick_device
from hypnet_zoo.continual.seeds import seed_of, seeded
from hypnet_zoo.experiments._bnn.config import BNNConfig
from hypnet_zoo.experiments._bnn.data import Data, load_data
from hypnet_zoo.experiments._bnn.results import (
    ClassificationResults,
    RegressionResults,
    outputs_of,
    rounded,
)

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Prepared:
    """A posterior, and where its metrics go.

    Attributes:
        data: The data.
        density: The log posterior.
        start: Where chains start: draws from the prior.
    draws: Draws of each chain.
        loggers: Loggers by name.
    """

    data: Data
    density: LogPosterior
    start: Weights
    draws: int
    loggers: Mapping[str, Logger]


@dataclass(frozen=True)
class _RunKeeper:
    """Keeps the states of a sampler as the checkpoints of a run."""

    run: Run

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        self.run.save(step, tensors, state)

    def load(self, device: torch.device) -> tuple[Mapping[str, Tensor], Mapping[str, Any]] | None:
        found = self.run.restore(device=str(device))
        return None if found is None else (found.tensors, found.state)


class BNN:
    """Samples the posterior of a network, and scores its predictions.

    The draws of all chains are one batch of weights: the predictive distribution is one
    call of the network. `chains/` in the run's directory holds the draws, `band.png`
    the predictive band of a regression of one variable, `calibration.png` how often
    targets are where they are expected. A run that is resumed gives the same draws.

    Weights of a network have no unique values (units can be exchanged), so R-hat and
    the effective sample size are those of its outputs at the test inputs.
    """

    Config: ClassVar[type[BNNConfig]] = BNNConfig

    def __init__(self) -> None:
        self._prepared: tuple[BNNConfig, Prepared] | None = None

    def prepare(self, config: BNNConfig) -> Sequence[str]:
        """Load the data and build the posterior, before a run starts."""
        self._prepared = config, self._build(config)
        return []

    def run(self, config: BNNConfig, run: Run) -> Mapping[str, Any]:
        """Sample, predict, and summarise."""
        kept, self._prepared = self._prepared, None
        prepared = kept[1] if kept is not None and kept[0] == config else self._build(config)
        with cpu_threads(config.threads, prepared.density.spec.numel):
            return self._run(config, prepared, run)

    def report(self, summary: Mapping[str, Any]) -> Table:
        """The table that `hypnet run` prints at the end."""
        from rich.table import Table

        table = Table("measure", "value", title=f"predictions by {summary['sampler']}")
        for name, value in rounded(summary).items():
            table.add_row(name.replace("_", " "), value)
        return table

    def _build(self, config: BNNConfig) -> Prepared:
        device = pick_device(config.device)
        dtype: torch.dtype = getattr(torch, config.precision)
        loggers = build_loggers(config.log)
        data = load_data(config.data, standardize=config.standardize, dtype=dtype, device=device)
        with named("mnet"), seeded(config.seed):
            outputs = data.spec.out_shape[0]
            module = config.mnet.build(data.spec.in_shape, outputs)
        likelihood = None
        if data.spec.kind == "regression":
            likelihood = Regression(_noise(config, data), expected=config.expected_noise)
        elif config.noise is not None:
            raise ConfigError("noise: a classification has none")
        with named("mnet"):
            density = log_posterior(
                module.to(device=device, dtype=dtype).eval(),
                data.scale_x(data.x),
                data.scale_y(data.y) if likelihood else data.y,
                prior=config.prior,
                likelihood=likelihood,
                batch_size=config.batch_size,
            )
        with named("sampler"):
            sampler: Sampler = config.sampler.build(density)
        usual = 1 if isinstance(sampler, Climbs) and sampler.climbs else 500
        generator = torch.Generator(device).manual_seed(seed_of(config.seed, 1))
        start = density.draw(config.chains, generator, dtype=dtype)
        try:
            density(start)
        except HypnetError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ConfigError(
                f"mnet: the likelihood of inputs {list(data.x.shape)} cannot be computed:"
                f" {error_line(error)}"
            ) from error
        return Prepared(data, density, start, config.draws or usual, loggers)

    def _run(self, config: BNNConfig, prepared: Prepared, run: Run) -> dict[str, Any]:
        keeper = _RunKeeper(run)
        with Log(run, prepared.loggers) as log:
            draws = sample(
                prepared.density,
                config.sampler,
                prepared.start,
                chains=config.chains,
                warmup=config.warmup,
                draws=prepared.draws,
                thin=config.thin,
                seed=config.seed,
                log=log,
                log_every=config.log_every,
                directory=run.path / "chains",
                keeper=keeper,
                save_every=config.save_every,
            )
            summary = self._summary(config, prepared, draws, run, log)
            log.summary = summary
        return summary

    def _summary(
        self, config: BNNConfig, prepared: Prepared, draws: Draws, run: Run, log: Log
    ) -> dict[str, Any]:
        density, data = prepared.density, prepared.data
        chosen = _spread(draws, config.predict_draws)
        joined = Weights(chosen.flat.flatten(0, 1), density.spec)
        kind = RegressionResults if data.spec.kind == "regression" else ClassificationResults
        results = kind(density, joined, data)
        for name, picture in results.pictures().items():
            write_atomic(run.path / f"{name}.png", picture)
            log.image(log.step, name, picture)
        stats = draws.stats
        found = {**results.measures(), **_mixing(density, chosen, data)}
        endless = [name for name, value in found.items() if not math.isfinite(value or 0.0)]
        if endless:
            run.logger.warning("%s: infinite or NaN, so the chains have diverged", listed(endless))
        return {
            "sampler": config.sampler.name,
            **{name: None if name in endless else value for name, value in found.items()},
            "acceptance": float(stats["acceptance"].mean()),
            "divergences": draws.divergences,
            "gradients": draws.gradients,
            "parameters": density.spec.numel,
        }


def _noise(config: BNNConfig, data: Data) -> float | None:
    """The given noise in the units of scaled targets."""
    if config.noise is None:
        return None
    scales = data.scale_y.std.flatten()
    if len(scales) > 1 and not bool((scales == scales[0]).all()):
        raise ConfigError("noise: targets of several scales need standardize=false")
    return config.noise / float(scales[0])


def _spread(draws: Draws, most: int) -> Weights:
    """Draws `[chains, n]` at equal distances, of all chains."""
    each = min(len(draws), max(1, most // draws.chains))
    chosen = torch.linspace(0, len(draws) - 1, each).round().long()
    return Weights(draws.weights.flat[:, chosen.to(draws.weights.flat.device)], draws.weights.spec)


def _mixing(density: LogPosterior, draws: Weights, data: Data) -> dict[str, float | None]:
    """Convergence of the outputs at (at most 200) test inputs."""
    chains, each = draws.batch_shape
    if each < 4:
        return {"rhat": None, "ess": None}
    x = data.scale_x(data.test_x)
    x = x[torch.linspace(0, len(x) - 1, min(200, len(x)), device=x.device).long()]
    joined = Weights(draws.flat.flatten(0, 1), density.spec)
    found = outputs_of(density, joined, x, data.spec.out_shape[0]).unflatten(0, (chains, each))
    rhats = rhat(found)
    varying = rhats[~rhats.isnan()]
    return {
        "rhat": float(varying.max()) if len(varying) else None,
        "ess": float(ess_bulk(found).min()),
    }
