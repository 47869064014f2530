"""Signals that wait until a request has its answer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["signals_held"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP while a block runs; deliver them after it.

    A handler that raises between a request and its answer would lose the answer: a job
    would run that nobody knows of. Blocks may be nested. Only handlers of Python wait;
    the default action of a signal, which ends the process, does not. Outside the main
    thread, which alone receives signals, the block just runs.

    Example:
        >>> with signals_held():
        ...     done = "the whole block"
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    before: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}
    try:
        # Blocked for the moment of the exchange, which a signal must not interrupt.
        # Not for the whole block: child processes would inherit that.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, hold)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield
    finally:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in dict.fromkeys(map(signal.Signals, held)):
            before[number](number, None)
