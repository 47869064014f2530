"""A third-party plugin with small components of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

LAB = """
from hypnet_core import Component, hookimpl

@hookimpl
def hypnet_components():
    return [
        Component.dataset("pairs", "stranger_lab_parts:pairs", "Two tasks."),
        Component.mainnet("tiny", "stranger_lab_parts:Tiny", "A small network."),
        Component.hypernet("linear", "stranger_lab_parts:Linear", "A linear hypernetwork."),
        Component.experiment("count", "stranger_lab_count:Count", "Counts."),
        Component.experiment("bare", "stranger_lab_count:Bare", "Has no options."),
    ]
"""

PARTS = '''
"""Parts that need torch."""
from __future__ import annotations
import torch
from torch import nn
from hypnet_core import HyperNetwork, Split, Task, TaskSpec

class Tiny(nn.Module):
    """A small network.

    Args:
        in_shape: Shape of an input.
        out_features: Number of outputs.
        width: Number of hidden units.
    """

    def __init__(self, in_shape, out_features, *, width: int = 4) -> None:
        super().__init__()
        if width < 1:
            raise ValueError("a network of nothing")
        self.inner = nn.Linear(in_shape[0], width)
        self.outer = nn.Linear(width, out_features)

    def forward(self, x):
        return self.outer(self.inner(x).tanh())

class Linear(HyperNetwork):
    """A linear hypernetwork."""

    def __init__(self, target, conditions, *, bias: bool = True) -> None:
        super().__init__(target, conditions)
        self.head = nn.Linear(conditions.size, target.numel, bias=bias)

    def generate(self, inputs):
        return self.head(inputs)

def pairs(*, tasks: int = 2):
    """Tasks of three inputs and two classes.

    Args:
        tasks: How many.
    """
    split = Split.of(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    shapes = {"in_shape": (3,), "out_shape": (2,)}
    specs = [TaskSpec(name=f"t{i}", kind="classification", **shapes) for i in range(tasks)]
    return [Task(spec, split, split) for spec in specs]
'''

COUNT = '''
"""Experiments that need no torch."""
import logging
import time
from pathlib import Path
from pydantic import BaseModel, Field
from hypnet_core.errors import DivergedError

class Train(BaseModel):
    """How to count.

    Attributes:
        steps: How far.
        rate: How fast.
    """
    steps: int = 3
    rate: float = 0.5

class Config(BaseModel):
    """Options of count.

    Attributes:
        train: How to count.
        seed: Where to start.
        fail: How to fail.
        note: Some text.
    """
    train: Train = Field(default_factory=Train)
    seed: int = 0
    fail: str = ""
    note: str = ""

class Count:
    """Counts up to a number."""
    Config = Config

    def run(self, config, run):
        logging.getLogger("hypnet.count").debug("starting to count")
        logging.getLogger(__name__).info("a stranger's chatter")
        logging.getLogger(__name__).warning("a stranger's warning")
        run.logger.info("counting")
        for step in range(config.train.steps):
            run.log(step, value=config.seed + step)
        if config.fail == "diverge":
            raise DivergedError("the loss became NaN at step 3")
        if config.fail == "bug":
            raise ZeroDivisionError("oh")
        if config.fail == "hang":
            (run.path / "hanging").touch()
            time.sleep(60)
        return {"total": config.seed + config.train.steps}

    def report(self, summary):
        return f"counted to {summary['total']}"

class Bare:
    """Does nothing."""
    class Config(BaseModel):
        pass

    def run(self, config, run):
        return {}
'''


@pytest.fixture
def lab(install: Callable[..., Path], site: Path) -> Path:
    """Installs the plugin; the value is the directory that it is in."""
    install("lab", LAB)
    (site / "stranger_lab_parts.py").write_text(PARTS, encoding="utf-8")
    (site / "stranger_lab_count.py").write_text(COUNT, encoding="utf-8")
    return site
