"""Interleaved timing, peak memory in a child process, and the predecessor."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hypnet_core.import_strings import import_object

Side = Callable[[], object]


# Seconds that a turn takes at least: a single short call would be timed with its code
# cold in the processor's caches.
BLOCK = 0.01
MOST = 100  # calls per turn


def predecessor(target: str) -> Any:
    """Import an object of hypnettorch, which predates numpy 1.24 and needs `np.int`."""
    vars(np)["int"] = int
    return import_object(target)


def interleaved(
    sides: Mapping[str, Side], *, rounds: int = 15, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds per call: the sides take turns, so that disturbances affect all of them.

    A turn is one call, or as many short ones as take 10 ms together; their mean is one
    measurement.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    calls = dict.fromkeys(sides, 1)
    for number in range(warm_up):
        for name, side in sides.items():
            once = _seconds(side, 1)
            if number == warm_up - 1:
                calls[name] = max(1, min(MOST, round(BLOCK / once)))
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            times[name].append(_seconds(sides[name], calls[name]))
    return times


def _seconds(side: Side, calls: int) -> float:
    """Mean of some calls."""
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


def median_ms(times: list[float]) -> float:
    """Median in milliseconds."""
    return 1e3 * statistics.median(times)


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> tuple[float, float, float]:
    """Ratio of the medians of `slow` and `fast`, and the quartiles over rounds."""
    pairs = sorted(a / b for a, b in zip(times[slow], times[fast], strict=True))
    quarter = len(pairs) // 4
    return median_ms(times[slow]) / median_ms(times[fast]), pairs[quarter], pairs[-1 - quarter]


def peak_memory(work: Callable[..., object], *arguments: Any) -> float:
    """Peak memory in MiB of calling `work(*arguments)()` in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(sender, work, arguments))
    process.start()
    sender.close()
    peak: float = receiver.recv()
    process.join()
    return peak


def _report_peak(
    sender: Any, work: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]
) -> None:
    run = work(*arguments)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the preparations freed goes back to the system
    with Path("/proc/self/clear_refs").open("w") as file:
        file.write("5")  # the peak so far is that of the preparations
    before = _status("VmRSS")
    run()
    sender.send((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))
