"""The components of hypnet-core itself: loggers."""

from __future__ import annotations

from hypnet_core.plugins.component import Component
from hypnet_core.plugins.hooks import hookimpl

LOGGERS = [
    Component.logger(
        "jsonl",
        "hypnet_core.loggers:JsonlLogger",
        "Events with times, one JSON object per line.",
        files=["events.jsonl"],
    ),
    Component.logger(
        "csv",
        "hypnet_core.loggers:CsvLogger",
        "Metrics as a table, one number per row.",
        files=["metrics.csv"],
    ),
    Component.logger(
        "tensorboard",
        "hypnet_core.loggers:TensorBoardLogger",
        "Event files for TensorBoard, one curve per task.",
        files=["tensorboard/*"],
    ),
    Component.logger(
        "mlflow",
        "hypnet_core.loggers:MlflowLogger",
        "Runs of MLflow, on a server or in files.",
        needs="mlflow",
        options={"tracking_uri": "DIRECTORY/store"},
    ),
    Component.logger(
        "wandb",
        "hypnet_core.loggers:WandbLogger",
        "Runs at Weights & Biases, or offline.",
        needs="wandb",
        options={"mode": "offline"},
    ),
]


@hookimpl
def hypnet_components() -> list[Component]:
    """The components of hypnet-core."""
    return list(LOGGERS)
