"""The frame of the conformance kit: subjects, checks, suites and results.

Each kind has a suite of checks in a module of its own.

A *check* is a function that takes a `Subject`, has a docstring whose first line says in
one sentence what must hold, and raises `AssertionError` (or a `HypnetError`, or
anything else) if it does not. A *suite* is a module `hypnet_core.testing.<kind>` with a
tuple `CHECKS` of them.
"""

from __future__ import annotations

import importlib
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

from hypnet_core.errors import HypnetError, error_line
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.containment import output_to_stderr, story_of
from hypnet_core.plugins.registry import Entry


class NotApplicableError(Exception):
    """Raised by a check that does not apply to its subject; the message says why."""


@dataclass(frozen=True)
class Subject:
    """One component under test, with the options that it is tested under.

    Attributes:
        entry: The component.
        directory: An empty directory that a check may write to.
        options: Options to build it with; its defaults otherwise.
        hints: Hints that replace those of the component.
    """

    entry: Entry
    directory: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The component's kind."""
        return self.entry.kind

    def build(self, *positional: Any, **options: Any) -> Any:
        """Build the component from the subject's options and further ones.

        Args:
            *positional: What the caller supplies to a component of this kind.
            **options: Further options; they win.

        Raises:
            ConfigError: An option is unknown or impossible.
        """
        return self.entry.build(*positional, **{**self.options, **options})

    def hint(self, name: str, default: Any = None) -> Any:
        """A hint that the component was registered with, or `default`.

        A suite says in its module's docstring which hints it knows, for instance the
        input shapes of a mainnet.
        """
        return {**self.entry.component.conformance, **self.hints}.get(name, default)


Check: TypeAlias = Callable[[Subject], None]


class Outcome(StrEnum):
    """Result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class CheckResult(BaseModel):
    """The result of one check.

    Attributes:
        check: Name of the check's function.
        claim: What must hold, in one sentence.
        outcome: Whether it holds; `skipped` if it does not apply.
        message: Why not, in one line.
        traceback: Where, if it failed.
        seconds: How long it took.
    """

    model_config = ConfigDict(frozen=True)

    check: str
    claim: str
    outcome: Outcome
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0


def expect(condition: object, message: str) -> None:
    """Fail the check with `message` unless the condition is true.

    Raises:
        AssertionError: It is not.
    """
    if not condition:
        raise AssertionError(message)


def suite_for(kind: Kind | str) -> tuple[Check, ...]:
    """All checks for a kind: the general ones, then its own.

    The suite of a kind without options of its own has a tuple `GENERAL` of those that
    apply.
    """
    module = importlib.import_module(f"hypnet_core.testing.{Kind(kind).value}")
    general = importlib.import_module("hypnet_core.testing.general")
    checks: tuple[Check, ...] = (*getattr(module, "GENERAL", general.CHECKS), *module.CHECKS)
    return checks


def claim_of(check: Check) -> str:
    """The claim of a check: the first line of its docstring."""
    text = inspect.getdoc(check) or check.__name__.replace("_", " ")
    return text.splitlines()[0]


def run_check(check: Check, subject: Subject) -> CheckResult:
    """Run one check and catch everything that it raises but Ctrl-C."""
    started = time.perf_counter()
    outcome, message, story = Outcome.PASSED, "", ""
    try:
        with output_to_stderr():
            check(subject)
    except NotApplicableError as reason:
        outcome, message = Outcome.SKIPPED, str(reason)
    except KeyboardInterrupt:
        raise
    # A third-party component may raise anything, and that fails the check.
    except BaseException as error:  # noqa: BLE001
        outcome, message, story = (
            Outcome.FAILED,
            error_line(error, AssertionError, HypnetError, limit=10_000),
            story_of(error),
        )
    return CheckResult(
        check=check.__name__,
        claim=claim_of(check),
        outcome=outcome,
        message=message,
        traceback=story,
        seconds=time.perf_counter() - started,
    )


def run_checks(
    entry: Entry, options: Mapping[str, Any] | None = None, *, checks: Sequence[Check] | None = None
) -> list[CheckResult]:
    """Run the suite of a component's kind and return all results."""
    return list(each_check(entry, options, checks=checks))


def each_check(
    entry: Entry,
    options: Mapping[str, Any] | None = None,
    *,
    checks: Sequence[Check] | None = None,
    hints: Mapping[str, Any] | None = None,
) -> Iterator[CheckResult]:
    """Run the suite of a component's kind, each check in a scratch directory.

    Args:
        entry: The component.
        options: Options to build it with; its defaults otherwise.
        checks: Checks to run instead of the whole suite.
        hints: Hints that replace those of the component.

    Yields:
        Each result as soon as it is known.
    """
    for check in suite_for(entry.kind) if checks is None else checks:
        # A directory per check: leftovers of one must not help the next.
        with tempfile.TemporaryDirectory(prefix="hypnet-check-") as directory:
            subject = Subject(entry, Path(directory), dict(options or {}), dict(hints or {}))
            yield run_check(check, subject)
