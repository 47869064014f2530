"""Loggers: what they record is read back with the tools that they write for."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hypnet_core.errors import RunError, UsageError
from hypnet_core.loggers import CsvLogger, JsonlLogger, TensorBoardLogger
from hypnet_core.plugins import LoggerChoice, LoggerChoices, default_loggers, describe
from hypnet_core.protocols import Logger
from hypnet_core.runs import Log, Run, build_loggers, load_config
from hypnet_core.testing.logger import _png as png


class Config(BaseModel):
    lr: float = 0.5
    hidden: tuple[int, ...] = (5, 5)
    log: LoggerChoices = default_loggers("csv")


def recorded(path: Path, **loggers: Logger) -> Run:
    """A run of two tasks of three steps, whose first task is tested twice."""
    run = Run.create(path, experiment="test", config=Config())
    with Log(run, loggers) as log:
        for step in range(1, 7):
            log(step, {"loss": 1 / step}, task=(step - 1) // 3)
        log(3, {"test": 99.0}, task=0)
        log(6, {"test": 80.0}, task=0)
        log(6, {"test": 90.0}, task=1)
        log(6, {"test_mean": 85.0})
        log.image(6, "scores", png())
        log.summary = {"accuracy": 85.0, "names": ["a"]}
    return run


def test_the_table_has_one_number_per_row(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", csv=CsvLogger())
    with (run.path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert rows[0] == {"step": "1", "task": "0", "metric": "loss", "value": "1.0"}
    assert rows[-1] == {"step": "6", "task": "", "metric": "test_mean", "value": "85.0"}


def test_events_have_times_and_the_configuration(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", jsonl=JsonlLogger())
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["begin", *["metrics"] * 10, "image", "end"]
    assert events[0]["config"]["lr"] == 0.5
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert (events[9]["task"], "task" in events[10]) == (1, False)
    assert (run.path / events[11]["file"]).read_bytes() == png()
    assert events[12]["summary"] == {"accuracy": 85.0, "names": ["a"]}


def test_tensorboard_gets_a_curve_per_task_hyperparameters_and_images(tmp_path: Path) -> None:
    """Read with TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    run = recorded(tmp_path / "run", tensorboard=TensorBoardLogger())
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    curve = [(point.step, point.value) for point in found.Scalars("test/task_1")]
    assert curve == [(3, 99.0), (6, 80.0)]
    assert [point.step for point in found.Scalars("loss/task_2")] == [4, 5, 6]
    assert found.Scalars("test_mean")[0].value == 85.0
    assert found.Scalars("summary/accuracy")[0].value == 85.0
    (image,) = found.Images("scores")
    assert (image.encoded_image_string, image.width, image.height) == (png(), 1, 1)
    content = found.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["lr"].number_value == 0.5
    assert start.hparams["hidden"].string_value == "[5, 5]"
    assert start.hparams["experiment"].string_value == "test"


@pytest.mark.parametrize(
    ("logger", "file"), [(CsvLogger, "metrics.csv"), (JsonlLogger, "events.jsonl")]
)
def test_steps_that_are_run_again_are_there_once(tmp_path: Path, logger: Any, file: str) -> None:
    """Killed at step 6, half a line written, resumed after step 3."""
    run = recorded(tmp_path / "run", x=logger())
    path = run.path / file
    with path.open("a") as torn:
        torn.write('{"event": "metr')
    with Log(run, {"x": logger()}, step=3) as log:
        log(4, {"loss": 0.25}, task=1)
    lines = path.read_text().splitlines()
    steps = [
        int(line.partition(",")[0]) if logger is CsvLogger else json.loads(line)["step"]
        for line in lines
        if not line.startswith("step,") and '"begin"' not in line and '"end"' not in line
    ]
    assert steps == [1, 2, 3, 3, 4]


def test_a_line_ends_at_its_line_break_alone(tmp_path: Path) -> None:
    """Text of a configuration may hold characters that some readers take for one."""
    run = recorded(tmp_path / "run", x=JsonlLogger())
    note = "one\u2028two\u0085three\x0bfour\u2029five"
    logger = JsonlLogger(file="odd.jsonl")
    logger.begin(run.path, experiment="test", config={"note": note}, step=0)
    logger.log(1, {"loss": 0.5})
    logger.begin(run.path, experiment="test", config={}, step=0)
    lines = (run.path / "odd.jsonl").read_text(encoding="utf-8").split("\n")
    events = [json.loads(line) for line in lines if line]
    assert [event["config"] for event in events] == [{"note": note}, {}]


class Failing:
    """A logger that fails at one of its calls."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("the server\nis down")

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        self._call("begin")

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        self._call("log")

    def image(self, step: int, name: str, png: bytes) -> None:
        self._call("image")

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        self._call("end")


@pytest.mark.parametrize("at", ["log", "image", "end"])
def test_a_logger_that_fails_costs_one_warning_and_no_run(
    tmp_path: Path, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(at)
    run = recorded(tmp_path / "run", bad=failing, csv=CsvLogger())
    text = "the logger 'bad' failed and is left out from here: ConnectionError: the server is down"
    assert (run.path / "log.txt").read_text().count(text) == 1
    assert failing.calls.count(at) == 1
    assert failing.calls[-1] == at
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 11
    assert len(list(run.metrics())) == 10


def test_a_logger_that_cannot_begin_is_an_error_and_the_others_end(tmp_path: Path) -> None:
    good = Failing("")
    with pytest.raises(RunError, match=r"^the logger 'bad' cannot begin: ConnectionError: the ser"):
        recorded(tmp_path / "run", good=good, bad=Failing("begin"))
    assert good.calls == ["begin", "end"]


def test_a_run_that_fails_ends_its_loggers(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", experiment="test", config=Config())
    with pytest.raises(ZeroDivisionError), Log(run, {"jsonl": JsonlLogger()}) as log:
        log(1, {"loss": 1 / 0})
    last = json.loads((run.path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["summary"]) == ("end", None)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ["csv"]),
        ("log=[]", []),
        ("log=jsonl", ["jsonl"]),
        ("log=[tensorboard,csv]", ["tensorboard", "csv"]),
        ("log=[{name: csv, file: a.csv}, core:jsonl]", ["csv", "core:jsonl"]),
    ],
)
def test_several_loggers_are_chosen_by_name(text: str | None, names: list[str]) -> None:
    config = load_config(Config, overrides=[] if text is None else [text])
    assert list(build_loggers(config.log)) == names
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again == config


def test_an_unknown_logger_and_an_unknown_option_are_named() -> None:
    with pytest.raises(UsageError, match=r"^log\.0\.name: there is no logger 'tensorbord'; did"):
        load_config(Config, overrides=["log=[tensorbord]"])
    with pytest.raises(UsageError, match=r"^log\.0\.fil: there is no such option; did you"):
        load_config(Config, overrides=["log=[{name: csv, fil: x}]"])
    with pytest.raises(RunError, match="the logger 'csv' is chosen twice"):
        build_loggers([LoggerChoice(name="csv"), LoggerChoice(name="csv")])


def test_the_default_is_described_without_building_it() -> None:
    (option,) = (option for option in describe(Config) if option.key == "log")
    assert (option.default, option.type) == (["csv"], "tuple[logger, ...]")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_logger_whose_extra_is_missing_names_it(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(RunError, match=rf'pip install "hypnet-core\[{name}\]"'):
        LoggerChoice(name=name).build()


def test_mlflow_records_a_curve_per_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back with MLflow's own client."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = str(tmp_path / "store")
    logger = LoggerChoice(name="mlflow", tracking_uri=store).build()
    run = recorded(tmp_path / "run", mlflow=logger)
    client = mlflow.MlflowClient(store)
    identity = json.loads((run.path / "mlflow.json").read_text())["run_id"]
    found = client.get_run(identity)
    assert found.data.params["lr"] == "0.5"
    assert found.info.status == "FINISHED"
    assert found.data.metrics["summary.accuracy"] == 85.0
    curve = client.get_metric_history(identity, "test.task_1")
    assert [(point.step, point.value) for point in curve] == [(3, 99.0), (6, 80.0)]
    assert [file.path for file in client.list_artifacts(identity)] == ["scores.png"]
    again = LoggerChoice(name="mlflow", tracking_uri=store).build()
    with Log(run, {"mlflow": again}, step=6) as log:
        log(7, {"loss": math.pi})
    assert client.get_metric_history(identity, "loss")[0].value == math.pi
    assert client.get_run(identity).info.status == "FAILED"


def test_wandb_records_offline(tmp_path: Path) -> None:
    """Read back from the file that `wandb sync` would upload."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    logger = LoggerChoice(name="wandb", mode="offline").build()
    run = recorded(tmp_path / "run", wandb=logger)
    (path,) = run.path.glob("wandb/offline-run-*/*.wandb")
    # Another process writes the file, and may be late on a busy machine.
    end = time.monotonic() + 30
    while not any("scores" in key for point in history_of(path) for key in point):
        assert time.monotonic() < end
        time.sleep(0.1)
    points = history_of(path)
    curve = [(p["step"], p["test/task_1"]) for p in points if "test/task_1" in p]
    assert curve == [(3, 99.0), (6, 80.0)]


def history_of(path: Path) -> list[dict[str, Any]]:
    """What a run of W&B has logged."""
    from wandb.proto import wandb_internal_pb2

    points = []
    for data in records_of(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = record.history.item
        points.append(
            {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
        )
    return points


def records_of(data: bytes) -> Iterator[bytes]:
    """The records of a file of W&B: 7 bytes, then the log format of LevelDB."""
    block, place, record = 32768, 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:  # padding at the end of a block
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield record
            record = b""
