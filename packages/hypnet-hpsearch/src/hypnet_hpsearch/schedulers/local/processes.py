"""Which process is which: identities that survive the number's being given to another process.

A process id alone means nothing once the process has ended: the system hands the number
out again. Together with the machine, its boot and the moment of the start it names one
process for ever.
"""

from __future__ import annotations

import functools
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """One process, for ever; as text `host:boot:pid:start`.

    Attributes:
        host: Name of the machine.
        boot: The machine's present boot, where the system tells it.
        pid: Process id.
        start: When it started, in whatever unit the system has.
    """

    host: str
    boot: str
    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a process of this machine, or `None` if there is no such process."""
        start = _start(pid)
        return None if start is None else cls(os.uname().nodename, _boot(), pid, start)

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """The identity that `str()` wrote, or `None` if the text is something else."""
        parts = text.split(":", 3)
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    @property
    def alive(self) -> bool:
        """Whether that very process runs on this machine now."""
        return Identity.of(self.pid) == self

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and the group that it leads; nothing happens if it has ended."""
        if self.alive:
            signal_group(self.pid, number)

    def __str__(self) -> str:
        return f"{self.host}:{self.boot}:{self.pid}:{self.start}"


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and the group that it leads, if they are still there."""
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
    """The start time of a process; `None` if it has ended, even if nobody has collected it yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # it is asked often
            text = file.read().decode(errors="replace")
    except OSError:
        return None if os.path.exists("/proc/self/stat") else _start_from_ps(pid)  # noqa: PTH110
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]


def _start_from_ps(pid: int) -> str | None:
    import subprocess

    found = subprocess.run(  # noqa: S603  # fixed words and a number
        ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    state, _, start = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()
