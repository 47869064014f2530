"""The logger `tensorboard`: event files for TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypnet_core.loggers._common import flat, imported, numbers, tag

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLogger:
    """Writes event files for TensorBoard: `tensorboard --logdir runs`.

    A metric of a task is a curve of its own (`test_accuracy/task_2`), so that
    forgetting is visible. The configuration fills the tab of hyperparameters, and the
    results of the run (`summary/accuracy`) are compared there.

    Args:
        folder: Name of the folder in the run's directory.
    """

    def __init__(self, *, folder: str = "tensorboard") -> None:
        imported("tensorboard", "tensorboard")
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def begin(
        self, directory: Path, *, experiment: str, config: Mapping[str, Any], step: int
    ) -> None:
        """Open an event file; TensorBoard hides events of steps that are run again."""
        # Loaded only where it is used, since it takes a while.
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer = SummaryWriter(str(directory / self.folder), purge_step=step or None)
        _, start, _ = hparams({"experiment": experiment, **flat(config)}, {})
        # Without a list of metrics TensorBoard compares all of them.
        self._add(start)

    def log(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Add a point to the curve of each metric."""
        for name, value in metrics.items():
            self._open.add_scalar(tag(name, task), value, step)

    def image(self, step: int, name: str, png: bytes) -> None:
        """Add the image as it is, without decoding it."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", png[16:24])  # the header of every PNG file
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._add(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def end(self, step: int, summary: Mapping[str, Any] | None) -> None:
        """Add the results as numbers, and close the file."""
        from torch.utils.tensorboard.summary import hparams

        for name, value in numbers(summary or {}).items():
            self._open.add_scalar(f"summary/{name}", value, step)
        if summary is not None:
            self._add(hparams({}, {})[2])
        self._open.close()

    def _add(self, summary: Any, step: int | None = None) -> None:
        # `add_hparams` would start another run, and `add_image` wants pixels.
        self._open._get_file_writer().add_summary(summary, step)  # noqa: SLF001

    @property
    def _open(self) -> SummaryWriter:
        if self._writer is None:
            raise RuntimeError("begin() comes first")
        return self._writer
