"""Current use of GPUs according to NVML, and whether another job may start.

At import time only the standard library is needed.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ["Gauge", "GaugeError", "Limits"]


class GaugeError(Exception):
    """NVML cannot measure the use of a GPU."""


class Limits(NamedTuple):
    """Limits of the use of a GPU, up to which another job may start on it.

    Attributes:
        memory: Largest fraction of its memory that may be in use, by any process; no
            limit if `None`.
        load: Largest fraction of the latest sampling period, about a second, in which
            it may have been busy; no limit if `None`.
        pause: Seconds after the start of a job in which no other starts there: until
            then it has not allocated what it needs.
    """

    memory: float | None = None
    load: float | None = None
    pause: float = 0.0


class Gauge:
    """Compares the use of GPUs with limits.

    Args:
        limits: The limits.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def allows(self, name: str) -> bool:
        """Whether a job may start on a GPU; not on one that cannot be measured."""
        try:
            self.check(name)
        except _BusyError:
            return False
        except GaugeError:
            self.__dict__.pop("_nvml", None)  # NVML must be initialised again after a reload
            return False
        return True

    def check_measurable(self, name: str) -> None:
        """Check that NVML can measure what is limited.

        Raises:
            GaugeError: It cannot; the message says why.
        """
        try:
            self.check(name)
        except _BusyError:
            return

    def check(self, name: str) -> None:
        """Compare the use of a GPU with the limits.

        Raises:
            GaugeError: It is too busy, or cannot be measured.
        """
        if self.limits.memory is None and self.limits.load is None:
            return
        nvml = self._nvml
        try:
            # NVML has separate calls for unique ids and for numbers.
            by_id = name.startswith(("GPU-", "MIG-"))
            device = (
                nvml.nvmlDeviceGetHandleByUUID(name)
                if by_id
                else nvml.nvmlDeviceGetHandleByIndex(int(name))
            )
            # Written so that NaN counts as busy.
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
            raise GaugeError(f"NVML cannot measure the use of GPU {name}: {error}") from None
        if busy:
            raise _BusyError

    @cached_property
    def _nvml(self) -> Any:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            raise GaugeError(
                "the package pynvml is missing: pip install 'hypnet-hpsearch[gpu]'"
            ) from None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise GaugeError(f"NVML finds no GPU here: {error}") from None
        return nvml


class _BusyError(GaugeError):
    """The GPU is too busy."""


def _part(used: float, total: float) -> float:
    """The fraction that is in use.

    Raises:
        ValueError: The numbers are impossible.
    """
    if not (total > 0 and 0 <= used <= total):
        raise ValueError(f"{used} of {total} is in use")
    return used / total
