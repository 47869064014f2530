"""The small process beside a driver that starts the jobs of the scheduler `local`, watches them and cleans up after them.

It holds little memory, so that starting a job costs one cheap fork. It outlives a
driver that was killed for as long as its jobs run, so that whatever a job leaves behind
is ended with it. A job that waits for its slot is a process already, which has its
final id; it ends if nobody is left to give it a slot. Only the standard library is
imported here.

A job has its cores until it ends. Only the process around a search's trial says a
little earlier that it needs them no more, by closing its end of the gate, so that the
next trial starts while the result is written to disk.

Driver and launcher exchange lines of JSON over a socket: `start` (answered by `id` or
`error`), `cancel` and `slots` in one direction, `started` and `ended` in the other.
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
from hypnet_hpsearch.schedulers.local.processes import Identity, signal_group
from hypnet_hpsearch.schedulers.local.usage import Limits
from hypnet_hpsearch.trial import wrapper as trial

_NOT_STARTED = 125
_CANNOT_START = 127
_NEVER = float("inf")
_THREADS = "OMP_NUM_THREADS"


class _Job:
    """A job that waits for its slot, or runs; `gate` is open while it waits, and for a trial as long as it has its cores."""

    def __init__(self, order: dict[str, Any], pid: int, gate: socket.socket) -> None:
        self.order = order
        self.pid = pid
        self.name = f"{Identity.of(pid)}:{order['cpus']}"
        self.gate: socket.socket | None = gate
        self.started = self.cancelled = self.overdue = self.has_cores = False
        self.deadline = _NEVER  # when the next, harder signal is due


class _Launcher:
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
            due = min(
                due, time.monotonic() + 0.5
            )  # a GPU may be given back, or be less busy, and nobody tells
        return None if due == _NEVER else max(0.0, due - time.monotonic())

    def _receive(self) -> bytes:
        try:
            return self.control.recv(1 << 16)
        except ConnectionError:
            return b""

    def _tell(self, **message: Any) -> None:
        if self.driver:
            with suppress(OSError):  # the driver may have died just now; the next receive says so
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
        else:
            self._cancel(Identity(*order["identity"]))

    def _start(self, order: dict[str, Any]) -> None:
        gate, inner = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            gate.close()
            inner.close()
            self._tell(say="error", text=f"cannot start a process: {error.strerror}")
            return
        if pid == 0:
            _be_the_job(order, inner)
        inner.close()
        job = _Job(order, pid, gate)
        self.jobs[pid] = job
        self.waiting.append(job)
        self._tell(say="id", id=job.name)

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
        """Start waiting jobs in their order, as long as the first of them fits."""
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
                with suppress(OSError):  # it was killed while it waited; _reap tells
                    socket.send_fds(job.gate, [json.dumps(names).encode()], locks)
                if trial.is_command(job.order["argv"]):
                    self.selector.register(job.gate, selectors.EVENT_READ, job)
                else:
                    _close(job)
            for lock in locks:
                os.close(lock)
            if job.order["limit"] is not None:
                job.deadline = time.monotonic() + job.order["limit"]
            self._tell(say="started", id=job.name)

    def _give_back(self, job: _Job) -> None:
        """Note that a job that has started needs its cores no more."""
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
        self._tell(say="ended", id=job.name, state=state)


def _collect() -> tuple[int, int] | None:
    """Collect one ended job, with all that it left behind in its process group; its process id and exit code."""
    number = -1
    if hasattr(os, "waitid"):
        # Look first: as long as the process is not collected, its number, and so its
        # group, is nobody else's.
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


def _be_the_job(order: dict[str, Any], gate: socket.socket) -> None:
    """Turn this forked process into the job; never returns."""
    code = _CANNOT_START
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, gate.fileno())
        os.closerange(gate.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        _prepare(order)
        message, locks, _, _ = socket.recv_fds(gate, 1 << 16, 64)
        code = _become(order["argv"], json.loads(message), locks, gate) if message else _NOT_STARTED
    except BaseException as error:  # noqa: BLE001  nobody else could tell
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else repr(error)
        os.write(2, f"hypnet: cannot start {order['argv'][0]!r}: {why}\n".encode(errors="replace"))
    finally:
        os._exit(code)


def _prepare(order: dict[str, Any]) -> None:
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (
            2,
            order["stderr"],
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
        ),  # first, so that it can tell what happens to the other
        (1, order["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.setdefault(_THREADS, str(order["cpus"]))
    os.environ.update(order["env"])
    if order["cwd"] is not None:
        os.chdir(order["cwd"])


def _become(argv: list[str], gpus: list[str], locks: list[int], gate: socket.socket) -> int:
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        os.environ.setdefault(
            "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
        )  # the numbers are nvidia-smi's; CUDA would count the fastest first
    for lock in locks:
        os.set_inheritable(lock, True)
    if trial.is_command(
        argv
    ):  # its module is here already: a fork does what a new interpreter would
        return trial.main(trial.arguments(argv), gate.close)
    os.execvpe(argv[0], argv, os.environ)  # noqa: S606  # no shell is just what we want
    return _CANNOT_START


def main(arguments: list[str]) -> int:
    """Serve the driver at the other end of an inherited socket.

    Args:
        arguments: The settings as JSON: `socket` (a file descriptor), `slots`, `gpus`,
            `jobs_per_gpu`, `locks` (the directory of the GPUs' locks), `limits` (of the
            GPUs' use: `memory`, `load`, `pause`), `grace` (seconds).
    """
    settings = json.loads(arguments[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    control = socket.socket(fileno=settings["socket"])
    gc.disable()  # a collection would touch every page, and make each fork copy them
    gpus = GpuSlots(
        settings["gpus"],
        settings["jobs_per_gpu"],
        Path(settings["locks"]),
        Limits(**settings["limits"]),
    )
    _Launcher(control, gpus, settings["slots"], settings["grace"]).run()
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # at once: the driver waits for it
