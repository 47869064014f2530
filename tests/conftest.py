"""Settings for all tests, and the command run inside the test's process.

One thread for torch: on a busy machine two threads stall small operations, and the
suite runs in several processes anyway. And no test fails because the machine was slow
while hypothesis drew its examples.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hypnet_core.cli import main
from hypnet_core.plugins import registry

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

settings.register_profile("hypnet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hypnet")

InProcess = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Processes that tests start heed Ctrl-C.

    A shell makes its background processes ignore it, and their children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def in_process() -> InProcess:
    """Runs `hypnet` inside this process: the same entry point, no start of Python.

    Environment variables, working directory, path, streams, loggers, signal handlers
    and, where other plugins are asked for, the registry are those of the call, and
    restored after it. That a real process prints the same is tested once for each
    command.
    """

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        path: Sequence[Path] = (),
        **variables: str | None,
    ) -> subprocess.CompletedProcess[str]:
        words = [str(part) for part in arguments]
        with (
            pytest.MonkeyPatch.context() as patch,
            _fresh_registry(path) if path or "HYPNET_PLUGINS" in variables else _nothing(),
            _restored_logging(),
            _restored_signals(),
        ):
            for name, value in variables.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            for directory in path:
                patch.syspath_prepend(str(directory))
            if cwd is not None:
                patch.chdir(cwd)
            code, out, err = _call(words)
        return subprocess.CompletedProcess(["hypnet", *words], code, out, err)

    return run


def _call(words: list[str]) -> tuple[int, str, str]:
    raw_out, raw_err = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(raw, "utf-8", write_through=True) for raw in (raw_out, raw_err))
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    texts = [raw.getvalue().decode("utf-8") for raw in (raw_out, raw_err)]
    return code, texts[0], texts[1]


_nothing = contextlib.nullcontext


@contextlib.contextmanager
def _fresh_registry(path: Sequence[Path]) -> Iterator[None]:
    """Plugins are discovered anew, and modules below `path` are imported anew."""
    registry.cache_clear()
    importlib.invalidate_caches()
    try:
        yield
    finally:
        registry.cache_clear()
        roots = tuple(f"{directory}{os.sep}" for directory in path)
        for name, module in list(sys.modules.items()):
            if roots and str(getattr(module, "__file__", None)).startswith(roots):
                del sys.modules[name]


@contextlib.contextmanager
def _restored_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "hypnet")]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    try:
        yield
    finally:
        for one, (level, propagate, handlers) in zip(loggers, before, strict=True):
            one.setLevel(level)
            one.propagate, one.handlers = propagate, handlers


@contextlib.contextmanager
def _restored_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
