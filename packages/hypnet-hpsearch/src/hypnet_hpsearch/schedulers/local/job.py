"""The process of a job: it waits for its slot, then becomes the job."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from hypnet_hpsearch.trial.wrapper import arguments, is_command, main

__all__ = ["be_the_job"]

_NOT_STARTED = 125
_CANNOT_START = 127
_THREADS = "OMP_NUM_THREADS"


def be_the_job(order: dict[str, Any], gate: socket.socket) -> None:
    """Turn this forked process into the job; never returns.

    Args:
        order: The driver's order to start the job.
        gate: Passes the ids and locks of GPUs as soon as the job may start.
    """
    code = _CANNOT_START
    try:
        # A group of its own, so that cancelling reaches all that the job starts.
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Descriptors of the launcher and of other jobs must not live on in this one.
        os.closerange(3, gate.fileno())
        os.closerange(gate.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        _prepare(order)
        message, locks, _, _ = socket.recv_fds(gate, 1 << 16, 64)
        code = _become(order["argv"], json.loads(message), locks, gate) if message else _NOT_STARTED
    except BaseException as error:  # noqa: BLE001  a fork must never return
        why = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else repr(error)
        os.write(2, f"hypnet: cannot start {order['argv'][0]!r}: {why}\n".encode(errors="replace"))
    finally:
        os._exit(code)


def _prepare(order: dict[str, Any]) -> None:
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        # Errors first, so that problems with the output are reported there.
        (2, order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
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
        # The ids are those of nvidia-smi; CUDA itself would count the fastest GPU
        # first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    for lock in locks:
        os.set_inheritable(lock, True)
    if is_command(argv):
        # The trial's module is loaded already, so a fork saves the start of a new
        # interpreter.
        return main(arguments(argv), gate.close)
    os.execvpe(argv[0], argv, os.environ)  # noqa: S606  without a shell, on purpose
    return _CANNOT_START
