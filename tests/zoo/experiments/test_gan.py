"""The experiment `gan`: distances, modes, resumption, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.runs import Run, load_config
from hypnet_zoo.experiments import Gan, GanConfig
from hypnet_zoo.experiments.gan import energy_distance

RING = [[2 * math.cos(a), 2 * math.sin(a)] for a in (0.0, 1.57, 3.14, 4.71)]


def config(**options: Any) -> GanConfig:
    data = {"name": "gaussian_mixture", "means": RING, "covariances": [[[0.04, 0], [0, 0.04]]]}
    return GanConfig.model_validate({"data": data, "log": [], "hidden": (64,), **options})


def run(path: Path, chosen: GanConfig) -> dict[str, Any]:
    made = Run.create(path, experiment="gan", config=chosen)
    return dict(Gan().run(chosen, made))


def test_the_distance_is_the_mean_over_pairs() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 3), torch.randn(5, 3) + 1.0

    def mean(a: torch.Tensor, b: torch.Tensor) -> float:
        return sum(float((p - q).norm()) for p in a for q in b) / (len(a) * len(b))

    wanted = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_distance(x, y) == pytest.approx(wanted, rel=1e-5)
    assert energy_distance(x, x) == pytest.approx(0.0, abs=1e-12)


def test_four_modes_are_found(tmp_path: Path) -> None:
    """A generator that stays at one mode has a distance above 1."""
    summary = run(tmp_path / "run", config(iterations=600, device="cpu"))
    assert summary["modes"] == summary["components"] == 4
    assert summary["energy_distance"] < 0.4
    one = torch.tensor(RING[:1]) + 0.2 * torch.randn(500, 2)
    all_of_them = torch.tensor(RING).repeat(125, 1) + 0.2 * torch.randn(500, 2)
    assert energy_distance(one, all_of_them) > 1.0
    assert (tmp_path / "run" / "samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("loss", ["vanilla", "least_squares", "pearson", "wasserstein"])
def test_an_interrupted_game_ends_the_same(tmp_path: Path, loss: str) -> None:
    options = {"loss": loss, "checkpoint": {"every_steps": 5}, "log_every": 4, "device": "cpu"}
    whole = run(tmp_path / "whole", config(iterations=12, **options))
    # The same game, stopped after step 7: the checkpoint is that of step 5.
    chosen = config(iterations=12, **options)
    made = Run.create(tmp_path / "cut", experiment="gan", config=chosen)

    def stop(step: int, **metrics: float) -> None:
        if step >= 8:
            raise KeyboardInterrupt
        Run.log(made, step, **metrics)

    made.log = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Gan().run(chosen, made)
    resumed = dict(Gan().run(chosen, Run.resume(tmp_path / "cut")))
    assert resumed == whole
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert metrics[0] == metrics[1]


def test_images_and_several_tasks_are_refused() -> None:
    for data in ("digits", "split_digits"):
        with pytest.raises(ConfigError, match="one task of vectors"):
            Gan().prepare(load_config(GanConfig, overrides=[f"data={data}"]))
