"""The frame of the conformance kit: what a check finds, and how a stranger runs it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from hypnet_core.errors import UsageError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import Entry, Registry
from hypnet_core.testing import (
    NotApplicableError,
    Outcome,
    Subject,
    conformance,
    expect,
    run_checks,
    suite_for,
)

CODE = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.dataset("data", "stranger_kit:data", "Numbers."),
            Component.dataset("other", "stranger_kit:Other", "Numbers.", patience=5),
        ]

    def data(*, size: int = 3):
        return list(range(size))

    class Other:
        def __init__(self, *, size: int = 3):
            self.size = size
"""


@pytest.fixture
def entry(register: Callable[..., Registry]) -> Entry:
    return register(kit=CODE).get("dataset", "data")


def holds(subject: Subject) -> None:
    """It has three numbers.

    More about it.
    """
    expect(len(subject.build()) == 3, f"it has {len(subject.build())}")


def is_about_others(subject: Subject) -> None:
    """It applies."""
    raise NotApplicableError("it is no other")


def breaks(subject: Subject) -> None:
    raise KeyError("lost")


def writes(subject: Subject) -> None:
    """The directory is empty."""
    expect(not list(subject.directory.iterdir()), "something is there already")
    (subject.directory / "file").touch()


def test_each_check_has_its_result(entry: Entry) -> None:
    results = run_checks(entry, checks=[holds, is_about_others, breaks])
    assert [(r.check, r.claim, r.outcome, r.message) for r in results] == [
        ("holds", "It has three numbers.", Outcome.PASSED, ""),
        ("is_about_others", "It applies.", Outcome.SKIPPED, "it is no other"),
        ("breaks", "breaks", Outcome.FAILED, "KeyError: 'lost'"),
    ]
    assert "in breaks" in results[2].traceback
    assert results[0].traceback == results[1].traceback == ""


def test_a_check_uses_the_options_that_were_given(entry: Entry) -> None:
    (result,) = run_checks(entry, {"size": 4}, checks=[holds])
    assert (result.outcome, result.message) == (Outcome.FAILED, "it has 4")
    (wrong,) = run_checks(entry, {"siz": 4}, checks=[holds])
    assert wrong.message == "siz: there is no such option; did you mean 'size'?"


def test_each_check_has_a_directory_of_its_own(entry: Entry) -> None:
    assert [result.outcome for result in run_checks(entry, checks=[writes, writes])] == [
        Outcome.PASSED
    ] * 2


def test_ctrl_c_is_not_a_finding(entry: Entry) -> None:
    def interrupted(subject: Subject) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks(entry, checks=[interrupted])


def test_a_component_gives_hints_about_itself(
    register: Callable[..., Registry], tmp_path: Path
) -> None:
    subject = Subject(register(kit=CODE).get("dataset", "other"), tmp_path)
    assert (subject.hint("patience"), subject.hint("unknown", 3), subject.kind) == (
        5,
        3,
        Kind.DATASET,
    )
    plain = Subject(register().get("dataset", "data"), tmp_path)
    assert plain.hint("patience", 60) == 60


def test_hints_for_the_kit_are_not_listed_to_users(register: Callable[..., Registry]) -> None:
    component = register(kit=CODE).get("dataset", "other").component
    assert dict(component.conformance) == {"patience": 5}
    assert "conformance" not in component.model_dump()


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_suite_whose_checks_say_what_they_claim(kind: Kind) -> None:
    checks = suite_for(kind)
    assert len(checks) > 8
    assert len({check.__name__ for check in checks}) == len(checks)
    for check in checks:
        claim = (check.__doc__ or "").splitlines()[0]
        assert claim.endswith("."), check.__name__


def test_a_plugin_without_components_cannot_be_tested(register: Callable[..., Registry]) -> None:
    register(kit=CODE)
    with pytest.raises(UsageError, match="the plugin 'kti' offers no component"):
        conformance("kti")
    with pytest.raises(UsageError, match=r"offers no component 'x\*'"):
        conformance("kit", "x*")


def test_pytest_shows_every_check_of_every_set_of_options(
    install: Callable[..., Path], site: Path, tmp_path: Path
) -> None:
    install("kit", CODE)
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            from hypnet_core.testing import conformance

            sizes = [{"size": 1}, {"size": 2}]
            test_conformance = conformance("kit", "data", options={"data": sizes})
        """)
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--collect-only",
            "-p",
            "no:cacheprovider",
            str(tmp_path / "test_it.py"),
        ],
        env={"PYTHONPATH": str(site), "HYPNET_PLUGINS": "kit"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test_conformance[dataset-data-0-it_can_be_imported]" in done.stdout
    assert "test_conformance[dataset-data-1-options_survive_json]" in done.stdout
