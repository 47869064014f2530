"""`sample`: starts, results, files, resumption and extension."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from hypnet_core import Weights
from hypnet_core.errors import CheckpointError, ConfigError, SamplingError
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes import Draws, extend, rhat, sample
from hypnet_zoo.bayes.samplers import HMC, NUTS

START: dict[str, Tensor | float] = {
    "mu": torch.zeros((), dtype=torch.float64),
    "x": torch.zeros(2, 3),
}
SHORT: dict[str, Any] = {"warmup": 30, "draws": 20, "progress": False}


def log_density(params: Mapping[str, Tensor]) -> Tensor:
    away = params["x"] - params["mu"][:, None, None]
    return -0.5 * away.square().sum((-1, -2)) - 0.5 * params["mu"].square()


def test_draws_are_weights_of_chains_and_draws() -> None:
    found = sample(log_density, "nuts", START, chains=3, **SHORT)
    assert found.weights.batch_shape == (3, 20)
    assert found.weights["x"].shape == (3, 20, 2, 3)
    assert found.weights["mu"].dtype == torch.float64
    assert {name: values.shape for name, values in found.stats.items()} == dict.fromkeys(
        ("accepted", "acceptance", "energy", "depth", "divergent", "gradients"), (3, 20)
    )
    # The energy is that of the position, and of a momentum on top.
    potential = -log_density({n: t.flatten(0, 1) for n, t in found.weights.items()})
    assert (found.stats["energy"].flatten() > potential).all()


def test_seeds_decide_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (sample(log_density, "hmc", START, seed=s, **SHORT) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.weights.flat, same.weights.flat)
    assert not torch.equal(one.weights.flat, other.weights.flat)


def test_chains_start_where_they_should() -> None:
    spec = TargetSpec.from_shapes([[], [2, 3]], names=["mu", "x"])
    each = torch.arange(21.0).reshape(3, 7) / 21
    still = partial(HMC, step_size=1e-12)
    found = sample(log_density, still, Weights(each, spec), chains=3, warmup=0, draws=4)
    assert torch.allclose(found.weights.flat[:, 0], each, atol=1e-6)
    found = sample(log_density, still, Weights(each[1], spec), chains=3, warmup=0, draws=4)
    assert torch.allclose(found.weights.flat[:, 0], each[1].expand(3, 7), atol=1e-6)
    found = sample(log_density, still, spec, chains=3, warmup=0, draws=4)
    first = found.weights.flat[:, 0]
    assert first.abs().max() <= 2
    assert len(first.unique()) == 21
    with pytest.raises(ConfigError, match="one per chain"):
        sample(log_density, "hmc", Weights(each, spec), chains=4)
    with pytest.raises(ConfigError, match="start"):
        sample(log_density, "hmc", cast("Any", 3.0))


def test_random_starts_are_inside_the_support() -> None:
    def positive(params: Mapping[str, Tensor]) -> Tensor:
        x = params["x"]
        return torch.where((x > 0).all(-1), -x.sum(-1), -torch.inf)

    spec = TargetSpec.from_shapes([[3]], names=["x"])
    found = sample(positive, "metropolis", spec, chains=16, **SHORT)
    assert (found.weights["x"] > 0).all()
    with pytest.raises(SamplingError, match="no finite start"):
        sample(lambda p: positive(p) - torch.inf, "metropolis", spec)


def test_a_start_that_is_nan_is_named() -> None:
    with pytest.raises(SamplingError, match=r"start of chain 0 is not finite in 'x'"):
        sample(log_density, "nuts", {**START, "x": torch.full((2, 3), torch.nan)})


@pytest.mark.parametrize("name", ["chains", "draws", "thin"])
def test_numbers_that_are_too_small_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        sample(log_density, "nuts", START, **cast("dict[str, Any]", {name: 0}))


def test_unknown_samplers_and_options_are_named() -> None:
    with pytest.raises(Exception, match="did you mean 'nuts'"):
        sample(log_density, "nutz", START)
    with pytest.raises(ConfigError, match="max_depth"):
        sample(log_density, {"name": "nuts", "max_dept": 3}, START)


def test_thinning_keeps_every_kth_draw() -> None:
    every = sample(log_density, "nuts", START, **{**SHORT, "draws": 21})
    third = sample(log_density, "nuts", START, **{**SHORT, "draws": 7}, thin=3)
    assert torch.equal(third.weights.flat, every.weights.flat[:, 2::3])
    sums = every.stats["gradients"].unflatten(1, (7, 3)).sum(-1)
    assert torch.equal(third.stats["gradients"], sums)


def test_metrics_are_logged() -> None:
    seen: dict[int, Mapping[str, float]] = {}
    sample(log_density, "nuts", START, **SHORT, log=seen.__setitem__, log_every=10)
    assert list(seen) == [10, 20, 30, 40, 50]
    assert set(seen[50]) == {"energy", "acceptance", "gradients", "step_size"}
    assert 0 < seen[50]["acceptance"] <= 1


def test_saved_draws_are_loaded(tmp_path: Path) -> None:
    found = sample(log_density, "nuts", START, **SHORT)
    found.save(tmp_path / "draws.safetensors")
    again = Draws.load(tmp_path / "draws.safetensors")
    assert torch.equal(found.weights.flat, again.weights.flat)
    assert again.weights.spec == found.weights.spec
    assert torch.equal(found.stats["energy"], again.stats["energy"])
    one, other = (extend(d, log_density, "nuts", draws=5, progress=False) for d in (found, again))
    assert torch.equal(one.weights.flat, other.weights.flat)
    data = bytearray((tmp_path / "draws.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        Draws.load(tmp_path / "bad")


def test_an_extension_is_what_a_longer_run_would_have_given() -> None:
    longer = sample(log_density, "nuts", START, **{**SHORT, "draws": 30})
    found = sample(log_density, "nuts", START, **SHORT)
    more = extend(found, log_density, "nuts", draws=10)
    assert torch.equal(more.weights.flat, longer.weights.flat)
    assert len(more) == 30


def test_chosen_chains_are_extended() -> None:
    found = sample(log_density, "nuts", START, **SHORT)
    more = extend(found, log_density, "nuts", draws=200, chains=[3, 1])
    assert more.weights.batch_shape == (2, 220)
    assert torch.equal(more.weights.flat[:, :20], found.weights.flat[[3, 1]])
    assert float(rhat(more.weights["mu"])) < 1.1
    for chains in ([4], [], [1, 1]):
        with pytest.raises(ConfigError, match="0 to 3"):
            extend(found, log_density, "nuts", chains=chains)
    with pytest.raises(ConfigError, match="come from"):
        extend(found, log_density, "hmc")


def test_draws_are_streamed_to_files(tmp_path: Path) -> None:
    in_memory = sample(log_density, "nuts", START, **SHORT)
    in_files = sample(log_density, "nuts", START, **SHORT, directory=tmp_path)
    assert torch.equal(in_memory.weights.flat, in_files.weights.flat)
    assert np.load(tmp_path / "draws.npy").shape == (4, 20, 7)
    again = sample(log_density, "nuts", START, **SHORT, directory=tmp_path)
    assert torch.equal(in_memory.weights.flat, again.weights.flat)
    with pytest.raises(CheckpointError, match="seed"):
        sample(log_density, "nuts", START, **SHORT, directory=tmp_path, seed=1)
    (tmp_path / "draws.npy").unlink()
    with pytest.raises(CheckpointError, match=r"draws\.npy"):
        sample(log_density, "nuts", START, **SHORT, directory=tmp_path)


@pytest.mark.parametrize("stop", [17, 40, 41, 55])
def test_an_interrupted_run_goes_on_to_the_same_draws(tmp_path: Path, stop: int) -> None:
    """In the warm-up, at its end and among the draws, with thinning."""

    class StoppedError(Exception):
        pass

    def interrupt(step: int, metrics: Mapping[str, float]) -> None:
        if step >= stop:
            raise StoppedError

    options: dict[str, Any] = {
        "warmup": 30,
        "draws": 14,
        "thin": 2,
        "save_every": 5,
        "directory": tmp_path,
    }
    whole = sample(log_density, "nuts", START, **{**options, "directory": None})
    with pytest.raises(StoppedError):
        sample(log_density, "nuts", START, **options, log=interrupt, log_every=1)
    again = sample(log_density, "nuts", START, **options)
    assert torch.equal(whole.weights.flat, again.weights.flat)
    assert torch.equal(whole.statistics, again.statistics)


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_draws(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "from hypnet_zoo.bayes import sample\n"
        "found = sample(lambda p: -p['x'].square().sum(-1), 'nuts', {'x': torch.zeros(3)},\n"
        "    warmup=100, draws=int(sys.argv[2]), directory=sys.argv[1], save_every=7)\n"
        "torch.save(found.weights.flat.clone(), sys.argv[1] + '.pt')\n"
    )
    ends = []
    for name, kill in (("whole", False), ("killed", True)):
        command = [sys.executable, str(script), str(tmp_path / name), "1500"]
        if kill:
            process = subprocess.Popen(command)
            while not (tmp_path / name / "state.safetensors").exists():
                time.sleep(0.05)
            time.sleep(0.3)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not (tmp_path / f"{name}.pt").exists()
        subprocess.run(command, check=True)
        ends.append(torch.load(tmp_path / f"{name}.pt", weights_only=True))
    assert torch.equal(*ends)


def test_more_draws_than_memory_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"thin=k.*directory="):
        sample(log_density, "nuts", START, draws=10**10)


def test_the_summary_shows_chains_that_do_not_mix() -> None:
    spec = TargetSpec.from_shapes([[1]], names=["x"])
    start = Weights(torch.tensor([[-20.0], [20.0], [20.0], [-20.0]]), spec)

    def two_modes(params: Mapping[str, Tensor]) -> Tensor:
        return -0.5 * (params["x"][:, 0].abs() - 20).square()

    found = sample(two_modes, partial(NUTS, step_size=0.5), start, warmup=0, draws=100)
    summary = found.summary()
    assert summary.worst_rhat > 1.5
    assert "the chains have not mixed" in str(summary)
    rows = dict(summary.rows())
    assert rows["x[0]"]["rhat"] == summary.rhat["x"].item()


def test_the_summary_has_the_moments_and_quantiles() -> None:
    found = sample(log_density, "nuts", START, **{**SHORT, "draws": 50})
    summary, x = found.summary(), found.weights["x"].flatten(0, 1).numpy()
    assert np.allclose(summary.mean["x"], x.mean(0))
    assert np.allclose(summary.sd["x"], x.std(0, ddof=1))
    assert np.allclose(summary.q5["x"], np.quantile(x, 0.05, axis=0))
    assert np.allclose(summary.median["x"], np.median(x, axis=0))
    assert "x[1,2]" in str(summary)


def test_draws_go_to_arviz() -> None:
    arviz = pytest.importorskip("arviz", reason="an extra: hypnet-zoo[arviz]")
    found = sample(log_density, "nuts", START, **SHORT)
    data = found.to_arviz()
    assert data.posterior["x"].shape == (4, 20, 2, 3)
    assert int(data.sample_stats["n_steps"].sum()) == found.gradients
    table = arviz.summary(data, round_to="none")
    assert table["r_hat"].to_numpy() == pytest.approx(found.summary().rhat.flat.numpy())
