from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel

from hypnet_core.errors import CheckpointError, RunError
from hypnet_core.protocols import Experiment
from hypnet_core.runs import CheckpointOptions, Run, execute
from hypnet_core.runs.run import _versions as versions


class CountingConfig(BaseModel):
    steps: int = 4
    fail_at: int | None = None


class Counting:
    """Counts, and saves after every second step."""

    Config: ClassVar[type[BaseModel]] = CountingConfig

    def run(self, config: CountingConfig, run: Run) -> Mapping[str, Any]:
        checkpoint = run.restore()
        total = torch.zeros(1) if checkpoint is None else checkpoint.tensors["total"]
        start = 0 if checkpoint is None else checkpoint.state["step"]
        for step in range(start + 1, config.steps + 1):
            total += step
            run.log(step, total=total.item())
            if step == config.fail_at:
                raise RuntimeError("stopped here")
            if step % 2 == 0:
                run.save(step, {"total": total}, {"step": step})
        return {"total": total.item()}


def create(path: Path, **config: Any) -> Run:
    return Run.create(
        path, experiment="counting", config=CountingConfig(**config), plugins={"test": "1.0"}
    )


def test_a_run_owns_its_directory(tmp_path: Path) -> None:
    assert isinstance(Counting(), Experiment)
    run = create(tmp_path / "new" / "run")
    assert execute(Counting(), CountingConfig(), run) == {"total": 10.0}
    header = json.loads((run.path / "config.json").read_text())
    assert header["experiment"] == "counting"
    assert header["config"] == {"steps": 4, "fail_at": None}
    assert header["plugins"] == {"test": "1.0"}
    assert {"python", "hypnet-core", "torch"} <= header["versions"].keys()
    assert run.summary() == {"total": 10.0}
    assert run.finished
    assert [line["total"] for line in run.metrics()] == [1, 3, 6, 10]
    assert "finished" in (run.path / "log.txt").read_text()
    assert [p.name for p in sorted((run.path / "checkpoints").iterdir())] == [
        "0004.safetensors",
        "latest.json",
    ]


@pytest.mark.parametrize("fail_at", [1, 2, 3, 4])
def test_a_resumed_run_ends_like_one_that_never_stopped(tmp_path: Path, fail_at: int) -> None:
    whole, broken = create(tmp_path / "whole"), create(tmp_path / "broken", fail_at=fail_at)
    execute(Counting(), CountingConfig(), whole)
    with pytest.raises(RuntimeError, match="stopped here"):
        execute(Counting(), CountingConfig(fail_at=fail_at), broken)
    assert not broken.finished
    assert "stopped: RuntimeError: stopped here" in (broken.path / "log.txt").read_text()
    execute(Counting(), CountingConfig(), Run.resume(broken.path, config=CountingConfig()))
    for name in ("summary.json", "metrics.jsonl"):
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_torn_line_in_the_metrics_is_cut_off(tmp_path: Path) -> None:
    run = create(tmp_path / "run", fail_at=3)
    with pytest.raises(RuntimeError):
        execute(Counting(), CountingConfig(fail_at=3), run)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "tot')
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    execute(Counting(), CountingConfig(), Run.resume(run.path, config=CountingConfig()))
    assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]


def test_a_damaged_line_inside_the_metrics_is_named(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl:2 is damaged"):
        list(run.metrics())


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    execute(Counting(), CountingConfig(), run)
    before = (run.path / "metrics.jsonl").read_bytes()
    assert execute(Counting(), CountingConfig(), Run.resume(run.path)) == {"total": 10.0}
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    create(tmp_path / "run")
    with pytest.raises(RunError, match="holds another run"):
        create(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(RunError, match="is not empty"):
        create(tmp_path / "thesis")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the directory"):
        create(tmp_path / "file")


def test_of_many_that_create_a_run_in_one_directory_one_succeeds(tmp_path: Path) -> None:
    """Configuration and results belong to the same run, however often it is tried."""

    refusals: list[str] = []

    def attempt(path: Path, seed: int) -> int | None:
        try:
            run = create(path, steps=seed)
        except RunError as error:
            refusals.append(str(error))
            return None
        execute(Counting(), CountingConfig(steps=seed), run)
        return seed

    with ThreadPoolExecutor(8) as together:
        for i in range(10):
            path = tmp_path / str(i)
            outcomes = list(together.map(attempt, [path] * 8, range(1, 9)))
            (seed,) = [outcome for outcome in outcomes if outcome is not None]
            assert json.loads((path / "config.json").read_text())["config"]["steps"] == seed
            assert Run.resume(path).summary() == {"total": seed * (seed + 1) / 2}
    assert len(refusals) == 10 * 7
    assert all("holds another run" in refusal for refusal in refusals)


def test_a_lock_that_a_killed_process_left_does_not_fill_a_directory(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert execute(Counting(), CountingConfig(), create(tmp_path)) == {"total": 10.0}


def stopped(path: Path) -> Run:
    """A run that stopped after its first checkpoint."""
    run = create(path, fail_at=3)
    with pytest.raises(RuntimeError, match="stopped here"):
        execute(Counting(), CountingConfig(fail_at=3), run)
    return run


@pytest.mark.parametrize("config", [None, [1], "seed", 7])
def test_a_configuration_that_is_not_a_mapping_is_refused(tmp_path: Path, config: object) -> None:
    run = stopped(tmp_path / "run")
    header = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(header | {"config": config}))
    with pytest.raises(RunError, match="its `config` is not a mapping of options"):
        Run.resume(run.path)


@pytest.mark.parametrize("name", ["started_in", "from_checkpoint"])
def test_a_header_with_something_else_than_a_path_is_refused(tmp_path: Path, name: str) -> None:
    run = create(tmp_path / "run")
    header = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(header | {name: 5}))
    with pytest.raises(RunError, match=f"its `{name}` is not text"):
        Run.resume(run.path)


def test_a_checkpoint_of_another_loop_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.checkpoints.save(1, {})
    with pytest.raises(CheckpointError, match="was not written by a run"):
        run.restore()


def test_an_experiment_that_ignores_its_checkpoint_is_told(tmp_path: Path) -> None:
    first = create(tmp_path / "first")
    first.save(1, {}, {})
    config = CountingConfig()
    path = first.checkpoints.path_of(1)
    run = Run.create(tmp_path / "run", experiment="x", config=config, from_checkpoint=path)
    execute(Ignoring(), config, run)
    assert f"the experiment did not load {path}" in (run.path / "log.txt").read_text()


class Ignoring:
    """An experiment that knows no checkpoints."""

    Config: ClassVar[type[CountingConfig]] = CountingConfig

    def run(self, config: CountingConfig, run: Run) -> Mapping[str, Any]:
        return {"x": 1}


def test_a_configuration_that_was_edited_does_not_fit_its_checkpoint(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run")
    header = json.loads((run.path / "config.json").read_text())
    header["config"]["steps"] = 6
    (run.path / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="steps was 4, is now 6; resume with --allow-changes"):
        execute(Counting(), CountingConfig(steps=6), Run.resume(run.path))
    assert not run.finished


def test_a_deliberate_change_is_allowed_and_recorded(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run")
    config = CountingConfig(steps=6)
    resumed = Run.resume(run.path, config=config)
    assert execute(Counting(), config, resumed) == {"total": 21.0}
    assert json.loads((run.path / "config.json").read_text())["config"]["steps"] == 6
    assert (
        "resuming with another configuration: steps was 4, is now 6; fail_at was 3, is now null"
        in (run.path / "log.txt").read_text()
    )


def test_the_configuration_of_a_finished_run_stays(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    execute(Counting(), CountingConfig(), run)
    before = (run.path / "config.json").read_bytes()
    with pytest.raises(RunError, match="holds a finished run: its results belong to"):
        Run.resume(run.path, config=CountingConfig(steps=9))
    assert (run.path / "config.json").read_bytes() == before


def test_other_versions_are_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(tmp_path / "run")
    found = {**versions(), "torch": "99.0"}
    monkeypatch.setattr("hypnet_core.runs.run._versions", lambda: found)
    execute(Counting(), CountingConfig(fail_at=None), Run.resume(run.path, config=CountingConfig()))
    log = (run.path / "log.txt").read_text()
    assert log.count("WARNING resuming with other versions: torch was") == 1
    assert 'is now "99.0"' in log


def test_a_log_that_cannot_be_written_is_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = create(tmp_path / "run")
    (run.path / "log.txt").mkdir()
    for _ in range(3):
        run.logger.info("something")
    assert execute(Counting(), CountingConfig(), run) == {"total": 10.0}
    messages = [record.getMessage() for record in caplog.records]
    assert sum("cannot write" in message for message in messages) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_deep_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="is damaged"):
        Run.resume(tmp_path)


def test_only_a_run_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        Run.resume(tmp_path)
    (tmp_path / "config.json").write_text('{"experiment"')
    with pytest.raises(RunError, match="is damaged"):
        Run.resume(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(RunError, match="names no experiment"):
        Run.resume(tmp_path)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    run = create(tmp_path / "run", fail_at=3)
    with pytest.raises(RuntimeError):
        execute(Counting(), CountingConfig(fail_at=3), run)
    path = run.path / "checkpoints" / "0002.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="is damaged"):
        Run.resume(run.path).restore()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="was changed"):
        Run.resume(run.path).restore()
    path.write_bytes(content)
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="is shorter than it was"):
        Run.resume(run.path).restore()


def test_results_that_json_cannot_say_do_not_finish_a_run(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    with pytest.raises(RunError, match="cannot write"):
        run.finish({"loss": float("inf")})
    assert not run.finished


def test_older_checkpoints_stay_on_demand(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    run.configure_checkpoints(CheckpointOptions(keep="all"))
    for i in range(3):
        run.save(i, {}, {})
    assert len(list((run.path / "checkpoints").glob("*.safetensors"))) == 3


def test_two_processes_cannot_carry_out_one_run(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    with run.locked(), pytest.raises(RunError, match="is in use: another process"):
        execute(Counting(), CountingConfig(), Run.resume(run.path))
    assert execute(Counting(), CountingConfig(), Run.resume(run.path)) == {"total": 10.0}


def test_a_damaged_pointer_to_the_latest_checkpoint_is_named(tmp_path: Path) -> None:
    run = create(tmp_path / "run", fail_at=3)
    with pytest.raises(RuntimeError):
        execute(Counting(), CountingConfig(fail_at=3), run)
    (run.path / "checkpoints" / "latest.json").write_text("[]")
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        Run.resume(run.path).restore()
