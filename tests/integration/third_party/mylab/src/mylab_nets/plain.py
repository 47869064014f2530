"""The scheduler `plain`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from hypnet_core.jobs import JobSpec, JobState


class Plain:
    """Starts every job at once as a process of this machine, without limits.

    Its jobs are forgotten when it goes.

    Args:
        niceness: How much of the processor the jobs leave to others, 0 (none) to 19.
    """

    def __init__(self, *, niceness: int = 0) -> None:
        self.niceness = niceness
        self._processes: dict[str, subprocess.Popen[bytes] | None] = {}
        self._cancelled: set[str] = set()

    def submit(self, job: JobSpec) -> str:
        """Start a job."""
        name = f"plain-{len(self._processes) + 1}"
        with ExitStack() as files:
            out, err = (self._file(files, path) for path in (job.stdout, job.stderr))
            try:
                # A session of its own, so that cancelling reaches whatever the job
                # started.
                self._processes[name] = subprocess.Popen(
                    (
                        ["nice", "-n", str(self.niceness), *job.argv]
                        if self.niceness
                        else list(job.argv)
                    ),
                    cwd=job.cwd,
                    env={**os.environ, **job.env},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError:
                self._processes[name] = None
        return name

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of jobs."""
        return {name: self._state(name) for name in ids}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs and all that they started."""
        for name in ids:
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                self._cancelled.add(name)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _state(self, name: str) -> JobState:
        if name not in self._processes:
            return JobState.LOST
        process = self._processes[name]
        code = 127 if process is None else process.poll()
        if code is None:
            return JobState.RUNNING
        if name in self._cancelled:
            return JobState.CANCELLED
        return JobState.FINISHED if code == 0 else JobState.FAILED

    @staticmethod
    def _file(files: ExitStack, path: Path | None) -> IO[bytes] | int:
        return subprocess.DEVNULL if path is None else files.enter_context(path.open("ab"))
