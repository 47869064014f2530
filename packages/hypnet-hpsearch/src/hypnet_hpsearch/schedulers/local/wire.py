"""The driver's end of the connection to its launcher."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError

__all__ = ["LauncherProcess"]

_PATIENCE = 20.0  # seconds to wait for an answer; a launcher that runs needs milliseconds
_PING = 5.0  # seconds between two checks that the launcher runs


class LauncherProcess:
    """A running launcher, and the connection to it.

    No call waits for a launcher that is stopped: orders are kept until it reads them.

    Args:
        **settings: Settings of the launcher's `main()`, without the socket.

    Attributes:
        gone: Whether the launcher has closed the connection.
    """

    def __init__(self, **settings: Any) -> None:
        # A closed end tells both sides that the other is gone, however it died.
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._incoming = self._outgoing = b""
        self._asked: float | None = None  # when the launcher was asked whether it runs
        self._next_ping = 0.0
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
        self._outgoing += json.dumps(order).encode() + b"\n"
        self._flush()

    def messages(self) -> Iterable[dict[str, Any]]:
        """All messages of the launcher so far."""
        self._flush()
        self._receive()
        *lines, self._incoming = self._incoming.split(b"\n")
        for message in map(json.loads, lines):
            if message["say"] == "running":
                self._asked = None
            else:
                yield message

    def wait(self, end: float) -> None:
        """Wait until there is something to read, or to be sent.

        Args:
            end: The latest time, on the monotonic clock.

        Raises:
            SchedulerError: The launcher has ended.
            SchedulerUnavailableError: It is that late.
        """
        if self.gone:
            raise SchedulerError(
                "the process that starts the jobs has ended unexpectedly; jobs that it had started"
                " go on"
            )
        left = end - time.monotonic()
        if left <= 0:
            raise SchedulerUnavailableError("the process that starts the jobs does not answer")
        select.select([self._socket], [self._socket] if self._outgoing else [], [], left)

    def deadline(self) -> float:
        """When an answer to an order that is sent now is overdue."""
        return time.monotonic() + _PATIENCE

    def check(self) -> None:
        """Check that the launcher still reads its orders; call it often.

        Raises:
            SchedulerUnavailableError: It has not for a while.
        """
        now = time.monotonic()
        if self._asked is not None and now - self._asked > _PATIENCE:
            raise SchedulerUnavailableError("the process that starts the jobs does not answer")
        if self._asked is None and now >= self._next_ping:
            self._asked, self._next_ping = now, now + _PING
            self.send({"do": "ping"})

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except BlockingIOError:  # the rest has to wait
            return
        except OSError:  # it is gone, as `_receive` notices
            self._outgoing = b""

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while received := self._read():
                self._incoming += received
            self.gone = True

    def _read(self) -> bytes:
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
