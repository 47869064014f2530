"""What programs print on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def on_a_terminal(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    width: int = 80,
    with_errors: bool = False,
) -> str:
    """The output on a terminal of a program that succeeds.

    Args:
        command: The program.
        env: Its environment.
        width: Width of the terminal.
        with_errors: Whether stderr is the terminal, too; otherwise it stays empty.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(
        command,
        env=env,
        stdin=follower,
        stdout=follower,
        stderr=follower if with_errors else subprocess.PIPE,
    ) as process:
        os.close(follower)
        text = b""
        while part := _read(leader):
            text += part
        os.close(leader)
        if process.stderr is not None:
            assert process.stderr.read() == b""
    assert process.returncode == 0
    return text.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # Linux says so when nobody holds the other end any more
        return b""
