"""Summaries of draws: moments, quantiles, convergence and errors of each parameter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hypnet_core.networks import Weights
from hypnet_zoo.bayes.diagnostics import (
    ess_bulk,
    ess_tail,
    mcse_mean,
    mcse_sd,
    quantiles,
    rhat,
)

_ROWS = 40
_SUSPICIOUS = 1.01


@dataclass(frozen=True, eq=False)
class Summary:
    """Measures of each parameter; each is a `Weights`, so `summary.mean["tau"]` works.

    Printing it gives a table, with the parameters that mix worst where there are many,
    and a remark for everything that is suspicious.

    Attributes:
        mean: Means.
        sd: Standard deviations.
        q5: Quantiles of 5 %.
        median: Medians.
        q95: Quantiles of 95 %.
        rhat: Rank-normalised split R-hat.
        ess_bulk: Effective sample size of the bulk.
        ess_tail: Effective sample size of the tails.
        mcse_mean: Monte Carlo standard error of the mean.
        mcse_sd: Monte Carlo standard error of the standard deviation.
        warnings: What is suspicious, one line each.
    """

    mean: Weights
    sd: Weights
    q5: Weights
    median: Weights
    q95: Weights
    rhat: Weights
    ess_bulk: Weights
    ess_tail: Weights
    mcse_mean: Weights
    mcse_sd: Weights
    warnings: tuple[str, ...] = ()

    @property
    def worst_rhat(self) -> float:
        """The largest R-hat of all parameters that vary; NaN if none does."""
        found = self.rhat.flat
        varying = found[~found.isnan()]
        return float(varying.max()) if len(varying) else float("nan")

    @property
    def least_ess(self) -> float:
        """The smallest effective sample size of all parameters, bulk or tails."""
        return float(torch.minimum(self.ess_bulk.flat, self.ess_tail.flat).min())

    def rows(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Each scalar parameter, such as `theta[3]`, and its measures by name."""
        names = list(_scalars(self.mean))
        measures = {name: getattr(self, name).flat.tolist() for name in _COLUMNS}
        for place, name in enumerate(names):
            yield name, {measure: values[place] for measure, values in measures.items()}

    def __str__(self) -> str:
        rows = list(self.rows())
        if len(rows) > _ROWS:
            # A NaN is worse than any number.
            rows.sort(key=lambda row: -row[1]["rhat"] if row[1]["rhat"] == row[1]["rhat"] else -9e9)
        width = max(len("parameter"), *(len(name) for name, _ in rows[:_ROWS]))
        lines = [f"{'parameter':{width}}" + "".join(f"{name:>11}" for name in _COLUMNS)]
        lines += [
            f"{name:{width}}" + "".join(f"{_cell(key, value):>11}" for key, value in found.items())
            for name, found in rows[:_ROWS]
        ]
        if len(rows) > _ROWS:
            lines.append(f"… and {len(rows) - _ROWS:,} more, which mix better")
        return "\n".join([*lines, *self.warnings])


_COLUMNS = (
    "mean",
    "sd",
    "q5",
    "median",
    "q95",
    "rhat",
    "ess_bulk",
    "ess_tail",
    "mcse_mean",
    "mcse_sd",
)


def _cell(measure: str, value: float) -> str:
    if measure.startswith("ess"):
        return f"{value:.0f}"
    return f"{value:.3f}" if measure == "rhat" else f"{value:.4g}"


def _scalars(weights: Weights) -> Iterator[str]:
    """Names of all scalars, in the order of the flat tensor."""
    for param in weights.spec:
        if not param.shape:
            yield param.name
            continue
        for index in itertools.product(*map(range, param.shape)):
            yield f"{param.name}[{','.join(map(str, index))}]"


def summarize(draws: Weights) -> Summary:
    """Summarise draws of batch shape `[chains, draws]`.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """
    flat, spec = draws.flat, draws.spec
    low, middle, high = quantiles(flat, (0.05, 0.5, 0.95))
    joined = flat.detach().flatten(0, 1).double()
    measures = {
        "mean": joined.mean(dim=0),
        "sd": joined.std(dim=0),
        "q5": low,
        "median": middle,
        "q95": high,
        "rhat": rhat(flat),
        "ess_bulk": ess_bulk(flat),
        "ess_tail": ess_tail(flat),
        "mcse_mean": mcse_mean(flat),
        "mcse_sd": mcse_sd(flat),
    }
    found = {name: Weights(values, spec) for name, values in measures.items()}
    return Summary(**found, warnings=tuple(_remarks(measures["rhat"], measures["ess_bulk"], flat)))


def _remarks(rhats: torch.Tensor, sizes: torch.Tensor, flat: torch.Tensor) -> Iterator[str]:
    apart = int((rhats > _SUSPICIOUS).sum())
    if apart:
        yield (
            f"the chains have not mixed: R-hat is above {_SUSPICIOUS} for {apart:,} of"
            f" {len(rhats):,} parameters (up to {float(rhats[~rhats.isnan()].max()):.2f}); warm up"
            " and draw longer, or reparametrise"
        )
    constant = int(rhats.isnan().sum())
    if constant:
        yield f"{constant:,} of {len(rhats):,} parameters never change, or are not finite"
    wanted = 100 * flat.shape[0]
    few = int((sizes < wanted).sum())
    if few:
        yield (
            f"the effective sample size is below {wanted} (100 per chain) for {few:,} of"
            f" {len(sizes):,} parameters"
        )
