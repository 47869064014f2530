"""The scheduler of searches over a function: each trial is a fork of this process."""

from __future__ import annotations

import os
import signal
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnet_core.jobs import Interruption, JobSpec, JobState
from hypnet_hpsearch.trial.function import call

__all__ = ["Forks"]

_GRACE = 5.0  # seconds between the request to end and the forced end


@dataclass
class _Child:
    """A running job: its process, and when it is signalled next."""

    pid: int
    cpus: int
    deadline: float
    is_asked: bool = False


class Forks:
    """Runs trials as forks of this process, which share what it has in memory.

    So the function may be one of a notebook. The trials end with this process's driver.

    Args:
        function: Called with the options of each trial as keywords.
        slots: The number of cores that all trials may use together.
    """

    poll_interval: float = 0.02
    """Seconds between two polls."""

    def __init__(self, function: Callable[..., Any], slots: int) -> None:
        self.slots = slots
        self._function = function
        self._waiting: deque[tuple[str, JobSpec]] = deque()
        self._running: dict[str, _Child] = {}
        self._states: dict[str, JobState] = {}
        self._cancelled: set[str] = set()
        self._overdue: set[str] = set()

    def submit(self, job: JobSpec) -> str:
        """Queue a trial."""
        name = f"{os.getpid()}-{len(self._states)}"
        self._states[name] = JobState.QUEUED
        self._waiting.append((name, job))
        return name

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some trials; starts others as far as there are slots."""
        self._reap()
        while self._waiting and self._used + self._waiting[0][1].cpus <= self.slots:
            self._start(*self._waiting.popleft())
        return {job: self._states.get(job, JobState.LOST) for job in ids}

    def cancel(self, ids: Iterable[str]) -> None:
        """End trials, queued or running."""
        wanted = set(ids)
        for name, job in list(self._waiting):
            if name in wanted:
                self._waiting.remove((name, job))
                self._states[name] = JobState.CANCELLED
        for name in wanted & self._running.keys() - self._cancelled:
            self._cancelled.add(name)
            self._ask_to_end(self._running[name])

    def interruption(self, job: str) -> Interruption | None:
        """Why a trial was ended; `None` if it was not."""
        return Interruption.TIME_LIMIT if job in self._overdue else None

    def close(self) -> None:
        """End what still runs."""
        for child in self._running.values():
            _signal(child.pid, signal.SIGKILL)
        while self._running:
            self._reap()
            time.sleep(self.poll_interval * bool(self._running))

    @property
    def _used(self) -> int:
        return sum(child.cpus for child in self._running.values())

    def _start(self, name: str, job: JobSpec) -> None:
        with warnings.catch_warnings(action="ignore"):  # a notebook has threads
            pid = os.fork()
        if pid == 0:
            _be_the_trial(Path(job.argv[-1]), self._function)
        limit = job.time_limit
        deadline = float("inf") if limit is None else time.monotonic() + limit.total_seconds()
        self._running[name] = _Child(pid, job.cpus, deadline)
        self._states[name] = JobState.RUNNING

    def _reap(self) -> None:
        for name, child in list(self._running.items()):
            if time.monotonic() > child.deadline:
                self._signal_overdue(name, child)
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                del self._running[name]
                ended = JobState.FAILED if status else JobState.FINISHED
                self._states[name] = JobState.CANCELLED if name in self._cancelled else ended

    def _signal_overdue(self, name: str, child: _Child) -> None:
        if child.is_asked:
            _signal(child.pid, signal.SIGKILL)
            child.deadline = float("inf")
            return
        self._overdue.add(name)
        self._ask_to_end(child)

    def _ask_to_end(self, child: _Child) -> None:
        _signal(child.pid, signal.SIGTERM)
        child.is_asked, child.deadline = True, time.monotonic() + _GRACE


def _be_the_trial(directory: Path, function: Callable[..., Any]) -> None:
    """Turn this forked process into the trial; never returns."""
    code = 1
    try:
        # A session of its own: Ctrl-C does not reach it, cancelling all that it starts.
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        code = call(directory, function)
    except (OSError, ValueError, LookupError):  # the records cannot be read or written
        traceback.print_exc()
    finally:
        os._exit(code)  # whatever has happened: a fork must never return


def _signal(pid: int, number: signal.Signals) -> None:
    for send in (os.killpg, os.kill):
        try:
            send(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
