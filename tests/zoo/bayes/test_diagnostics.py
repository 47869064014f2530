"""Diagnostics against ArviZ 0.23.4, whose values for stored draws stand here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_zoo.bayes import ess_bulk, ess_mean, ess_tail, mcse_mean, mcse_sd, rhat

MEASURES = (rhat, ess_bulk, ess_tail, ess_mean, mcse_mean, mcse_sd)


def chain(name: str) -> torch.Tensor:
    """Draws that are the same everywhere: a formula of whole numbers, no generator."""
    chains, draws, correlation = {
        "plain": (4, 500, 0.0),
        "sticky": (4, 501, 0.9),
        "antithetic": (3, 200, -0.6),
        "apart": (4, 100, 0.3),
        "few": (2, 7, 0.2),
        "rounded": (4, 250, 0.5),
    }[name]
    numbers = np.arange(1, chains * draws + 1, dtype=np.float64).reshape(chains, draws)
    # The fractional parts of multiples of an irrational number, twice: nearly random.
    noise = np.mod(np.floor(numbers * 1e6 * math.sqrt(2)) * 0.6180339887, 1.0) - 0.5
    found = np.zeros((chains, draws))
    for t in range(draws):
        found[:, t] = noise[:, t] + (correlation * found[:, t - 1] if t else 0.0)
    if name == "apart":
        found += 0.5 * np.arange(chains)[:, None]
    if name == "rounded":
        found = np.round(4.0 * found) / 4.0
    return torch.from_numpy(found)


ARVIZ = {
    "plain": (
        0.9983323806,
        1102.206911,
        1077.901879,
        1108.937612,
        0.008677926462,
        0.003563647283,
    ),
    "sticky": (1.000915481, 239.5903577, 553.7780786, 237.4921029, 0.04292154287, 0.02027431172),
    "antithetic": (1.005132497, 1666.89075, 272.6806896, 1666.89075, 0.01328253201, 0.0216344196),
    "apart": (2.092569589, 5.812548329, 35.49286493, 5.528496797, 0.2747494467, 0.09243770258),
    "few": (1.204455175, 12.95017495, 12.95017495, 12.95017495, 0.07244394522, 0.02723491707),
    "rounded": (0.9983221446, 228.1230379, 261.1105355, 226.8892272, 0.02320291893, 0.01082062262),
}
"""R-hat, ESS of bulk, tails and mean, MCSE of mean and sd."""


@pytest.mark.parametrize("name", ARVIZ)
def test_measures_are_those_of_arviz(name: str) -> None:
    found = [float(measure(chain(name))) for measure in MEASURES]
    assert found == pytest.approx(ARVIZ[name], rel=1e-6)


def test_measures_of_many_parameters_are_those_of_each() -> None:
    """Also of parameters of any shape, and in blocks of whatever size."""
    draws = torch.stack([chain("plain"), chain("plain") ** 3], dim=-1)
    many = torch.stack([draws, draws + 1.0], dim=-1)
    for measure in MEASURES:
        each = [[measure(many[..., i, j]) for j in range(2)] for i in range(2)]
        assert torch.allclose(measure(many), torch.tensor(each, dtype=torch.float64))


def test_draws_in_single_precision_are_measured_in_double() -> None:
    draws = chain("sticky").float()
    assert ess_bulk(draws).dtype == torch.float64
    assert float(ess_bulk(draws)) == pytest.approx(float(ess_bulk(draws.double())))


def test_independent_draws_count_fully_and_constant_ones_never_mix() -> None:
    draws = torch.randn(4, 2000, generator=torch.Generator().manual_seed(0))
    assert float(ess_mean(draws)) == pytest.approx(8000, rel=0.1)
    constant = torch.ones(4, 100)
    assert math.isnan(rhat(constant))
    assert float(ess_bulk(constant)) == 400


def test_one_chain_shows_its_own_drift() -> None:
    drift = chain("plain")[:1] + torch.linspace(0, 2, 500)
    assert float(rhat(drift)) > 1.5
    assert float(rhat(chain("plain")[:1])) < 1.02


def test_what_is_not_finite_gives_nan_and_leaves_others_alone() -> None:
    draws = torch.stack([chain("plain")] * 2, dim=-1)
    draws[0, 3, 1] = torch.nan
    for measure in MEASURES:
        found = measure(draws)
        assert torch.isfinite(found[0]), measure
        assert torch.isnan(found[1]), measure


@pytest.mark.parametrize("shape", [(4, 3), (10,), (2, 0, 3)])
def test_too_few_draws_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least 4 draws"):
        rhat(torch.zeros(shape))


def test_no_parameters_have_no_measures() -> None:
    assert rhat(torch.zeros(4, 10, 0)).shape == (0,)
