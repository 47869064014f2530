"""The launcher: the process beside a driver that starts and watches its jobs.

It uses little memory, so that starting a job is one cheap fork. It outlives a killed
driver for as long as its jobs run, and ends whatever a job leaves behind. A queued job
is a process already, which has its final id; it ends if nobody is left to give it a
slot. Only the standard library is imported here.

A job keeps its cores until it ends. Only the process around a search's trial releases
them earlier, by closing its end of the gate, so that the next trial starts while the
result is being written.

Driver and launcher exchange lines of JSON over a socket: `start` (answered by `id` or
`error` with the order's number), `ping` (answered by `running`), `cancel`, `slots` and
`gpus` in one direction, `started` and `ended` in the other.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypnet_hpsearch.schedulers.local.gpus import GpuSlots
from hypnet_hpsearch.schedulers.local.job import be_the_job
from hypnet_hpsearch.schedulers.local.processes import Identity, signal_group
from hypnet_hpsearch.schedulers.local.usage import Limits
from hypnet_hpsearch.trial.wrapper import is_command

_NEVER = float("inf")
_GPU_POLL = 0.5  # seconds between two looks at GPUs


class _Job:
    """A queued or running job.

    The gate is open while the job is queued, and for a trial as long as it has its
    cores.
    """

    def __init__(self, order: dict[str, Any], pid: int, gate: socket.socket) -> None:
        self.order = order
        self.pid = pid
        self.name = f"{Identity.of(pid)}:{order['cpus']}"
        self.gate: socket.socket | None = gate
        self.started = self.cancelled = self.overdue = self.has_cores = False
        self.deadline = _NEVER  # when the next, harder signal is due


class _Launcher:
    """Starts jobs in order, ends them, and reports what happens to the driver."""

    def __init__(self, control: socket.socket, gpus: GpuSlots, slots: int, grace: float) -> None:
        self.control = control
        self.gpus = gpus
        self.slots = slots
        self.grace = grace
        self.jobs: dict[int, _Job] = {}
        self.waiting: deque[_Job] = deque()
        self.used = 0
        self.driver = True
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve the driver until it is gone and the last job has ended."""
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        # Signals wake the selector, so that the end of a child is noticed at once.
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with self.selector as selector:
            selector.register(woken, selectors.EVENT_READ)
            selector.register(self.control, selectors.EVENT_READ)
            buffer = b""
            while self.driver or self.jobs:
                keys = [key for key, _ in selector.select(self._timeout())]
                for key in keys:
                    if key.data is not None:
                        self._give_back(key.data)
                ready = [key.fileobj for key in keys]
                if woken in ready:
                    with suppress(BlockingIOError):
                        woken.recv(4096)
                if self.control in ready:
                    received = self._receive()
                    if received:
                        *lines, buffer = (buffer + received).split(b"\n")
                        for line in lines:
                            self._obey(json.loads(line))
                    else:
                        selector.unregister(self.control)
                        self._driver_is_gone()
                self._reap()
                self._signal_overdue()
                self._open_gates()

    def _timeout(self) -> float | None:
        due = min((job.deadline for job in self.jobs.values()), default=_NEVER)
        if self.waiting and self.waiting[0].order["gpus"]:
            # Nobody reports that a GPU was released, or is less busy.
            due = min(due, time.monotonic() + _GPU_POLL)
        return None if due == _NEVER else max(0.0, due - time.monotonic())

    def _receive(self) -> bytes:
        try:
            return self.control.recv(1 << 16)
        except ConnectionError:
            return b""

    def _tell(self, **message: Any) -> None:
        if self.driver:
            with suppress(OSError):  # the driver may have died just now; `_receive` notices
                self.control.sendall(json.dumps(message).encode() + b"\n")

    def _driver_is_gone(self) -> None:
        self.driver = False
        for job in self.waiting:
            _close(job)
        self.waiting.clear()

    def _obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "start":
            self._start(order)
        elif order["do"] == "gpus":
            self.gpus = GpuSlots(
                order["gpus"], self.gpus.jobs_per_gpu, self.gpus.directory, self.gpus.gauge.limits
            )
        elif order["do"] == "slots":
            self.slots = order["slots"]
        elif order["do"] == "ping":
            self._tell(say="running")
        else:
            self._cancel(Identity(*order["identity"]))

    def _start(self, order: dict[str, Any]) -> None:
        gate, inner = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            gate.close()
            inner.close()
            text = f"cannot start a process: {error.strerror}"
            self._tell(say="error", number=order["number"], text=text)
            return
        if pid == 0:
            be_the_job(order, inner)
        inner.close()
        job = _Job(order, pid, gate)
        self.jobs[pid] = job
        self.waiting.append(job)
        self._tell(say="id", number=order["number"], id=job.name)

    def _cancel(self, identity: Identity) -> None:
        job = self.jobs.get(identity.pid)
        if job is None or job.cancelled:
            return
        job.cancelled = True
        if not job.started:
            self.waiting.remove(job)
            _close(job)
        else:
            signal_group(job.pid, signal.SIGTERM)
            job.deadline = time.monotonic() + self.grace

    def _open_gates(self) -> None:
        """Start queued jobs in their order, as long as the first of them fits."""
        # In order: a small job does not overtake a large one, which could starve.
        while self.waiting and self.used + self.waiting[0].order["cpus"] <= self.slots:
            job = self.waiting[0]
            taken = self.gpus.take(job.order["gpus"])
            if taken is None:
                return
            self.waiting.popleft()
            job.started = job.has_cores = True
            self.used += job.order["cpus"]
            names, locks = taken
            if job.gate is not None:
                with suppress(OSError):  # it was killed while it was queued; `_reap` notices
                    socket.send_fds(job.gate, [json.dumps(names).encode()], locks)
                if is_command(job.order["argv"]):
                    self.selector.register(job.gate, selectors.EVENT_READ, job)
                else:
                    _close(job)
            # The job has its own copies now.
            for lock in locks:
                os.close(lock)
            if job.order["limit"] is not None:
                job.deadline = time.monotonic() + job.order["limit"]
            self._tell(say="started", id=job.name)

    def _give_back(self, job: _Job) -> None:
        """Release the cores of a job that has started."""
        if job.has_cores:
            job.has_cores = False
            self.used -= job.order["cpus"]
        if job.gate is not None:
            self.selector.unregister(job.gate)
            _close(job)

    def _signal_overdue(self) -> None:
        now = time.monotonic()
        for job in self.jobs.values():
            if job.deadline > now:
                continue
            if job.cancelled or job.overdue:
                signal_group(job.pid, signal.SIGKILL)
                job.deadline = _NEVER
            else:
                job.overdue = True
                signal_group(job.pid, signal.SIGTERM)
                job.deadline = now + self.grace

    def _reap(self) -> None:
        while self.jobs and (ended := _collect()):
            pid, code = ended
            self._ended(self.jobs.pop(pid), code)

    def _ended(self, job: _Job, code: int) -> None:
        if job.started:
            self._give_back(job)
        elif job in self.waiting:  # it was killed before its turn came
            self.waiting.remove(job)
            _close(job)
        state = "cancelled" if job.cancelled else "failed" if code or job.overdue else "finished"
        self._tell(say="ended", id=job.name, state=state, overdue=job.overdue)


def _collect() -> tuple[int, int] | None:
    """Collect one ended job, and end what it left behind in its process group.

    Returns its process id and exit code.
    """
    number = -1
    if hasattr(os, "waitid"):
        # Signal the group before the process is collected: until then the system does
        # not reuse its number.
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(found.si_pid, signal.SIGKILL)
        number = found.si_pid
    pid, status = os.waitpid(number, os.WNOHANG)
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _close(job: _Job) -> None:
    if job.gate is not None:
        job.gate.close()
        job.gate = None


def main(arguments: list[str]) -> int:
    """Serve the driver at the other end of an inherited socket.

    Args:
        arguments: The settings as JSON: `socket` (a file descriptor), `slots`, `gpus`,
            `jobs_per_gpu`, `locks` (directory of the GPUs' lock files), `limits` (of
            the use of GPUs: `memory`, `load`, `pause`), `grace` (seconds).
    """
    settings = json.loads(arguments[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
    control = socket.socket(fileno=settings["socket"])
    gc.disable()  # a collection would touch every page, and make each fork copy it
    gpus = GpuSlots(
        settings["gpus"],
        settings["jobs_per_gpu"],
        Path(settings["locks"]),
        Limits(**settings["limits"]),
    )
    _Launcher(control, gpus, settings["slots"], settings["grace"]).run()
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # without cleaning up, because the driver waits
