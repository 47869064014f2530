"""Detection of GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["installed_gpus", "locks_directory", "visible_gpus"]

_TOOL = "nvidia-smi"


def visible_gpus() -> tuple[str, ...]:
    """Ids of the GPUs that jobs may use.

    These are those of `CUDA_VISIBLE_DEVICES`, or else all that are installed.
    """
    # An empty variable means no GPU at all.
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip() not in {"", "-1"})
    return installed_gpus()


def installed_gpus() -> tuple[str, ...]:
    """Ids `"0"`, `"1"`, … of the GPUs that `nvidia-smi`, if present, lists."""
    tool = shutil.which(_TOOL)
    if tool is None:
        return ()
    try:
        found = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in found.stdout.splitlines())
    return tuple(str(number) for number in range(count)) if found.returncode == 0 else ()


def locks_directory() -> Path:
    """Directory in which this user's jobs lock the GPUs that they use."""
    return Path(tempfile.gettempdir(), f"hypnet-gpus-{os.getuid()}")
