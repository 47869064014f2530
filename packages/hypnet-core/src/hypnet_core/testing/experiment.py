"""Checks for experiments.

Hints: `quick` (a list of overrides, `["key=value", …]`, with which a run takes a few
seconds). Without it nothing is run.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from hypnet_core.errors import RunError
from hypnet_core.protocols import Experiment, Prepares, ReportsResults
from hypnet_core.runs.config import load_config
from hypnet_core.runs.experiment import execute
from hypnet_core.runs.run import Run
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect


def _quick(subject: Subject) -> tuple[Experiment, BaseModel]:
    experiment: Experiment = subject.build()
    overrides = subject.hint("quick")
    if overrides is None:
        raise NotApplicableError("it gives no `quick` overrides to run it with")
    return experiment, load_config(experiment.Config, overrides=overrides)


def it_fulfils_the_protocol(subject: Subject) -> None:
    """It has a `Config` and a method `run`."""
    experiment = subject.build()
    expect(
        isinstance(experiment, Experiment),
        f"{type(experiment).__name__} does not fulfil hypnet_core.protocols.Experiment",
    )
    expect(
        isinstance(experiment.Config, type) and issubclass(experiment.Config, BaseModel),
        "its Config is not a pydantic model",
    )


def its_defaults_are_a_configuration(subject: Subject) -> None:
    """It has defaults for all options, and its configuration survives JSON."""
    config = load_config(subject.build().Config)
    text = config.model_dump_json()
    again = type(config).model_validate_json(text)
    expect(
        again.model_dump_json() == text,
        "the configuration changes when it is written as JSON and read back",
    )


def a_run_ends_with_a_summary(subject: Subject) -> None:
    """A run logs metrics and ends with a non-empty summary in `summary.json`."""
    experiment, config = _quick(subject)
    run = Run.create(subject.directory / "run", experiment=subject.entry.name, config=config)
    summary = execute(experiment, config, run)
    expect(summary, "the summary is empty")
    expect(
        run.summary() == json.loads(json.dumps(summary)),
        "summary.json is not what the experiment returned",
    )
    expect(any(True for _ in run.metrics()), "no metrics were logged")


def it_reports_its_results(subject: Subject) -> None:
    """Its own results for the end of `hypnet run` can be printed."""
    experiment, config = _quick(subject)
    if not isinstance(experiment, ReportsResults):
        raise NotApplicableError("it leaves the report to `hypnet run`")
    run = Run.create(subject.directory / "run", experiment=subject.entry.name, config=config)
    text = io.StringIO()
    Console(file=text, width=200).print(experiment.report(execute(experiment, config, run)))
    expect(text.getvalue().strip(), "the report is empty")


def the_same_configuration_gives_the_same_results(subject: Subject) -> None:
    """Two runs of one configuration end with the same summary."""
    experiment, config = _quick(subject)
    runs = [
        Run.create(subject.directory / name, experiment=subject.entry.name, config=config)
        for name in ("one", "two")
    ]
    first, second = (execute(experiment, config, run) for run in runs)
    expect(first == second, "the summaries of two runs with one configuration differ")


def preparing_it_changes_no_result(subject: Subject) -> None:
    """A run that was prepared, as `hypnet run` does, ends like one that was not."""
    experiment, config = _quick(subject)
    if not isinstance(experiment, Prepares):
        raise NotApplicableError("it has nothing to prepare")
    runs = [
        Run.create(subject.directory / name, experiment=subject.entry.name, config=config)
        for name in ("plain", "prepared")
    ]
    expected = execute(experiment, config, runs[0])
    notes: Sequence[object] = experiment.prepare(config)
    expect(
        all(isinstance(note, str) and "\n" not in note for note in notes),
        f"its remarks are not lines of text: {notes!r}",
    )
    expect(execute(experiment, config, runs[1]) == expected, "the summaries differ")


def a_resumed_run_ends_like_one_that_never_stopped(subject: Subject) -> None:
    """A run resumed from its first checkpoint gives the same summary and metrics."""
    experiment, config = _quick(subject)
    whole = Run.create(subject.directory / "whole", experiment=subject.entry.name, config=config)
    expected = execute(experiment, config, whole)
    broken = _StopsAfterCheckpoint.create(
        subject.directory / "broken", experiment=subject.entry.name, config=config
    )
    try:
        execute(experiment, config, broken)
    except RunError as error:
        if str(error) != _STOP:
            raise
    else:
        raise NotApplicableError("it writes no checkpoint")
    resumed = Run.resume(broken.path)
    expect(execute(experiment, config, resumed) == expected, "the summaries differ")
    expect(list(resumed.metrics()) == list(whole.metrics()), "the metrics differ")


_STOP = "stopped by the check"


class _StopsAfterCheckpoint(Run):
    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        raise RunError(_STOP)


CHECKS: tuple[Check, ...] = (
    it_fulfils_the_protocol,
    its_defaults_are_a_configuration,
    a_run_ends_with_a_summary,
    it_reports_its_results,
    the_same_configuration_gives_the_same_results,
    preparing_it_changes_no_result,
    a_resumed_run_ends_like_one_that_never_stopped,
)
