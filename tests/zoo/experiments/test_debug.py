"""With `debug=true`, infinity and NaN are found where they arise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.zoo.continual.problems import clouds, problem
from torch import nn

from hypnet_core import HyperNetwork
from hypnet_core.errors import DivergedError
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.continual import Learning, Optimizations, Train
from hypnet_zoo.continual.callbacks import FiniteChecks
from hypnet_zoo.continual.methods import Hypernet
from hypnet_zoo.continual.scoring import Scorer

Command = Callable[..., subprocess.CompletedProcess[str]]


def watched() -> tuple[FiniteChecks, Hypernet, Learning]:
    """The checks over a method that is in the middle of its second task."""
    tasks = clouds(2)
    made = problem(tasks, "single", module=nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    method = Hypernet(made, hnet=HypernetChoice(name="hmlp", hidden=()))
    learning = Learning(
        made,
        method,
        Train(),
        scorer=Scorer(made, method, infer="given"),
        optimizations=Optimizations(Train()),
    )
    learning.task, learning.task_step = 1, 6
    return FiniteChecks(learning), method, learning


def poison(hypernet: HyperNetwork, index: int) -> None:
    """Make one generated number infinite."""
    parameter = next(p for p in hypernet.parameters() if p.shape == (hypernet.target.numel,))
    with torch.no_grad():
        parameter[index] = torch.inf


def test_the_generated_tensor_and_the_step_are_named() -> None:
    checks, method, learning = watched()
    checks.begin_step(learning)
    method.hypernet([0, 1])
    poison(method.hypernet, method.hypernet.target.offsets[2])
    with pytest.raises(DivergedError, match=r"weight 1\.weight became .* in task 2, step 7$"):
        method.hypernet([0, 1])
    with pytest.raises(DivergedError, match=r"^network\.hypernet\..* became infinite"):
        checks.end_step(learning)
    method.hypernet([0, 1])  # nobody watches any more


def test_a_gradient_is_named_before_it_is_in_the_parameters() -> None:
    checks, method, learning = watched()
    checks.end_step(learning)
    outputs = method.net(torch.ones(2, 4), weights=method.hypernet(0))
    (outputs.sum() * torch.inf).backward()
    with pytest.raises(DivergedError, match=r"^the gradient of .* became infinite or NaN in"):
        checks.end_step(learning)
    learning.losses = {"loss": torch.tensor(1.0), "penalty": torch.tensor(torch.nan)}
    with pytest.raises(DivergedError, match=r"the penalty became nan in task 2, step 6: try"):
        checks.end_step(learning)


QUICK = ["tasks=2", "train.iterations=20", "train.validate_every=0", "log=[]"]


def test_a_run_names_the_step_that_logging_would_have_passed_by(
    in_process: Command, tmp_path: Path
) -> None:
    options = [*QUICK, "train.optimizer=sgd", "train.lr=1e30", "log_every=20"]
    late = in_process("run", "hypercl", *options, "--out", "a", cwd=tmp_path)
    assert "task 1, step 20" in late.stderr
    done = in_process("run", "hypercl", *options, "debug=true", "--out", "b", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [text for text in done.stderr.splitlines() if "became" in text]
    assert "task 1, step 1" in line or "task 1, step 2" in line


@pytest.mark.parametrize("method", ["cl.lookahead=true", "cl.recompute_targets=true"])
def test_checks_and_determinism_change_no_result(
    in_process: Command, tmp_path: Path, method: str
) -> None:
    for name, options in (("a", []), ("b", ["debug=true", "deterministic=true"])):
        done = in_process("run", "hypercl", *QUICK, method, *options, "--out", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / n / "summary.json").read_text()) for n in "ab")
    assert one == other
