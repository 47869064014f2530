"""How busy GPUs are, as NVML says, and whether one more job may start there.

Only the standard library is imported before it is asked.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ["Gauge", "Limits", "UsageError"]


class UsageError(Exception):
    """NVML does not tell."""


class Limits(NamedTuple):
    """Up to which use of a GPU another job may start on it.

    Attributes:
        memory: Largest part of its memory that may be in use by whomever, from 0 to 1;
            any if `None`.
        load: Largest part of the latest second or so that it may have worked, from 0 to
            1; any if `None`.
        pause: Seconds after the start of a job in which no other starts there: until
            then it has not taken what it needs.
    """

    memory: float | None = None
    load: float | None = None
    pause: float = 0.0


class Gauge:
    """What NVML says about GPUs.

    Args:
        limits: What is asked about.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def allows(self, name: str) -> bool:
        """Whether a job may start on a GPU; never on one that cannot be asked just now."""
        try:
            self.check(name)
        except _BusyError:
            return False
        except UsageError:
            self.__dict__.pop("_nvml", None)  # a driver that was reloaded wants to be greeted again
            return False
        return True

    def tells(self, name: str) -> None:
        """Make sure that what the limits are about can be known.

        Raises:
            UsageError: It cannot; why, in one line.
        """
        try:
            self.check(name)
        except _BusyError:
            return

    def check(self, name: str) -> None:
        """Compare a GPU with the limits.

        Raises:
            UsageError: It is too busy, or does not tell how busy it is.
        """
        if self.limits.memory is None and self.limits.load is None:
            return
        nvml = self._nvml
        try:
            by_id = name.startswith(("GPU-", "MIG-"))
            device = (
                nvml.nvmlDeviceGetHandleByUUID(name)
                if by_id
                else nvml.nvmlDeviceGetHandleByIndex(int(name))
            )
            busy = False
            if self.limits.memory is not None:
                memory = nvml.nvmlDeviceGetMemoryInfo(device)
                busy |= not _part(memory.used, memory.total) <= self.limits.memory
            if self.limits.load is not None:
                busy |= (
                    not _part(nvml.nvmlDeviceGetUtilizationRates(device).gpu, 100)
                    <= self.limits.load
                )
        except (nvml.NVMLError, ValueError, TypeError) as error:
            raise UsageError(f"NVML does not tell how busy GPU {name} is: {error}") from None
        if busy:
            raise _BusyError

    @cached_property
    def _nvml(self) -> Any:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            raise UsageError(
                "the package pynvml is missing: pip install 'hypnet-hpsearch[gpu]'"
            ) from None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise UsageError(f"NVML finds no GPU here: {error}") from None
        return nvml


class _BusyError(UsageError):
    """It is too busy."""


def _part(used: float, total: float) -> float:
    """Which part is in use.

    Raises:
        ValueError: The numbers are impossible.
    """
    if not (total > 0 and 0 <= used <= total):
        raise ValueError(f"{used} of {total} is in use")
    return used / total
