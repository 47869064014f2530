"""The directory of one attempt at a trial, `trials/ID/NUMBER/`.

Its files are the source of truth. `attempt.json` says what to run; the process that
runs it holds a lock on that file; `result.json` is written once, atomically, and never
changed. It comes from the attempt's own process, or from a driver that found that
process dead. `pruned.json` exists if a pruner gave the attempt up before.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hypnet_core.errors import RunError
from hypnet_hpsearch.spec.command import command_line
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.resume import last_step, resumption
from hypnet_hpsearch.trial.files import (
    ATTEMPT,
    DIRECTORY_VARIABLE,
    ERRORS,
    OUTPUT,
    PRUNED,
    REPORTS,
    RESULT,
    RUN,
    RUN_METRICS,
    RUN_SUMMARY,
    last_line,
    read_text,
    take_lock,
    write_once,
)
from hypnet_hpsearch.trial.outcomes import measured
from hypnet_hpsearch.trial.records import (
    AttemptRecord,
    ResultRecord,
    ResumeRecord,
    is_interrupted,
    is_number,
    is_result,
    json_number,
)
from hypnet_hpsearch.trial.reports import Reports
from hypnet_hpsearch.trial.summaries import NoMetricError

__all__ = ["Attempt", "AttemptRecord", "ResultRecord", "attempt_record", "reports_of"]


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
        """The file with the trial's output."""
        return self.path / OUTPUT

    @property
    def errors(self) -> Path:
        """The file with the trial's error output."""
        return self.path / ERRORS

    def create(self, record: AttemptRecord) -> bool:
        """Create the directory and `attempt.json`.

        Returns:
            Whether this call created it; `False` if it existed before.

        Raises:
            RunError: It cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()  # of two drivers only one succeeds
            self.path.joinpath(ATTEMPT).write_text(json.dumps(record), encoding="utf-8")
        except FileExistsError:
            return False
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from None
        return True

    def options(self) -> dict[str, Any] | None:
        """The trial's options in `attempt.json`; `None` if it is unreadable."""
        options = (_read(self.path / ATTEMPT) or {}).get("options")
        return options if isinstance(options, dict) else None

    def result(self) -> ResultRecord | None:
        """The outcome, or `None` if there is none yet, or its file is damaged.

        The state of an attempt that ended because it was pruned is `pruned`.
        """
        found = _read(self.path / RESULT)
        # The trial itself may have damaged the file, or written one of its own.
        if found is None or not is_result(found):
            return None
        result = cast("ResultRecord", found)
        return result if result["state"] == "done" else self._with_pruning(result)

    def has_progressed(self, spec: SearchSpec) -> bool:
        """Whether it has come further than the attempt that it went on from."""
        resume = (_read(self.path / ATTEMPT) or {}).get("resume")
        start = resume.get("step", -1) if isinstance(resume, dict) else -1
        return last_step(spec, self.run) > start

    def failed_again(self, spec: SearchSpec) -> bool:
        """Whether it went on from an earlier attempt and failed without progress."""
        result, record = self.result(), _read(self.path / ATTEMPT) or {}
        if result is None or "resume" not in record or is_interrupted(result):
            return False
        return result["state"] == "failed" and not self.has_progressed(spec)

    def prune(self, reason: str, value: float | None = None) -> None:
        """Record that the attempt was given up early; the caller then ends its job.

        Args:
            reason: Why.
            value: Value of its last report.

        Raises:
            RunError: That cannot be written.
        """
        text = json.dumps({"reason": reason, "value": json_number(value)})
        try:
            write_once(self.path / PRUNED, text)
        except OSError as error:
            raise RunError(f"cannot write {self.path / PRUNED}: {error.strerror}") from None

    def _with_pruning(self, result: ResultRecord) -> ResultRecord:
        """The result of an attempt that is not done, which a pruner may have ended."""
        # The job of a pruned attempt is ended like any other, so its result says
        # "failed".
        marker = _read(self.path / PRUNED)
        if marker is None:
            return result
        # Markers of earlier versions have a step instead.
        reason = str(marker.get("reason", f"pruned at step {marker.get('step')}"))
        reported = marker.get("value")
        return {
            **result,
            "state": "pruned",
            "metric": None,
            "reason": reason,
            "reported": reported if is_number(reported) else None,
        }

    @property
    def has_begun(self) -> bool:
        """Whether its process has started; before that its job is queued."""
        return self.run.exists()

    def is_alive(self) -> bool:
        """Whether its process, or a process that it started, is alive."""
        try:
            lock = take_lock(self.path)
        except OSError:
            return False
        if lock is not None:
            os.close(lock)
        return lock is None

    def conclude(self, otherwise: str, *, outlived: bool = False) -> ResultRecord | None:
        """The outcome; an attempt that died without one is given up as `lost`.

        Args:
            otherwise: Reason for giving it up.
            outlived: The command may have outlived the process around it, so that
                nobody has recorded its outcome. If its summary is complete, the attempt
                is done.

        Returns:
            The outcome, or `None` if the attempt is alive.

        Raises:
            RunError: The attempt was to be given up, but that cannot be written.
        """
        found = self.result()
        if found is not None:
            return found
        try:
            lock = take_lock(self.path)
        except FileNotFoundError:  # its driver died before it wrote attempt.json
            return self._write(self.lost(otherwise))
        except OSError as error:
            raise RunError(f"cannot lock {self.path / ATTEMPT}: {error.strerror}") from None
        if lock is None:
            return None
        try:
            # The process may have written its result just before it released the lock.
            result = self.result()
            if result is None:
                unseen = self.unseen() if outlived else None
                result = self._write(unseen or self.lost(otherwise))
            return result
        finally:
            os.close(lock)

    def unseen(self) -> ResultRecord | None:
        """The outcome of a command that has outlived the process around it.

        The caller knows that the command has ended. Nothing is written.

        Returns:
            The outcome; `None` if the command left no complete summary, was given up by
            a pruner, or has a result, even a damaged one.
        """
        record = _read(self.path / ATTEMPT)
        if record is None or any(self.path.joinpath(name).exists() for name in (PRUNED, RESULT)):
            return None
        try:
            found = measured(cast("AttemptRecord", record))
            ended = Path(record["summary"]).stat().st_mtime
        except (NoMetricError, RecursionError, KeyError, TypeError, OSError):
            return None
        return {
            "trial": self.trial,
            "attempt": self.number,
            "state": "done",
            "metric": found["metric"],
            "numbers": found["numbers"],
            "kept": found["kept"],
            "reason": "the process around it was killed, its summary is complete",
            "ended": ended,
        }

    def lost(self, why: str) -> ResultRecord:
        """The outcome of an attempt that was lost.

        Args:
            why: The reason, unless its result is damaged.
        """
        damaged = self.path.joinpath(RESULT).exists()
        why = f"its {RESULT} is damaged" if damaged else why
        said = "" if damaged else last_line(self.errors)
        return {
            "trial": self.trial,
            "attempt": self.number,
            "state": "lost",
            "metric": None,
            "reason": f"{why}: {said}" if said else why,
            "ended": time.time(),
        }

    def _write(self, result: ResultRecord) -> ResultRecord:
        """Write an outcome, unless there is one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            mine = write_once(self.path / RESULT, json.dumps(result))
        except OSError as error:
            raise RunError(f"cannot write {self.path / RESULT}: {error.strerror}") from None
        return self._with_pruning(result) if mine else self.result() or result


def attempt_record(spec: SearchSpec, options: Mapping[str, Any], attempt: Attempt) -> AttemptRecord:
    """The content of an attempt's `attempt.json`.

    Args:
        spec: The search.
        options: All options of the trial.
        attempt: The attempt.
    """
    record: AttemptRecord = {
        "trial": attempt.trial,
        "attempt": attempt.number,
        "options": options,
        "argv": command_line(spec, options, attempt.run),
        "cwd": str(spec.cwd),
        "env": {DIRECTORY_VARIABLE: str(attempt.run)},
        "summary": str(attempt.run / (spec.summary if spec.command else RUN_SUMMARY)),
        "metric": spec.metric,
        "parser": spec.parser if spec.command else "json",
        "keep": spec.kept,
        "needs": spec.needs,
    }
    resume = _resumption(spec, options, attempt) if spec.resumes else None
    if resume is not None:
        record["resume"] = resume
    return record


def _resumption(
    spec: SearchSpec, options: Mapping[str, Any], attempt: Attempt
) -> ResumeRecord | None:
    """How an attempt goes on from the last one before it that left something."""
    for number in range(attempt.number - 1, 0, -1):
        earlier = replace(attempt, number=number)
        # What failed again where it had gone on begins anew: the fault may lie there.
        if earlier.failed_again(spec):
            return None
        resume = resumption(spec, options, earlier.run, attempt.run)
        if resume is not None:
            return resume
    return None


def reports_of(attempt: Attempt, spec: SearchSpec) -> Reports:
    """A reader of the intermediate results of an attempt.

    Args:
        attempt: The attempt.
        spec: The search.
    """
    if spec.command:
        return Reports(attempt.run / REPORTS)
    return Reports(attempt.run / RUN_METRICS, spec.report or spec.metric)


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; `None` if the file is missing or damaged."""
    try:
        found = json.loads(read_text(path))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # the trial has put something else there
            return None
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    return found if isinstance(found, dict) else None
