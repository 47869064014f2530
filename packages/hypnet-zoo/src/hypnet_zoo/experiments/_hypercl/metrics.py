"""Metrics of a run: `metrics.jsonl`, and optionally TensorBoard."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hypnet_core.runs import Run


class Metrics:
    """Writes metrics to a run's `metrics.jsonl` and to TensorBoard event files.

    The event files are in the run's directory `tensorboard/`.

    Args:
        run: The run.
        tensorboard: Whether to write event files.
        step: First step. TensorBoard hides events of later steps that an interrupted
            run has written.
    """

    def __init__(self, run: Run, *, tensorboard: bool, step: int = 0) -> None:
        self.run = run
        self._writer = None
        # Loaded only if wanted, since it takes a while.
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=step or None)

    def log(self, step: int, **values: float) -> None:
        """Log metrics of one step."""
        self.run.log(step, **values)
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
