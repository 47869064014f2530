"""The directory of one attempt at a trial: `trials/ID/NUMBER/` in the search's directory.

What is there decides everything. `attempt.json` says what is to be done; whoever does
it holds a lock on that file; `result.json` is written once, whole, and is never
changed. It comes from the attempt's own process, or from a driver that found it dead.
`pruned.json` is there if a pruner gave the attempt up before that.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError
from hypnet_hpsearch.trial.wrapper import (
    ATTEMPT,
    ERRORS,
    OUTPUT,
    RESULT,
    RUN,
    command,
    last_line,
    take_lock,
    write_once,
)

__all__ = ["Attempt"]

PRUNED = "pruned.json"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial.

    Attributes:
        trials: The directory of all trials.
        trial: The trial's id.
        number: 1 for the first attempt at this trial.
    """

    trials: Path
    trial: str
    number: int

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.trials / self.trial / str(self.number)

    @property
    def run(self) -> Path:
        """The directory that the trial may write to."""
        return self.path / RUN

    @property
    def output(self) -> Path:
        """Where the trial's output goes."""
        return self.path / OUTPUT

    @property
    def errors(self) -> Path:
        """Where the trial's error output goes."""
        return self.path / ERRORS

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of the job that makes the attempt."""
        return command(self.path)

    def create(self, content: Mapping[str, Any]) -> bool:
        """Make the directory and write down what is to be done.

        Returns:
            Whether this call made it; `False` if somebody had made it before.

        Raises:
            RunError: It cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
            self.path.joinpath(ATTEMPT).write_text(json.dumps(content), encoding="utf-8")
        except FileExistsError:
            return False
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from None
        return True

    def content(self) -> dict[str, Any]:
        """What was to be done; empty if that was never written down."""
        return _read(self.path / ATTEMPT) or {}

    def result(self) -> dict[str, Any] | None:
        """What came of it, or `None` if there is no result yet.

        An attempt that was ended because it was pruned is `pruned`.
        """
        found = _read(self.path / RESULT)
        return (
            found if found is None or found.get("state") == "done" else {**found, **self._pruned()}
        )

    def prune(self, step: int, value: float) -> None:
        """Write down that a pruner has given the attempt up; who calls this then ends its job.

        Args:
            step: Its last report's step.
            value: Its last report's value, which becomes its metric.

        Raises:
            RunError: That cannot be written.
        """
        text = json.dumps({"step": step, "value": value if math.isfinite(value) else str(value)})
        try:
            write_once(self.path / PRUNED, text)
        except OSError as error:
            raise RunError(f"cannot write {self.path / PRUNED}: {error.strerror}") from None

    def _pruned(self) -> dict[str, Any]:
        marker = _read(self.path / PRUNED)
        if marker is None:
            return {}
        return {
            "state": "pruned",
            "metric": marker.get("value"),
            "reason": f"pruned at step {marker.get('step')}",
        }

    def is_alive(self) -> bool:
        """Whether its process, or what that started, lives."""
        try:
            lock = take_lock(self.path)
        except OSError:
            return False
        if lock is not None:
            os.close(lock)
        return lock is None

    def conclude(self, otherwise: str) -> dict[str, Any] | None:
        """The result; if the attempt is dead without one, it is given up: from now on `lost` is its result.

        Args:
            otherwise: Why it is given up, for people.

        Returns:
            The result, or `None` if the attempt lives.

        Raises:
            RunError: The attempt was to be given up, but that cannot be written.
        """
        found = self.result()
        if found is not None:
            return found
        try:
            lock = take_lock(self.path)
        except FileNotFoundError:  # its driver died before it could write down what is to be done
            return self._give_up(otherwise)
        except OSError as error:
            raise RunError(f"cannot lock {self.path / ATTEMPT}: {error.strerror}") from None
        if lock is None:
            return None
        try:
            return self.result() or self._give_up(otherwise)
        finally:
            os.close(lock)

    def _give_up(self, why: str) -> dict[str, Any]:
        said = last_line(self.errors)
        reason = f"{why}: {said}" if said else why
        result = {
            "trial": self.trial,
            "attempt": self.number,
            "state": "lost",
            "metric": None,
            "reason": reason,
            "ended": time.time(),
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            mine = write_once(self.path / RESULT, json.dumps(result))
        except OSError as error:
            raise RunError(f"cannot write {self.path / RESULT}: {error.strerror}") from None
        return (
            {**result, **self._pruned()}
            if mine
            else self.result() or {**result, "reason": "its result.json is damaged"}
        )


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file; `None` if there is no such file, or nothing of the kind in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    return found if isinstance(found, dict) else None
