"""The scheduler `local`: jobs are processes of this machine."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import Interruption, JobSpec, JobState
from hypnet_hpsearch._signals import signals_held
from hypnet_hpsearch.schedulers.local.devices import installed_gpus, locks_directory, visible_gpus
from hypnet_hpsearch.schedulers.local.processes import Identity
from hypnet_hpsearch.schedulers.local.usage import Gauge, GaugeError, Limits
from hypnet_hpsearch.schedulers.local.wire import LauncherProcess

__all__ = ["Local"]

_BEYOND_GRACE = 5.0  # seconds until a cancelled job is ended without its launcher


class Local:
    """Runs jobs as processes of this machine, as many at once as there are slots.

    A job that asks for $c$ cores takes $c$ slots; jobs start in the order in which they
    were submitted. Every job leads a session of its own, so Ctrl-C does not reach it,
    and cancelling it ends all that it started. Jobs outlive their driver. A job's id
    identifies its process uniquely (machine, boot, process id, start time) and holds
    its number of cores, so a restarted driver recognises the jobs of its predecessor,
    which keep their slots, and never mistakes another process for one of them.

    Unless a job sets it itself, `OMP_NUM_THREADS` is its number of cores, so that jobs
    that run at the same time do not slow each other down. The time limit is enforced;
    the memory limit is not.

    Args:
        slots: Number of cores that all jobs may use together; all that this process may
            use if `None`.
        gpus: Ids of the GPUs that jobs may use, such as `[0, 2]`; those of
            `CUDA_VISIBLE_DEVICES`, or else all, if `None`. Each job sees only its own
            GPUs. Drivers of the same user on this machine share them.
        jobs_per_gpu: Number of jobs that may share a GPU.
        allowed_memory: A job starts only on a GPU with at most this fraction of its
            memory in use, by any process, according to NVML; needs the extra `gpu` of
            hypnet-hpsearch. No limit if `None`.
        allowed_load: A job starts only on a GPU that was busy for at most this fraction
            of the latest sampling period. No limit if `None`.
        startup_pause: Seconds after the start of a job in which no other starts on its
            GPU: a job needs time to allocate the memory that the next one must find in
            use.
        grace: Seconds between the request to end (`SIGTERM`) and the forced end
            (`SIGKILL`) of a job that is cancelled or over its time limit.

    Raises:
        SchedulerError: There is no such GPU.

    Example:
        >>> from hypnet_core.jobs import JobSpec
        >>> scheduler = Local(slots=1)
        >>> job = scheduler.submit(JobSpec(argv=("true",)))
        >>> while not scheduler.poll([job])[job].ended:
        ...     time.sleep(0.01)
        >>> scheduler.poll([job])[job].value
        'finished'
        >>> scheduler.close()
    """

    poll_interval: float = 0.02
    """Seconds between two polls, which are cheap here."""

    def __init__(
        self,
        *,
        slots: PositiveInt | None = None,
        gpus: tuple[int | str, ...] | None = None,
        jobs_per_gpu: PositiveInt = 1,
        allowed_memory: Annotated[float, Field(ge=0, le=1)] | None = None,
        allowed_load: Annotated[float, Field(ge=0, le=1)] | None = None,
        startup_pause: Annotated[float, Field(ge=0)] = 0.0,
        grace: Annotated[float, Field(ge=0)] = 10.0,
    ) -> None:
        self.slots = _cores() if slots is None else slots
        self.gpus = None if gpus is None else _checked_gpus(tuple(map(str, gpus)))
        self._jobs_per_gpu = jobs_per_gpu
        self._limits = Limits(allowed_memory, allowed_load, startup_pause)
        self._are_limits_checked = False  # whether NVML can measure what is limited
        self._grace = grace
        self._lock = threading.RLock()
        self._launcher: LauncherProcess | None = None
        self._states: dict[str, JobState] = {}
        self._adopted: dict[str, int] = {}
        self._numbers = itertools.count()  # of the orders to start a job
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._doubtful: dict[str, int] = {}  # orders without an answer, by the job's key
        self._unwanted: set[int] = set()  # orders that nobody waits for any more
        self._cancelled: dict[str, float] = {}  # since when
        self._overdue: set[str] = set()

    def submit(self, job: JobSpec) -> str:
        """Start a job, or queue it until there is a slot.

        Returns:
            The job's id, `host:boot:pid:start:cores`.

        Raises:
            SchedulerError: The job asks for more slots or GPUs than there are, or no
                process could be started.
            SchedulerUnavailableError: The process that starts jobs is stopped. If the
                job has a key, submitting it again finds out whether it was started.
        """
        with self._lock, signals_held():
            self._check(job)
            launcher = self._running_launcher()
            number = self._doubtful.pop(job.key or "", None)
            if number is None:
                number = next(self._numbers)
                launcher.send({**_order(job), "number": number})
            answer = self._answer(launcher, number, job.key)
            if answer["say"] == "error":
                raise SchedulerError(f"job {job.name!r}: {answer['text']}")
            return str(answer["id"])

    def _answer(self, launcher: LauncherProcess, number: int, key: str | None) -> Mapping[str, Any]:
        """Wait for the answer to an order."""
        end = launcher.deadline()
        while number not in self._answers:
            try:
                launcher.wait(end)
            except SchedulerUnavailableError:
                if key is None:
                    self._unwanted.add(number)
                else:
                    self._doubtful[key] = number
                raise
            for message in launcher.messages():
                self._note(message)
        return self._answers.pop(number)

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs, of this driver or of an earlier one on this machine.

        A job of an earlier driver is either running or lost: this process cannot see
        how it ended.

        Raises:
            SchedulerUnavailableError: The process that starts jobs is stopped.
        """
        with self._lock, signals_held():
            self._listen()
            self._end_cancelled()
            if self._launcher is not None and not self._cancelled:
                self._launcher.check()
            states = {
                job: self._states[job] if job in self._states else self._adopted_state(job)
                for job in ids
            }
            if any(state.ended for state in states.values()):
                self._give_back_slots()
            return states

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs with all that they started; others stay as they are."""
        with self._lock, signals_held():
            self._listen()
            strangers = []
            for job in ids:
                identity, _ = _parse(job)
                if identity is None:
                    continue
                if job not in self._states:
                    strangers.append(identity)
                elif self._launcher is not None and not self._states[job].ended:
                    self._launcher.send({"do": "cancel", "identity": identity})
                    self._cancelled.setdefault(job, time.monotonic())
        _end(strangers, self._grace)

    def interruption(self, job: str) -> Interruption | None:
        """Why a job of this driver was ended; `None` if it was not, or is unknown."""
        return Interruption.TIME_LIMIT if job in self._overdue else None

    def close(self) -> None:
        """Release the launcher: running jobs go on, queued jobs are dropped."""
        with self._lock:
            if self._launcher is not None:
                self._launcher.close()
                self._launcher = None

    def _check(self, job: JobSpec) -> None:
        if job.cpus > self.slots:
            raise SchedulerError(
                f"job {job.name!r} asks for {job.cpus} cores, but there are only {self.slots} slots"
            )
        if job.gpus and self.gpus is None:
            self.gpus = visible_gpus()
            if self._launcher is not None:  # it was started without any GPU
                self._launcher.send({"do": "gpus", "gpus": self.gpus})
        if job.gpus > len(self.gpus or ()):
            there = (
                f"there are only {len(self.gpus)}"
                if self.gpus
                else "nvidia-smi finds none on this machine"
            )
            raise SchedulerError(
                f"job {job.name!r} asks for {job.gpus} GPU{'s' * (job.gpus > 1)}, but {there}"
            )
        if job.gpus and not self._are_limits_checked:
            self._check_limits()

    def _check_limits(self) -> None:
        """Check once that NVML can measure what is limited: no job may wait forever."""
        gauge = Gauge(self._limits)
        try:
            for name in self.gpus or ():
                gauge.check_measurable(name)
        except GaugeError as error:
            raise SchedulerError(
                f"allowed_memory and allowed_load cannot be enforced: {error}"
            ) from None
        self._are_limits_checked = True

    def _running_launcher(self) -> LauncherProcess:
        self._listen()
        if self._launcher is None:
            # Adopted jobs hold slots that the new launcher must not give away.
            self._launcher = LauncherProcess(
                slots=max(0, self.slots - sum(self._adopted.values())),
                gpus=self.gpus or (),
                jobs_per_gpu=self._jobs_per_gpu,
                locks=str(locks_directory()),
                limits=self._limits._asdict(),
                grace=self._grace,
            )
        return self._launcher

    def _listen(self) -> None:
        """Read the launcher's messages; notice if it was killed."""
        if self._launcher is None:
            return
        for message in self._launcher.messages():
            self._note(message)
        if self._launcher.gone:
            self.close()
            # From now on its jobs are like those of an earlier driver.
            self._states = {job: state for job, state in self._states.items() if state.ended}
            self._doubtful.clear()
            self._cancelled.clear()

    def _note(self, message: Mapping[str, Any]) -> None:
        if message["say"] in {"id", "error"}:
            self._note_answer(message)
            return
        started = message["say"] == "started"
        self._states[message["id"]] = JobState.RUNNING if started else JobState(message["state"])
        if message.get("overdue"):
            self._overdue.add(message["id"])
        if not started:
            self._cancelled.pop(message["id"], None)

    def _note_answer(self, answer: Mapping[str, Any]) -> None:
        number = answer["number"]
        if answer["say"] == "id":
            self._states[answer["id"]] = JobState.QUEUED
        if number not in self._unwanted:
            self._answers[number] = answer
        elif answer["say"] == "id":
            self.cancel([answer["id"]])

    def _end_cancelled(self) -> None:
        """End cancelled jobs whose launcher does not do it."""
        patience = self._grace + _BEYOND_GRACE
        for job, since in list(self._cancelled.items()):
            identity, _ = _parse(job)
            if identity is None or time.monotonic() - since < patience:
                continue
            identity.signal_group(signal.SIGKILL)
            if not identity.alive:
                self._states[job] = JobState.CANCELLED
                del self._cancelled[job]

    def _adopted_state(self, job: str) -> JobState:
        identity, cores = _parse(job)
        if identity is None or not identity.alive:
            return JobState.LOST
        if job not in self._adopted:
            self._adopted[job] = cores
            self._tell_slots()
        return JobState.RUNNING

    def _give_back_slots(self) -> None:
        ended = [
            job
            for job in self._adopted
            if (identity := _parse(job)[0]) is None or not identity.alive
        ]
        for job in ended:
            del self._adopted[job]
        if ended:
            self._tell_slots()

    def _tell_slots(self) -> None:
        if self._launcher is not None:
            self._launcher.send(
                {"do": "slots", "slots": max(0, self.slots - sum(self._adopted.values()))}
            )


def _parse(job: str) -> tuple[Identity | None, int]:
    """The process that a job's id identifies, and the job's number of cores."""
    name, _, cores = job.rpartition(":")
    return (Identity.parse(name), int(cores)) if cores.isdecimal() else (None, 0)


def _order(job: JobSpec) -> dict[str, Any]:
    return {
        "do": "start",
        "argv": job.argv,
        "cwd": None if job.cwd is None else str(job.cwd),
        "env": job.env,
        "stdout": str(job.stdout or os.devnull),
        "stderr": str(job.stderr or os.devnull),
        "cpus": job.cpus,
        "gpus": job.gpus,
        "limit": None if job.time_limit is None else job.time_limit.total_seconds(),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked_gpus(names: tuple[str, ...]) -> tuple[str, ...]:
    there = {*installed_gpus(), *visible_gpus()}
    unknown = [
        name for name in names if name not in there and not name.startswith(("GPU-", "MIG-"))
    ]
    if unknown or (names and not there):
        has = f"there is: {', '.join(sorted(there))}" if there else "nvidia-smi finds no GPU here"
        raise SchedulerError(
            f"this machine has no GPU {' and no GPU '.join(unknown or names)}; {has}"
        )
    return names


def _end(strangers: Iterable[Identity], grace: float) -> None:
    """End jobs of an earlier driver: ask, wait, force."""
    remaining = [identity for identity in strangers if identity.alive]
    for identity in remaining:
        identity.signal_group(signal.SIGTERM)
    end = time.monotonic() + grace
    while (
        remaining := [identity for identity in remaining if identity.alive]
    ) and time.monotonic() < end:
        time.sleep(0.01)
    for identity in remaining:
        identity.signal_group(signal.SIGKILL)
