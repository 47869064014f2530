"""`hypnet run`: configure and run an experiment in its own directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from hypnet_core.cli.checkpoints import origin_of
from hypnet_core.cli.completion import complete_name, complete_override
from hypnet_core.cli.directories import check_directory, new_directory
from hypnet_core.cli.output import Json, can_print, print_json, print_lines, print_rich
from hypnet_core.cli.paths import make_importable
from hypnet_core.cli.schemas import RunDocument
from hypnet_core.cli.settings import complain
from hypnet_core.cli.sweeps import sweep_hint, with_sweep_hint
from hypnet_core.errors import ConfigError, UsageError, did_you_mean
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.containment import output_to_stderr
from hypnet_core.plugins.discovery import Status
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.plugins.validation import InvalidOptionsError
from hypnet_core.protocols import Prepares, ReportsResults
from hypnet_core.runs.commented import commented_config
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
    from_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="Start a new run from a checkpoint of another one: a file, or a run's directory"
            " for its latest.",
            metavar="PATH",
        ),
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
    multirun: Annotated[bool, typer.Option("--multirun", "-m", hidden=True)] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment.

    The last line of the output is the run's directory.
    """
    if multirun:  # as in Hydra
        name = experiment or "NAME"
        raise UsageError(sweep_hint(name, "the options with their values: lr = [1e-3, 1e-2]"))
    request = _Request(
        overrides=list(overrides or []),
        files=tuple(config or ()),
        seed=_once("seed", seed),
        device=_once("device", device),
        out=_once("out", out),
        resume=_once("resume", resume),
        from_checkpoint=_once("from-checkpoint", from_checkpoint),
        allow_changes=allow_changes,
        print_config=print_config,
        dry_run=dry_run,
        as_json=as_json,
    )
    # Without an experiment the first override takes its place.
    if experiment is not None and "=" in experiment:
        request.overrides.insert(0, experiment)
        experiment = None
    # Flags are overrides, so that both are validated alike.
    request.overrides.extend(
        _from_flags(request.overrides, seed=request.seed, device=request.device)
    )
    _check_flags(request)
    if request.resume is not None:
        _start(*_resumed(request, request.resume, experiment), request, directory=request.resume)
    else:
        _start(*_new(request, experiment), request, directory=request.out)


@dataclass(frozen=True)
class _Request:
    """The flags of one call."""

    overrides: list[str]
    files: Sequence[Path]
    seed: int | None
    device: str | None
    out: Path | None
    resume: Path | None
    from_checkpoint: Path | None
    allow_changes: bool
    print_config: bool
    dry_run: bool
    as_json: bool


def _once(name: str, values: Sequence[Given] | None) -> Given | None:
    """The value of a flag that may be given once."""
    if values is not None and len(values) > 1:
        raise UsageError(f"--{name} is given {len(values)} times: give it once")
    return values[0] if values else None


def _check_flags(request: _Request) -> None:
    """Refuse flags that contradict each other."""
    if request.resume is None:
        if request.allow_changes:
            raise UsageError("--allow-changes is for --resume: a new run takes any options")
        return
    for name, value in (("out", request.out), ("from-checkpoint", request.from_checkpoint)):
        if value is not None:
            raise UsageError(
                f"--resume and --{name} contradict each other: a run resumes in its own directory,"
                " from its latest checkpoint"
            )


def _new(request: _Request, experiment: str | None) -> tuple[Entry, BaseModel, Path | None]:
    """The experiment, options and first checkpoint of a new run."""
    base: Mapping[str, Any] = {}
    checkpoint = request.from_checkpoint
    if checkpoint is not None:
        # Networks of other options would not fit: its configuration is the base.
        checkpoint, name, base = origin_of(checkpoint)
        experiment = name if experiment is None else experiment
        if registry().get(Kind.EXPERIMENT, experiment).name != name.rpartition(":")[2]:
            raise UsageError(f"{checkpoint} belongs to {name!r}, not to {experiment!r}")
    if experiment is None:
        # Lists what there is: this may be the first message that a newcomer sees.
        names = [registry().shortest_name(found) for found in registry().entries(Kind.EXPERIMENT)]
        raise UsageError(
            f"which experiment? hypnet run EXPERIMENT [key=value]...{did_you_mean('', names)}"
        )
    entry = registry().get(Kind.EXPERIMENT, experiment)
    fields = entry.options().model_fields
    for flag, value in (("seed", request.seed), ("device", request.device)):
        if value is not None and flag not in fields:
            raise UsageError(f"--{flag}: the experiment {entry.name!r} has no option {flag!r}")
    try:
        resolved = load_config(entry.options(), request.files, request.overrides, base=base)
    except InvalidOptionsError as error:
        text = with_sweep_hint(error, entry.name, request.overrides)
        raise ConfigError(text) from error
    return entry, resolved, checkpoint


def _start(
    entry: Entry,
    resolved: BaseModel,
    checkpoint: Path | None,
    request: _Request,
    *,
    directory: Path | None,
) -> None:
    """Print the plan of a run, or check it first and carry it out."""
    experiment = entry.build()
    only_plan = request.print_config or request.dry_run
    finished = request.resume is not None and Run.resume(request.resume).finished
    if directory is not None and request.resume is None and not request.print_config:
        check_directory(directory)  # first, since the other checks may take a while
    if not request.print_config and not finished:
        # Before the run has a directory: a mistake leaves nothing behind.
        check_finite(resolved)
        with output_to_stderr():
            notes = experiment.prepare(resolved) if isinstance(experiment, Prepares) else ()
        if request.dry_run:
            complain(notes)
    if directory is None:
        directory = new_directory(entry.name, make=not only_plan)
    plan = RunDocument(
        experiment=registry().shortest_name(entry),
        directory=str(directory),
        config=resolved.model_dump(mode="json"),
        finished=False,
        summary=None,
    )
    if only_plan:
        if request.dry_run and request.resume is None:
            check_directory(directory)  # also one that was chosen here
        _print_plan(plan, resolved, as_json=request.as_json, dry_run=request.dry_run)
        return
    if request.resume is not None:
        current = Run.resume(directory, config=resolved if request.allow_changes else None)
    else:
        current = _created(plan.experiment, resolved, directory, checkpoint)
    _carry_out(experiment, resolved, current, plan, as_json=request.as_json)


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


def _resumed(
    request: _Request, path: Path, experiment: str | None
) -> tuple[Entry, BaseModel, None]:
    """The experiment and options of an earlier run; options given now must agree."""
    started = Run.resume(path)
    # Components of the folder where it started are found from anywhere.
    make_importable(started.started_in)
    entry = registry().get(Kind.EXPERIMENT, started.experiment)
    if experiment is not None and registry().get(Kind.EXPERIMENT, experiment) != entry:
        raise UsageError(f"{path} holds a run of {started.experiment!r}, not of {experiment!r}")
    model = entry.options()
    # Both validated, so that only real differences count, not other spellings.
    resolved = load_config(model, base=started.config)
    wanted = load_config(model, request.files, request.overrides, base=started.config)
    # As JSON, in which paths and tuples compare by value.
    changed = difference(resolved.model_dump(mode="json"), wanted.model_dump(mode="json"))
    if changed and not request.allow_changes:
        raise ConfigError(
            f"{path} resumes as it was started: {changed}; start a new run to change that, or"
            " pass --allow-changes"
        )
    return entry, wanted, None


def _print_plan(plan: RunDocument, resolved: BaseModel, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(plan)
    elif dry_run:
        print_lines([f"would run {plan.experiment} in {plan.directory} with", ""])
        print_lines(f"    {line}" for line in dump_config(resolved).splitlines())
    else:
        text = commented_config(resolved)
        if not can_print(text):
            text = commented_config(resolved, only_ascii=True)
        print_lines(text.splitlines())


def _created(name: str, resolved: BaseModel, directory: Path, checkpoint: Path | None) -> Run:
    versions = {
        plugin.name: plugin.version for plugin in registry().plugins if plugin.status is Status.OK
    }
    return Run.create(
        directory,
        experiment=name,
        config=resolved,
        plugins=versions,
        from_checkpoint=checkpoint,
    )


def _carry_out(
    experiment: Any, resolved: BaseModel, current: Run, plan: RunDocument, *, as_json: bool
) -> None:
    try:
        # What the experiment prints is no result: stdout ends with the directory.
        with output_to_stderr():
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
