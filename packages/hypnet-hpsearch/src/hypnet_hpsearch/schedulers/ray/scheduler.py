"""The scheduler `ray`: jobs are tasks of a Ray cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import Interruption, JobSpec, JobState
from hypnet_hpsearch._text import error_in_one_line, in_one_line
from hypnet_hpsearch.schedulers.ray.task import OVERDUE, run_job

__all__ = ["Ray"]

_STORE = 80 * 2**20  # bytes of Ray's object store, which is not used here; Ray refuses less


class Ray:
    """Runs jobs as tasks of a Ray cluster, or of a Ray that is started on this machine.

    Ray places a task where the cores, GPUs and memory that its job asks for are free.
    Every task runs the job's command as a process, in the environment of Ray's workers;
    paths must mean the same on every node, and so must the command. Ray never repeats a
    task. It ends the tasks of a driver that has died, and the processes that they ran;
    jobs that had ended by then have their results.

    Needs the extra `ray` of hypnet-hpsearch. A Ray that is started here listens on this
    machine's network addresses; its dashboard and its usage statistics are off.

    Args:
        address: A running cluster to join, such as `"auto"` or `"head:6379"`; starts
            Ray on this machine if `None`.
        cpus: Cores of a Ray that is started here; all if `None`.
        gpus: GPUs of a Ray that is started here; those that it finds if `None`.
        grace: Seconds between the request to end (`SIGTERM`) and the forced end
            (`SIGKILL`) of a job that is cancelled or over its time limit.

    Raises:
        SchedulerError: Cores or GPUs are given for a cluster that is joined.
    """

    poll_interval: float = 0.1
    """Seconds between two polls."""

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: PositiveInt | None = None,
        gpus: NonNegativeInt | None = None,
        grace: Annotated[float, Field(ge=0)] = 10.0,
    ) -> None:
        if address is not None and (cpus is not None or gpus is not None):
            raise SchedulerError(
                f"cpus and gpus are those of the cluster at {address!r}: they cannot be given"
            )
        self._address, self._cpus, self._gpus, self._grace = address, cpus, gpus, grace
        self._ray: Any = None
        self._is_mine = False
        self._prefix = secrets.token_hex(4)
        self._count = 0
        self._tasks: dict[str, Any] = {}  # those that have not ended
        self._states: dict[str, JobState] = {}
        self._cancelled: dict[str, float] = {}  # since when
        self._overdue: set[str] = set()

    def unavailable(self) -> str | None:
        """One line about a missing package; `None` if Ray is installed."""
        if importlib.util.find_spec("ray") is not None:
            return None
        return "Ray is not installed here: pip install 'hypnet-hpsearch[ray]'"

    def submit(self, job: JobSpec) -> str:
        """Submit a job to Ray.

        Raises:
            SchedulerError: Ray is not installed or cannot be reached, or the job asks
                for more than the machine has.
        """
        ray = self._connected()
        self._check(job)
        order = {
            "argv": job.argv,
            "cwd": str((job.cwd or Path()).absolute()),
            "env": {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(job.cpus)), **job.env},
            "stdout": str((job.stdout or Path(os.devnull)).absolute()),
            "stderr": str((job.stderr or Path(os.devnull)).absolute()),
            "limit": None if job.time_limit is None else job.time_limit.total_seconds(),
            "grace": self._grace,
        }
        task = ray.remote(run_job).options(
            name=job.name,
            num_cpus=job.cpus,
            num_gpus=job.gpus,
            memory=job.memory and int(job.memory),
            max_retries=0,  # the search decides what is tried again
            # The first value says that the task runs, the second how it ended.
            num_returns="streaming",
        )
        self._count += 1
        name = f"{self._prefix}-{self._count}"
        self._tasks[name] = task.remote(order)
        self._states[name] = JobState.QUEUED
        return name

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs of this scheduler; any other job is lost."""
        wanted = list(ids)
        for job in wanted:
            if job in self._tasks:
                self._look(job)
        return {job: self._states.get(job, JobState.LOST) for job in wanted}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs with all that they started; others stay as they are."""
        for job in ids:
            if job in self._tasks and job not in self._cancelled:
                self._cancelled[job] = time.monotonic()
                self._ray.cancel(self._tasks[job])

    def interruption(self, job: str) -> Interruption | None:
        """Why a job was ended; `None` if it was not, or is unknown."""
        return Interruption.TIME_LIMIT if job in self._overdue else None

    def close(self) -> None:
        """Disconnect from Ray.

        A Ray that was started here ends, with all of its jobs.
        """
        if self._is_mine:
            self._ray.shutdown()
        self._is_mine, self._ray = False, None
        for job in self._tasks:
            self._states[job] = JobState.LOST
        self._tasks.clear()

    def _connected(self) -> Any:
        if self._ray is not None:
            return self._ray
        lacking = self.unavailable()
        if lacking:
            raise SchedulerError(lacking)
        # Must be set before Ray is imported.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray = importlib.import_module("ray")
        if not ray.is_initialized():
            here = {
                "num_cpus": self._cpus,
                "num_gpus": self._gpus,
                "include_dashboard": False,
                "object_store_memory": _STORE,
            }
            try:
                ray.init(
                    address=self._address or "local",
                    log_to_driver=False,
                    configure_logging=False,
                    **({} if self._address else here),
                )
            except Exception as error:  # Ray documents no exceptions for this
                what = f"join Ray at {self._address!r}" if self._address else "start Ray"
                raise SchedulerError(f"cannot {what}: {error_in_one_line(error)}") from error
            self._is_mine = True
        self._ray = ray
        return ray

    def _check(self, job: JobSpec) -> None:
        if self._address is not None:
            return  # a cluster may grow
        there = self._ray.cluster_resources()
        for what, asked, has in (
            ("cores", job.cpus, there.get("CPU", 0)),
            ("GPUs", job.gpus, there.get("GPU", 0)),
        ):
            if asked > has:
                raise SchedulerError(
                    f"job {job.name!r} asks for {asked} {what}, but Ray has only {has:g}"
                )

    def _look(self, job: str) -> None:
        """Read a task's messages: that it runs, and how it ended."""
        task = self._tasks[job]
        try:
            while self._ray.wait([task], timeout=0, fetch_local=False)[0]:
                said = self._ray.get(next(task))
                if said is not None:
                    if said == OVERDUE:
                        self._overdue.add(job)
                    self._end(job, JobState.FINISHED if said == 0 else JobState.FAILED)
                    return
                self._states[job] = JobState.RUNNING
        except StopIteration:
            self._end(job, JobState.LOST)
        except self._ray.exceptions.TaskCancelledError:
            self._end(job, JobState.CANCELLED)
        except self._ray.exceptions.RayError:  # its worker died
            self._end(job, JobState.CANCELLED if job in self._cancelled else JobState.FAILED)
        except ConnectionError as error:
            raise SchedulerUnavailableError(f"Ray: {in_one_line(str(error))}") from None
        if (
            job in self._tasks
            and time.monotonic() - self._cancelled.get(job, float("inf")) > 2 * self._grace + 5
        ):
            self._ray.cancel(task, force=True)

    def _end(self, job: str, state: JobState) -> None:
        self._states[job] = state
        del self._tasks[job]
