"""`hypnet run`: configure and run an experiment in its own directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from hypnet_core.cli.completion import complete_name, complete_override
from hypnet_core.cli.directories import check_directory, new_directory
from hypnet_core.cli.output import Json, print_json, print_lines, print_rich
from hypnet_core.cli.schemas import RunDocument
from hypnet_core.cli.settings import complain
from hypnet_core.errors import ConfigError, UsageError, did_you_mean
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.discovery import Status
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.protocols import Prepares, ReportsResults
from hypnet_core.runs.config import check_finite, difference, dump_config, load_config
from hypnet_core.runs.experiment import execute
from hypnet_core.runs.run import Run

Given = TypeVar("Given")


def run(
    experiment: Annotated[
        str | None,
        typer.Argument(help="The experiment.", autocompletion=complete_name(Kind.EXPERIMENT)),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value]...",
            help="Options, such as train.lr=1e-3 or hnet.hidden=[50,50].",
            autocompletion=complete_override,
        ),
    ] = None,
    *,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="TOML or YAML file with options; of several, later ones win.", metavar="FILE"
        ),
    ] = None,
    # Lists, so that a flag that is given twice can be refused; click takes the last.
    seed: Annotated[list[int] | None, typer.Option(help="Short for seed=N.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Short for device=NAME: cpu, cuda, cuda:1, ….")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="The run's directory; below runs/ by default.", metavar="DIR"),
    ] = None,
    resume: Annotated[
        list[Path] | None, typer.Option(help="Resume the run in this directory.", metavar="DIR")
    ] = None,
    allow_changes: Annotated[
        bool,
        typer.Option("--allow-changes", help="Resume although options changed since the start."),
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the configuration and stop.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the options, print what would be run, and stop."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment.

    The last line of the output is the run's directory.
    """
    directories = _once("out", out), _once("resume", resume)
    _run(
        experiment,
        list(overrides or []),
        config or [],
        seed=_once("seed", seed),
        device=_once("device", device),
        out=None if directories[0] is None else directories[0].expanduser(),
        resume=None if directories[1] is None else directories[1].expanduser(),
        allow_changes=allow_changes,
        print_config=print_config,
        dry_run=dry_run,
        as_json=as_json,
    )


def _once(name: str, values: Sequence[Given] | None) -> Given | None:
    """The value of a flag that may be given once."""
    if values is not None and len(values) > 1:
        raise UsageError(f"--{name} is given {len(values)} times: give it once")
    return values[0] if values else None


def _run(
    experiment: str | None,
    given: list[str],
    config: Sequence[Path],
    *,
    seed: int | None,
    device: str | None,
    out: Path | None,
    resume: Path | None,
    allow_changes: bool,
    print_config: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    # Without an experiment the first override takes its place.
    if experiment is not None and "=" in experiment:
        given, experiment = [experiment, *given], None
    # Flags are overrides, so that both are validated alike.
    given += _from_flags(given, seed=seed, device=device)
    if allow_changes and resume is None:
        raise UsageError("--allow-changes is for --resume: a new run takes any options")
    if resume is not None:
        if out is not None:
            raise UsageError(
                "--resume and --out contradict each other: a run resumes in its own directory"
            )
        entry, resolved, directory = _resumed(
            resume, experiment, config, given, allow_changes=allow_changes
        )
    elif experiment is None:
        # Lists what there is: this may be the first message that a newcomer sees.
        names = [registry().shortest_name(found) for found in registry().entries(Kind.EXPERIMENT)]
        raise UsageError(
            f"which experiment? hypnet run EXPERIMENT [key=value]...{did_you_mean('', names)}"
        )
    else:
        entry = registry().get(Kind.EXPERIMENT, experiment)
        _check_flags(entry, seed, device)
        resolved, directory = load_config(entry.options(), config, given), out
    _start(
        entry,
        resolved,
        directory,
        resume=resume is not None,
        allow_changes=allow_changes,
        print_config=print_config,
        dry_run=dry_run,
        as_json=as_json,
    )


def _start(
    entry: Entry,
    resolved: BaseModel,
    directory: Path | None,
    *,
    resume: bool,
    allow_changes: bool,
    print_config: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print the plan of a run, or check it first and carry it out."""
    experiment = entry.build()
    if not print_config and not (resume and Run.resume(directory or "").finished):
        # Before the run has a directory: a mistake leaves nothing behind.
        check_finite(resolved)
        notes = experiment.prepare(resolved) if isinstance(experiment, Prepares) else ()
        if dry_run:
            complain(notes)
    if directory is None:
        directory = new_directory(entry.name, make=not (print_config or dry_run))
    plan = RunDocument(
        experiment=registry().shortest_name(entry),
        directory=str(directory),
        config=resolved.model_dump(mode="json"),
        finished=False,
        summary=None,
    )
    if print_config or dry_run:
        if dry_run and not resume:
            check_directory(directory)
        _print_plan(plan, resolved, as_json=as_json, dry_run=dry_run)
        return
    current = _opened(
        plan.experiment, resolved, directory, resume=resume, allow_changes=allow_changes
    )
    _carry_out(experiment, resolved, current, plan, as_json=as_json)


def _from_flags(overrides: list[str], **flags: object) -> list[str]:
    """The overrides that the flags are short for."""
    given = {name: value for name, value in flags.items() if value is not None}
    for name, value in given.items():
        twice = next(
            (override for override in overrides if override.partition("=")[0].strip() == name), None
        )
        if twice is not None:
            raise UsageError(f"--{name} {value} and {twice} both set {name}: give one of them")
    return [f"{name}={value}" for name, value in given.items()]


def _check_flags(entry: Entry, seed: int | None, device: str | None) -> None:
    fields = entry.options().model_fields
    for name, value in (("seed", seed), ("device", device)):
        if value is not None and name not in fields:
            raise UsageError(f"--{name}: the experiment {entry.name!r} has no option {name!r}")


def _resumed(
    path: Path,
    experiment: str | None,
    config: Sequence[Path],
    given: list[str],
    *,
    allow_changes: bool,
) -> tuple[Entry, BaseModel, Path]:
    """The experiment and options of an earlier run; options given now must agree."""
    started = Run.resume(path)
    entry = registry().get(Kind.EXPERIMENT, started.experiment)
    if experiment is not None and registry().get(Kind.EXPERIMENT, experiment) != entry:
        raise UsageError(f"{path} holds a run of {started.experiment!r}, not of {experiment!r}")
    model = entry.options()
    # Both validated, so that only real differences count, not other spellings.
    resolved = load_config(model, base=started.config)
    wanted = load_config(model, config, given, base=started.config)
    # As JSON, in which paths and tuples compare by value.
    changed = difference(resolved.model_dump(mode="json"), wanted.model_dump(mode="json"))
    if changed and not allow_changes:
        raise ConfigError(
            f"{path} resumes as it was started: {changed}; start a new run to change that, or"
            " pass --allow-changes"
        )
    return entry, wanted, path


def _print_plan(plan: RunDocument, resolved: BaseModel, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(plan)
    elif dry_run:
        print_lines([f"would run {plan.experiment} in {plan.directory} with", ""])
        print_lines(f"    {line}" for line in dump_config(resolved).splitlines())
    else:
        print_lines(dump_config(resolved).splitlines())


def _opened(
    name: str, resolved: BaseModel, directory: Path, *, resume: bool, allow_changes: bool
) -> Run:
    """The run to execute, new or resumed."""
    if resume:
        return Run.resume(directory, config=resolved if allow_changes else None)
    versions = {
        plugin.name: plugin.version for plugin in registry().plugins if plugin.status is Status.OK
    }
    return Run.create(directory, experiment=name, config=resolved, plugins=versions)


def _carry_out(
    experiment: Any, resolved: BaseModel, current: Run, plan: RunDocument, *, as_json: bool
) -> None:
    try:
        summary = execute(experiment, resolved, current)
    # Only an interruption: after a failure the error says what to do.
    except KeyboardInterrupt:
        typer.echo(f"To resume: hypnet run --resume {current.path}", err=True)
        raise
    if as_json:
        print_json(plan.model_copy(update={"finished": True, "summary": summary}))
        return
    if isinstance(experiment, ReportsResults):
        print_rich(experiment.report(summary))
    else:
        print_lines(
            f"{name}  {value}"
            for name, value in summary.items()
            if isinstance(value, (int, float, str))
        )
    print_lines([str(current.path)])
