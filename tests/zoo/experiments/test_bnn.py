"""The experiment `bnn`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.runs import Run, execute, load_config
from hypnet_zoo.bayes.log_posterior import LogPosterior
from hypnet_zoo.experiments import BNN, BNNConfig

Command = Callable[..., subprocess.CompletedProcess[str]]

QUICK = (
    "mnet.hidden=[8]",
    "noise=0.2",
    "sampler=hmc",
    "warmup=50",
    "draws=30",
    "log=[csv]",
    "log_every=20",
    "save_every=15",
)


def config(*overrides: str) -> BNNConfig:
    found: BNNConfig = load_config(BNNConfig, overrides=[*QUICK, *overrides])
    return found


def run(path: Path, *overrides: str) -> dict[str, Any]:
    chosen = config(*overrides)
    return execute(BNN(), chosen, Run.create(path, experiment="bnn", config=chosen))


@pytest.mark.parametrize(
    "sampler",
    [
        "{name: nuts, max_depth: 4}",
        "hmc",
        "metropolis",
        "sgld",
        "sghmc",
        "{name: ensemble, lr: 0.05}",
    ],
)
def test_every_sampler_gives_predictions(tmp_path: Path, sampler: str) -> None:
    summary = run(
        tmp_path / "run",
        f"sampler={sampler}",
        "warmup=60",
        "draws=null" if "ensemble" in sampler else "draws=30",
    )
    assert summary["sampler"] in sampler
    for name in ("nll", "rmse", "calibration_error", "coverage"):
        assert summary[name] == pytest.approx(summary[name])  # not NaN
    assert 0 <= summary["coverage"] <= 1
    assert (summary["rhat"] is None) == ("ensemble" in sampler)
    for picture in ("band.png", "calibration.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")
    metrics = list(Run.resume(tmp_path / "run").metrics())
    assert {"step", "energy", "acceptance"} <= set(metrics[0])


def test_the_band_is_wide_where_there_are_no_data(tmp_path: Path) -> None:
    """And results are in the units of the targets, whatever the scaling."""
    options = (
        "data.function=cube",
        "data.std=3",
        "data.train_interval=[-4,4]",
        "data.test_interval=[-8,8]",
        "data.perturb_test_val=true",
        "noise=3",
        "mnet.hidden=[20]",
        "sampler.num_steps=40",
        "warmup=150",
        "draws=60",
        "prior.scale=4",
    )
    summary = run(tmp_path / "run", *options)
    assert summary["noise"] == pytest.approx(3.0)
    assert 3.0 < summary["band_inside"] < 8.0
    assert summary["band_ratio"] > 3
    assert summary["coverage_inside"] > 0.7


def test_classification_has_accuracy_and_calibration(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "data=donuts", "noise=null")
    assert summary["accuracy"] > 50
    assert not (tmp_path / "run" / "band.png").exists()
    assert (tmp_path / "run" / "calibration.png").exists()


def test_an_interrupted_run_goes_on_to_the_same_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    chosen = config()
    count = 0
    own = LogPosterior.__call__

    def failing(self: LogPosterior, params: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        if count == 400:
            raise KeyboardInterrupt
        return own(self, params)

    with monkeypatch.context() as patch:
        patch.setattr(LogPosterior, "__call__", failing)
        with pytest.raises(KeyboardInterrupt):
            execute(BNN(), chosen, Run.create(tmp_path / "cut", experiment="bnn", config=chosen))
    cut = Run.resume(tmp_path / "cut")
    assert cut.checkpoints.latest() is not None
    assert execute(BNN(), chosen, cut) == whole
    logged = [list(Run.resume(tmp_path / name).metrics()) for name in ("whole", "cut")]
    assert logged[0] == logged[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=split_digits",), "bnn learns one task, split_digits has 5"),
        (("batch_size=5",), "sampler: .*sgld or sghmc"),
        (("data=donuts", "noise=1"), "a classification has none"),
        (("sampler.num_steps=0",), "num_steps"),
    ],
)
def test_mistakes_are_named_before_a_run_starts(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BNN().prepare(config(*overrides))


def test_batches_are_sampled_by_sgld(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "sampler=sgld", "batch_size=5", "draws=100")
    assert summary["gradients"] == 400
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
