"""The driver's end of the connection to its launcher."""

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
    """A running launcher, and the connection to it.

    Args:
        **settings: Settings of the launcher's `main()`, without the socket.

    Attributes:
        gone: Whether the launcher has closed the connection.
    """

    def __init__(self, **settings: Any) -> None:
        # A closed end tells both sides that the other is gone, however it died.
        self._socket, theirs = socket.socketpair()
        self._buffer = b""
        self.gone = False
        settings["socket"] = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # modules in the working directory must not shadow installed ones
                    "-m",
                    "hypnet_hpsearch.schedulers.local.launcher",
                    json.dumps(settings),
                ],
                stdin=subprocess.DEVNULL,
                # It outlives the driver, whose pipes it must not keep open.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._finalizer = weakref.finalize(self, _hang_up, self._socket, self._process)

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order.

        If the launcher is gone, the next `messages()` notices.
        """
        with suppress(OSError):
            self._socket.sendall(json.dumps(order).encode() + b"\n")

    def next_message(self) -> dict[str, str]:
        """The launcher's next message; waits for it."""
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
        """All messages of the launcher so far."""
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
        """Close the connection. The launcher ends when its last job has."""
        self._finalizer()


def _hang_up(wire: socket.socket, process: subprocess.Popen[bytes]) -> None:
    wire.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5)
