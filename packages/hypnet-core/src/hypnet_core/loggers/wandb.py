"""The logger `wandb`: runs at Weights & Biases, or offline."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hypnet_core.loggers._common import imported, numbers, tag
from hypnet_core.runs.files import read_json, write_json

_FILE = "wandb.json"


class WandbLogger:
    """Records a run with Weights & Biases.

    A resumed run continues the same run there; steps that are run again have two
    values.

    Args:
        project: The project.
        entity: The user or team; by default that of the account.
        mode: `"offline"` writes files that `wandb sync` uploads later.
    """

    def __init__(
        self,
        *,
        project: str = "hypnet",
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] = "online",
    ) -> None:
        imported("wandb", "wandb")
        self.project = project
        self.entity = entity
        self.mode = mode
        self._run: Any = None

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Start a run, or continue the one of this directory."""
        del step
        wandb = imported("wandb", "wandb")
        file = directory / _FILE
        identity = read_json(file)["id"] if file.exists() else secrets.token_hex(4)
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=directory.name,
            job_type=experiment,
            dir=str(directory),
            config=dict(config),
            mode=self.mode,
            id=identity,
            resume="allow" if self.mode == "online" else None,
            settings=wandb.Settings(silent=True, console="off"),
        )
        # Its own counter of steps never goes back, which resuming needs.
        self._run.define_metric("*", step_metric="step")
        write_json(file, {"id": identity})

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Record metrics, those of a task as `name/task_2`."""
        self._run.log({"step": step, **{tag(name, task): v for name, v in metrics.items()}})

    def image(self, step: int, name: str, png: bytes) -> None:
        """Record the image."""
        image = imported("wandb", "wandb").Image
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png)
            self._run.log({"step": step, name: image(str(path))})

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Record the results, and whether the run finished."""
        del step
        for name, value in numbers(summary or {}).items():
            self._run.summary[f"summary/{name}"] = value
        self._run.finish(exit_code=1 if summary is None else 0)
