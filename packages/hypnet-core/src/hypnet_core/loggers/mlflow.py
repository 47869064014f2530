"""The logger `mlflow`: runs on an MLflow server, or in its files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnet_core.loggers._common import flat, imported, numbers, tag
from hypnet_core.runs.files import read_json, write_json

_FILE = "mlflow.json"


class MlflowLogger:
    """Records a run with MLflow.

    A resumed run continues the same run of MLflow; steps that are run again have two
    values there.

    Args:
        tracking_uri: Address of the server, or a folder; by default MLflow's own
            (`MLFLOW_TRACKING_URI`).
        experiment_name: MLflow's experiment; by default the name of ours.
    """

    def __init__(
        self, *, tracking_uri: str | None = None, experiment_name: str | None = None
    ) -> None:
        imported("mlflow", "mlflow")
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self._client: Any = None
        self._run = ""

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Start a run, or continue the one of this directory."""
        del step
        # A client of its own, because `mlflow.start_run` is global.
        self._client = imported("mlflow", "mlflow").MlflowClient(self.tracking_uri)
        file = directory / _FILE
        if file.exists():
            self._run = read_json(file)["run_id"]
            self._client.update_run(self._run, status="RUNNING")
            return
        name = self.experiment_name or experiment
        found = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if found is None else found.experiment_id
        self._run = self._client.create_run(number, run_name=directory.name).info.run_id
        for key, value in flat(config).items():
            self._client.log_param(self._run, key, value)
        write_json(file, {"run_id": self._run, "tracking_uri": self.tracking_uri})

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Record metrics, those of a task as `name.task_2`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # Not `name/task_2`: in the file store `name` would be a file and a folder.
        points = [Metric(tag(name, task, "."), value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=points)

    def image(self, step: int, name: str, png: bytes) -> None:
        """Record the image as an artifact."""
        del step
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png)
            self._client.log_artifact(self._run, str(path))

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Record the results, and whether the run finished."""
        if summary is not None:
            results = {f"summary.{name}": value for name, value in numbers(summary).items()}
            self.log(step, results)
        self._client.set_terminated(self._run, "FAILED" if summary is None else "FINISHED")
