"""Interleaved timing of two or more sides in one process, and peak memory in a child of its own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Side = Callable[[], object]


BLOCK = 0.01  # seconds that a turn takes at least: a single short call would be timed with its code cold in the processor's caches
MOST = 100  # calls per turn


def interleaved(
    sides: Mapping[str, Side], *, rounds: int = 15, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds per call: the sides take turns, in alternating order, so that what disturbs the machine disturbs all.

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
    """How many times faster `fast` is than `slow`: ratio of medians, and the quartiles of the ratios round by round."""
    pairs = sorted(a / b for a, b in zip(times[slow], times[fast], strict=True))
    quarter = len(pairs) // 4
    return median_ms(times[slow]) / median_ms(times[fast]), pairs[quarter], pairs[-1 - quarter]


def peak_memory(work: Callable[..., object], *arguments: Any) -> float:
    """MiB that what `work(*arguments)` returns adds, when it is called, to the resident memory of a new process."""
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
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")  # the peak so far is that of the preparations
    before = _status("VmRSS")
    run()
    sender.send((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) for line in file if line.startswith(key))
