"""The driver's end of the wire to its launcher; see `hypnet_hpsearch.schedulers.local.launcher` for the other."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from hypnet_core.errors import SchedulerError

__all__ = ["LauncherProcess"]


class LauncherProcess:
    """A launcher that runs, and the wire to it.

    Args:
        **settings: As the launcher's `main()` takes them; the socket is added.

    Attributes:
        gone: Whether the launcher has hung up.
    """

    def __init__(self, **settings: Any) -> None:
        self._socket, theirs = socket.socketpair()
        self._buffer = b""
        self.gone = False
        settings["socket"] = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own module; -P: nothing in the working directory is imported
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "hypnet_hpsearch.schedulers.local.launcher",
                    json.dumps(settings),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # it outlives the driver, and must not keep its pipes open
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._finalizer = weakref.finalize(self, _hang_up, self._socket, self._process)

    def send(self, order: Mapping[str, Any]) -> None:
        """Give an order.

        A launcher that is gone is noticed by the next `messages()`.
        """
        with suppress(OSError):
            self._socket.sendall(json.dumps(order).encode() + b"\n")

    def next_message(self) -> dict[str, str]:
        """The next thing that the launcher says; waits for it."""
        while b"\n" not in self._buffer:
            received = self._receive()
            if not received:
                self.gone = True
                raise SchedulerError(
                    "the process that starts the jobs has ended unexpectedly; jobs that it had"
                    " started go on"
                )
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, str] = json.loads(line)
        return message

    def messages(self) -> Iterable[dict[str, str]]:
        """All that the launcher has said so far."""
        while b"\n" in self._buffer or self._more():
            if b"\n" in self._buffer:
                yield self.next_message()

    def _more(self) -> bool:
        self._socket.setblocking(False)
        try:
            received = self._receive()
        except BlockingIOError:
            return False
        finally:
            self._socket.setblocking(True)
        self._buffer += received
        self.gone = not received
        return bool(received)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def close(self) -> None:
        """Hang up. The launcher ends when its last job has."""
        self._finalizer()


def _hang_up(wire: socket.socket, process: subprocess.Popen[bytes]) -> None:
    wire.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5)
