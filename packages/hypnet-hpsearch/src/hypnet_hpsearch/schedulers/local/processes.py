"""Identities of processes that stay valid when the system reuses a process id.

A process id alone means nothing once its process has ended, because the system reuses
the number. Together with the machine, its boot and the start time it identifies one
process uniquely.
"""

from __future__ import annotations

import functools
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """The identity of a process; as text `host:boot:pid:start`.

    Attributes:
        host: Name of the machine.
        boot: The current boot of the machine, if the system tells it.
        pid: Process id.
        start: Start time of the process, in a unit of the system.
    """

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a process of this machine; `None` if it does not exist."""
        start = _start(pid)
        return None if start is None else cls(os.uname().nodename, _boot(), pid, start)

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """The identity that `str()` wrote; `None` if the text is something else."""
        parts = text.split(":", 3)
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    @property
    def alive(self) -> bool:
        """Whether this process is running on this machine now."""
        return Identity.of(self.pid) == self

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless it has ended."""
        if self.alive:
            signal_group(self.pid, number)

    def __str__(self) -> str:
        return f"{self.host}:{self.boot}:{self.pid}:{self.start}"


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and the group that it leads, if they still exist."""
    # The group may not exist yet, or no longer have its leader.
    for send in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            send(pid, number)


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """The start time of a process; `None` if it has ended.

    A process whose parent has not collected it yet has ended, too.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _start_from_ps(pid)
    fields = text.rpartition(")")[2].split()  # the name in parentheses may contain anything
    return None if fields[0] in "ZX" else fields[19]


def _start_from_ps(pid: int) -> str | None:
    import subprocess

    found = subprocess.run(
        ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    state, _, start = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()
