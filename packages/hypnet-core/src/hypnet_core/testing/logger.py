"""Checks for loggers.

Hints: `files` (globs of the files that it writes in a run's directory), `needs` (a
module without which the checks are skipped), `options` (options to check it under; the
word `DIRECTORY` in a text is replaced by the check's directory).
"""

from __future__ import annotations

import importlib.util
import struct
import zlib
from typing import Any

from hypnet_core.protocols import Logger
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

CONFIG = {"train": {"lr": 0.1, "clip": None}, "hidden": [5, 5], "name": "x", "flag": True}


def _built(subject: Subject) -> Logger:
    module = subject.hint("needs")
    if module is not None and importlib.util.find_spec(module) is None:
        raise NotApplicableError(f"the extra {module!r} is not installed")
    options: dict[str, Any] = {
        name: value.replace("DIRECTORY", str(subject.directory))
        if isinstance(value, str)
        else value
        for name, value in subject.hint("options", {}).items()
    }
    logger: Logger = subject.build(**{**options, **subject.options})
    return logger


def _png() -> bytes:
    """A picture of one white dot."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\xff"))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def _begin(subject: Subject, logger: Logger, step: int = 0) -> None:
    run = subject.directory / "run"
    run.mkdir(exist_ok=True)
    logger.begin(run, experiment="check", config=CONFIG, step=step)


def _content(subject: Subject) -> dict[str, bytes]:
    run = subject.directory / "run"
    return {
        str(path): path.read_bytes()
        for pattern in subject.hint("files", [])
        for path in sorted(run.glob(pattern))
    }


def it_has_the_methods_of_a_logger(subject: Subject) -> None:
    """It has the methods of the protocol `Logger`."""
    expect(isinstance(_built(subject), Logger), "it lacks begin, log, image or end")


def building_it_writes_nothing(subject: Subject) -> None:
    """Nothing is written before `begin`, as `--dry-run` needs."""
    _built(subject)
    found = sorted(path.name for path in subject.directory.iterdir())
    expect(not found, f"it wrote {found}")


def a_whole_run_is_recorded(subject: Subject) -> None:
    """Metrics with and without a task, an image and results are taken in order."""
    logger = _built(subject)
    _begin(subject, logger)
    logger.log(1, {"loss": 0.5}, task=0)
    logger.log(1, {"mean": 2.0, "nan": float("nan")})
    logger.log(2, {})
    logger.image(2, "scores", _png())
    logger.end(2, {"accuracy": 90.0, "tasks": ["a"], "note": "text", "nothing": None})
    if subject.hint("files"):
        expect(_content(subject), "it wrote none of its files")


def a_run_that_stopped_early_is_ended_and_resumed(subject: Subject) -> None:
    """A run without results is ended; another object goes on in the same directory."""
    logger = _built(subject)
    _begin(subject, logger)
    logger.log(1, {"loss": 0.5}, task=0)
    logger.log(2, {"loss": 0.4}, task=0)
    logger.end(2, None)
    again = _built(subject)
    _begin(subject, again, step=1)
    again.log(2, {"loss": 0.4}, task=0)
    again.end(2, {"accuracy": 1.0})


def a_run_may_end_at_once(subject: Subject) -> None:
    """A run that ends before its first metric is no error."""
    logger = _built(subject)
    _begin(subject, logger)
    logger.end(0, None)


CHECKS: tuple[Check, ...] = (
    it_has_the_methods_of_a_logger,
    building_it_writes_nothing,
    a_whole_run_is_recorded,
    a_run_that_stopped_early_is_ended_and_resumed,
    a_run_may_end_at_once,
)
