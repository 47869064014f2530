"""With `debug=true`, infinity and NaN are found where they arise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.errors import DivergedError
from hypnet_zoo.experiments._hypercl.debug import FiniteChecks
from hypnet_zoo.experiments._hypercl.training import Losses
from hypnet_zoo.hypernets import HMLP

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pair() -> tuple[MainNetwork, HMLP]:
    net = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    return net, HMLP(net.target, ConditionSpec(count=2, size=3), hidden=())


def poison(hypernet: HMLP, index: int) -> None:
    """Make one generated number infinite."""
    parameter = next(p for p in hypernet.parameters() if p.shape == (hypernet.target.numel,))
    with torch.no_grad():
        parameter[index] = torch.inf


def test_the_generated_tensor_and_the_step_are_named(pair: tuple[MainNetwork, HMLP]) -> None:
    net, hypernet = pair
    checks = FiniteChecks(net, hypernet)
    checks.where = "task 2, step 7"
    with checks.watching():
        hypernet([0, 1])
        poison(hypernet, hypernet.target.offsets[2])
        with pytest.raises(DivergedError, match=r"weight 1\.weight became .* in task 2, step 7$"):
            hypernet([0, 1])
    hypernet([0, 1])  # nobody watches any more


def test_a_gradient_is_named_before_it_is_in_the_parameters(pair: tuple[MainNetwork, HMLP]) -> None:
    net, hypernet = pair
    checks = FiniteChecks(net, hypernet)
    fine = Losses(torch.tensor(1.0), torch.tensor(0.0))
    checks.after_step(fine)
    (net(torch.ones(2, 3), weights=hypernet(0)).sum() * torch.inf).backward()
    with pytest.raises(DivergedError, match=r"^the gradient of .* became infinite or NaN in"):
        checks.after_step(fine)
    with pytest.raises(DivergedError, match="the penalty became nan"):
        checks.after_step(fine._replace(penalty=torch.tensor(torch.nan)))


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
