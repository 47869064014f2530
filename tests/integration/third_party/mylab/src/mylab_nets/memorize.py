"""The experiment `memorize`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch.nn.functional import cross_entropy

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.plugins import DatasetChoice, HypernetChoice, MainnetChoice
from hypnet_core.runs import Run, progress


class MemorizeConfig(BaseModel):
    """Options of `memorize`.

    Attributes:
        data: What to learn.
        mnet: The network that learns it.
        hnet: The hypernetwork that writes its weights.
        steps: Number of optimiser steps, each on all training samples.
        lr: Learning rate.
        seed: Seed of all randomness.
    """

    model_config = ConfigDict(extra="forbid")

    data: DatasetChoice = DatasetChoice.default("stripes", samples=100)
    mnet: MainnetChoice = MainnetChoice.default("tinynet")
    hnet: HypernetChoice = HypernetChoice.default("linear")
    steps: PositiveInt = 100
    lr: float = Field(default=0.02, gt=0)
    seed: int = 0


class Memorize:
    """Memorizes a dataset with weights from a hypernetwork with one condition."""

    Config = MemorizeConfig

    def run(self, config: MemorizeConfig, run: Run) -> Mapping[str, Any]:
        """Train, and say how many samples are classified rightly."""
        torch.manual_seed(config.seed)
        task = config.data.build()
        net = MainNetwork(config.mnet.build(task.spec.in_shape, task.spec.classes))
        hypernet = config.hnet.build(net.target, ConditionSpec(count=1, size=4))
        optimizer = torch.optim.Adam(hypernet.parameters(), lr=config.lr)
        batch = next(task.train.batches(len(task.train)))
        run.restore()  # it is too short for checkpoints: a resumed run starts again
        with progress(config.steps) as shown:
            for step in range(1, config.steps + 1):
                loss = cross_entropy(net(batch.x, weights=hypernet(0)), batch.y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(step, loss=loss.item())
                shown.advance(step, loss=loss.item())
        with torch.no_grad():
            right = (net(batch.x, weights=hypernet(0)).argmax(1) == batch.y).float().mean().item()
        return {"accuracy": right, "loss": loss.item()}
