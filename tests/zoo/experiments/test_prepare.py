"""Everything that can fail before the first step fails before there is a directory."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError
from hypnet_core.runs import load_config
from hypnet_zoo.continual.methods import Finetune, Hypernet
from hypnet_zoo.continual.preparation import number_of_parameters
from hypnet_zoo.experiments import HyperCL, HyperCLConfig, LoopConfig, continual
from hypnet_zoo.experiments.continual import Prepared

Command = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ["tasks=1", "train.epochs=1", "train.validate_every=0", "log=[]"]
"""One task of 251 samples."""


def prepared(monkeypatch: pytest.MonkeyPatch, size: int, *overrides: str) -> Prepared:
    """A task of `size` samples, prepared."""
    split = Split.of(torch.randn(size, 4), torch.arange(size) % 2)
    spec = TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(2,))
    monkeypatch.setattr(continual, "load_tasks", lambda *_: [Task(spec, split, split, split)])
    experiment = HyperCL()
    options = ["hnet.chunk_size=20", *overrides]
    config: LoopConfig = load_config(HyperCLConfig, overrides=options)
    experiment.prepare(config)
    return experiment._taken(config)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("device=cuda:99", "device: 'cuda:99' cannot be used here"),
        ("device=gpu", "device: there is no 'gpu'"),
        ("train.lr=inf", "train.lr: inf is not possible, expected a finite number"),
        ("cl.beta=.nan", "cl.beta: NaN is not possible, expected a number"),
        ("mnet.dropout=-1", "mnet: "),
        ("hnet.chunk_size=0", "hnet: "),
        ("generate=nothing", "generate: no parameter matches 'nothing'"),
        ("train.groups={embedings: {lr: 1}}", "fits no parameter; did you mean 'embeddings'"),
        ("infer=agreement", "infer=agreement compares several draws of the weights of a task"),
        ("infer=entropie", 'infer: "entropie" is not possible'),
        ("tasks=6", "tasks: 6 were requested, but split_digits has 5"),
    ],
)
def test_a_dry_run_and_a_run_find_the_same_mistake_and_leave_nothing(
    in_process: Command, tmp_path: Path, option: str, message: str
) -> None:
    for flags in (["--dry-run"], []):
        done = in_process("run", "hypercl", option, *flags, cwd=tmp_path)
        assert done.returncode in {1, 2}
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())


def test_no_name_is_suggested_for_a_device_that_is_only_missing(
    in_process: Command, tmp_path: Path
) -> None:
    done = in_process("run", "hypercl", "--dry-run", "device=cuda:99", cwd=tmp_path)
    assert "did you mean" not in done.stderr


def test_a_last_batch_of_one_is_left_out_under_batch_norm(
    in_process: Command, tmp_path: Path
) -> None:
    """Of 251 samples in batches of 125 one is left over."""
    options = [*QUICK, "train.batch_size=125", "mnet.batch_norm=true", "log_every=1"]
    said = "batch norm cannot train on one sample: the last one of each pass is left out"
    dry = in_process("run", "hypercl", *options, "--dry-run", cwd=tmp_path)
    assert (dry.returncode, said in dry.stderr) == (0, True)
    done = in_process("run", "hypercl", *options, "--out", "here", cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (0, True), done.stderr
    lines = (tmp_path / "here" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "loss" in line] == [1, 2]


def test_without_batch_norm_the_last_batch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["train.batch_size=4", "train.epochs=1"]
    plain = prepared(monkeypatch, 9, *options)
    assert (plain.learning.steps, plain.notes) == ([3], ())
    normed = prepared(monkeypatch, 9, *options, "mnet.batch_norm=true")
    assert normed.learning.steps == [2]
    assert "t has 9 samples, in batches of 4" in normed.notes[0]


@pytest.mark.parametrize(("size", "batch_size"), [(9, 1), (1, 4)])
def test_batch_norm_needs_more_than_one_sample(
    monkeypatch: pytest.MonkeyPatch, size: int, batch_size: int
) -> None:
    options = [f"train.batch_size={batch_size}", "mnet.batch_norm=true"]
    with pytest.raises(ConfigError, match=r"train\.batch_size: batch norm needs at least 2"):
        prepared(monkeypatch, size, *options)


def test_preparing_changes_no_running_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the trial of one sample nor that of one batch leaves a trace."""
    ready = prepared(monkeypatch, 9, "train.batch_size=4", "mnet.batch_norm=true")
    method = ready.learning.method
    assert isinstance(method, Hypernet)
    assert len(method.net.bank) == 0
    statistics = method.net.statistics()
    for name in statistics:
        wanted = 1.0 if name.endswith("var") else 0.0
        assert bool((statistics[name] == wanted).all())


def test_a_network_that_does_not_fit_the_data_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = ["mnet.name=module", "mnet.factory=torch.nn:Linear"]
    wide = "mnet.arguments={in_features: 3, out_features: 2}"
    with pytest.raises(ConfigError, match=r"^mnet: the loss of inputs \[2, 4\] cannot be computed"):
        prepared(monkeypatch, 9, *linear, wide)


def test_a_schedule_that_follows_scores_needs_validation_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = Split.of(torch.randn(9, 4), torch.arange(9) % 2)
    spec = TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(2,))
    monkeypatch.setattr(continual, "load_tasks", lambda *_: [Task(spec, split, split)])
    options = ["train.schedule.name=ReduceLROnPlateau", "train.hold_out=0", "hnet.chunk_size=20"]
    with pytest.raises(ConfigError, match="but there are no validation samples"):
        HyperCL().prepare(load_config(HyperCLConfig, overrides=options))


def test_parameters_that_parts_share_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning holds one network under two names, beside the main network."""
    ready = prepared(monkeypatch, 9).learning
    problem = ready.problem
    module = torch.nn.Linear(4, 2)
    shared = replace(problem, module=module)
    assert number_of_parameters(Finetune(shared), module) == 10
    # Generated parameters belong to nobody: those of the hypernetwork remain.
    assert isinstance(ready.method, Hypernet)
    own = sum(p.numel() for p in ready.method.hypernet.parameters())
    assert number_of_parameters(ready.method, problem.module) == own


def test_a_comparison_needs_a_method(in_process: Command, tmp_path: Path) -> None:
    done = in_process("run", "compare", "methods=[]", cwd=tmp_path)
    assert (done.returncode, "name at least one" in done.stderr) == (2, True)


def test_the_commands_of_the_guide_are_possible(in_process: Command, tmp_path: Path) -> None:
    """All but the data, which may need a download."""
    guide = Path(__file__).parents[3] / "docs" / "continual.md"
    (block,) = re.findall(r"```sh\n(.*?)```", guide.read_text(), re.DOTALL)
    groups = re.findall(r'`"(train\.groups=[^`]*)"`', guide.read_text())
    commands = [*block.splitlines(), f'hypnet run hypercl "{groups[0]}"']
    for line in commands:
        words = [word for word in shlex.split(line)[1:] if not word.startswith("data")]
        done = in_process(*words, "--print-config", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
