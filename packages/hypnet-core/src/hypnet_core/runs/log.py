"""The metrics of a run, sent to several loggers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from hypnet_core.errors import HypnetError, RunError, error_line
from hypnet_core.plugins.choice import LoggerChoice
from hypnet_core.protocols import Logger
from hypnet_core.runs.run import Run


def build_loggers(choices: Sequence[LoggerChoice]) -> dict[str, Logger]:
    """Build loggers, by name; nothing is written yet.

    Raises:
        ConfigError: An option is impossible.
        RunError: What a logger needs is not installed, or one is chosen twice.
    """
    found: dict[str, Logger] = {}
    for choice in choices:
        if choice.name in found:
            raise RunError(f"log: the logger {choice.name!r} is chosen twice")
        found[choice.name] = choice.build()
    return found


class Log:
    """Writes metrics to a run's `metrics.jsonl` and to loggers.

    A logger that fails in the middle of a run is named in one warning and left out from
    there: a server that is down costs no training.

    Args:
        run: The run.
        loggers: The loggers, by name.
        step: Steps that were done before, in a run that resumes.

    Example:
        ```python
        with Log(run, build_loggers(config.log), step=start) as log:
            log(step, {"loss": 0.5}, task=0)
            log.image(step, "scores", png)
            log.summary = summary  # without one, the run counts as stopped early
        ```
    """

    def __init__(self, run: Run, loggers: Mapping[str, Logger], *, step: int = 0) -> None:
        self.run = run
        self.step = step
        self.summary: Mapping[str, Any] | None = None
        self._loggers = dict(loggers)
        self._begun: list[str] = []

    def __call__(self, step: int, metrics: Mapping[str, float], *, task: int | None = None) -> None:
        """Log metrics of one step.

        Args:
            step: Training steps so far.
            metrics: The metrics by name.
            task: The task, from 0, that they belong to.

        Raises:
            RunError: `metrics.jsonl` cannot be written.
        """
        self.step = step
        of_task = {} if task is None else {"task": task}
        self.run.log(step, **of_task, **metrics)
        self._each(lambda logger: logger.log(step, metrics, task=task))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Show an image (PNG) to the loggers that have a place for one."""
        self._each(lambda logger: logger.image(step, name, png))

    def __enter__(self) -> Self:
        for name, logger in self._loggers.items():
            try:
                logger.begin(
                    self.run.path,
                    experiment=self.run.experiment,
                    config=self.run.config,
                    step=self.step,
                )
            except HypnetError:
                self._end()
                raise
            except Exception as error:
                self._end()
                raise RunError(f"the logger {name!r} cannot begin: {error_line(error)}") from error
            self._begun.append(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._each(lambda logger: logger.end(self.step, self.summary))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for name in list(self._begun):
            try:
                call(self._loggers[name])
            # A logger may be a stranger's, and talks to servers.
            except Exception as error:  # noqa: BLE001
                self._begun.remove(name)
                self.run.logger.warning(
                    "the logger %r failed and is left out from here: %s", name, error_line(error)
                )
