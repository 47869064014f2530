"""`hypnet run`: configure and run an experiment in its own directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from pydantic import BaseModel

from hypnet_core.cli.checkpoints import origin_of
from hypnet_core.cli.completion import complete_name, complete_override
from hypnet_core.cli.directories import check_directory, new_directory
from hypnet_core.cli.output import Json, can_print, print_json, print_lines, print_rich
from hypnet_core.cli.paths import make_importable
from hypnet_core.cli.recipes.figures import figures_of, print_figures, started_recipe
from hypnet_core.cli.schemas import RunDocument
from hypnet_core.cli.settings import complain
from hypnet_core.cli.show import KindOption
from hypnet_core.cli.sweeps import sweep_hint, with_sweep_hint
from hypnet_core.errors import ConfigError, UsageError, did_you_mean
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.containment import output_to_stderr
from hypnet_core.plugins.registry import Entry, as_kind, registry
from hypnet_core.plugins.validation import InvalidOptionsError
from hypnet_core.protocols import Prepares, ReportsResults
from hypnet_core.recipes.seeds import experiment_of
from hypnet_core.runs.commented import commented_config
from hypnet_core.runs.config import check_finite, difference, dump_config, load_config
from hypnet_core.runs.experiment import execute
from hypnet_core.runs.run import Run

Given = TypeVar("Given")
_KINDS = (Kind.EXPERIMENT, Kind.RECIPE)


def run(
    experiment: Annotated[
        str | None,
        typer.Argument(help="The experiment, or a recipe.", autocompletion=complete_name(*_KINDS)),
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
    kind: KindOption = None,
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
    """Run an experiment, or a recipe: an experiment with options and expected figures.

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
        kinds=_KINDS if kind is None else (_kind(kind),),
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
        _start(_resumed(request, request.resume, experiment), request, directory=request.resume)
    else:
        _start(_new(request, experiment), request, directory=request.out)


@dataclass(frozen=True)
class _Request:
    """The flags of one call."""

    overrides: list[str]
    files: Sequence[Path]
    seed: int | None
    device: str | None
    out: Path | None
    resume: Path | None
    kinds: tuple[Kind, ...]
    from_checkpoint: Path | None
    allow_changes: bool
    print_config: bool
    dry_run: bool
    as_json: bool


class _Chosen(NamedTuple):
    """The experiment of a run, its options, and where they come from."""

    entry: Entry
    resolved: BaseModel
    checkpoint: Path | None = None
    recipe: Entry | None = None


def _kind(name: str) -> Kind:
    kind = as_kind(name)
    if kind not in _KINDS:
        raise UsageError(f"--kind {kind}: only an experiment or a recipe can be run")
    return kind


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


def _new(request: _Request, experiment: str | None) -> _Chosen:
    """The experiment, options and first checkpoint of a new run."""
    base: Mapping[str, Any] = {}
    checkpoint, origin = request.from_checkpoint, None
    if checkpoint is not None:
        # Networks of other options would not fit: its configuration is the base.
        checkpoint, origin, base = origin_of(checkpoint)
    entry, recipe = _named(request, experiment, origin)
    if origin is not None and entry.name != origin.rpartition(":")[2]:
        raise UsageError(f"{checkpoint} belongs to {origin!r}, not to {experiment!r}")
    fields = entry.options().model_fields
    for flag, value in (("seed", request.seed), ("device", request.device)):
        if value is not None and flag not in fields:
            raise UsageError(f"--{flag}: the experiment {entry.name!r} has no option {flag!r}")
    layers = () if recipe is None else (recipe.load().options,)
    try:
        resolved = load_config(
            entry.options(), request.files, request.overrides, base=base, layers=layers
        )
    except InvalidOptionsError as error:
        text = with_sweep_hint(error, entry.name, request.overrides)
        raise ConfigError(text) from error
    return _Chosen(entry, resolved, checkpoint, recipe)


def _named(
    request: _Request, experiment: str | None, origin: str | None
) -> tuple[Entry, Entry | None]:
    """The experiment that was named, itself or by a recipe of it, and that recipe."""
    if experiment is not None:
        found = registry().find(experiment, *request.kinds)
        return (experiment_of(found), found) if found.kind is Kind.RECIPE else (found, None)
    if origin is not None:
        return registry().get(Kind.EXPERIMENT, origin), None
    # Lists what there is: this may be the first message that a newcomer sees.
    names = [registry().shortest_name(found) for found in registry().entries(Kind.EXPERIMENT)]
    raise UsageError(
        f"which experiment? hypnet run EXPERIMENT [key=value]...{did_you_mean('', names)}"
    )


def _start(chosen: _Chosen, request: _Request, *, directory: Path | None) -> None:
    """Print the plan of a run, or check it first and carry it out."""
    experiment = chosen.entry.build()
    only_plan = request.print_config or request.dry_run
    finished = request.resume is not None and Run.resume(request.resume).finished
    if directory is not None and request.resume is None and not request.print_config:
        check_directory(directory)  # first, since the other checks may take a while
    if not request.print_config and not finished:
        # Before the run has a directory: a mistake leaves nothing behind.
        check_finite(chosen.resolved)
        with output_to_stderr():
            prepares = isinstance(experiment, Prepares)
            notes = experiment.prepare(chosen.resolved) if prepares else ()
        if request.dry_run:
            complain(notes)
    if directory is None:
        named = chosen.recipe or chosen.entry
        directory = new_directory(named.name, make=not only_plan)
    plan = _plan(chosen, directory)
    if only_plan:
        if request.dry_run and request.resume is None:
            check_directory(directory)  # also one that was chosen here
        _print_plan(plan, chosen.resolved, as_json=request.as_json, dry_run=request.dry_run)
        return
    if request.resume is not None:
        current = Run.resume(directory, config=chosen.resolved if request.allow_changes else None)
    else:
        current = _created(chosen, plan)
    _carry_out(experiment, chosen, current, plan, as_json=request.as_json)


def _plan(chosen: _Chosen, directory: Path) -> RunDocument:
    return RunDocument(
        experiment=registry().shortest_name(chosen.entry),
        recipe=None if chosen.recipe is None else registry().shortest_name(chosen.recipe),
        directory=str(directory),
        config=chosen.resolved.model_dump(mode="json"),
        finished=False,
        summary=None,
    )


def _created(chosen: _Chosen, plan: RunDocument) -> Run:
    return Run.create(
        plan.directory,
        experiment=plan.experiment,
        config=chosen.resolved,
        plugins=registry().versions,
        from_checkpoint=chosen.checkpoint,
        recipe=plan.recipe,
    )


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


def _resumed(request: _Request, path: Path, experiment: str | None) -> _Chosen:
    """The experiment and options of an earlier run; options given now must agree."""
    started = Run.resume(path)
    # Components of the folder where it started are found from anywhere.
    make_importable(started.started_in)
    entry = registry().get(Kind.EXPERIMENT, started.experiment)
    recipe = started_recipe(started)
    if experiment is not None:
        named = registry().find(experiment, *request.kinds)
        if named not in (entry, recipe):
            held = started.recipe or started.experiment
            raise UsageError(f"{path} holds a run of {held!r}, not of {experiment!r}")
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
    return _Chosen(entry, wanted, recipe=recipe)


def _print_plan(plan: RunDocument, resolved: BaseModel, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(plan)
    elif dry_run:
        what = plan.experiment if plan.recipe is None else f"{plan.recipe} ({plan.experiment})"
        print_lines([f"would run {what} in {plan.directory} with", ""])
        print_lines(f"    {line}" for line in dump_config(resolved).splitlines())
    else:
        text = commented_config(resolved)
        if not can_print(text):
            text = commented_config(resolved, only_ascii=True)
        print_lines(text.splitlines())


def _carry_out(
    experiment: Any, chosen: _Chosen, current: Run, plan: RunDocument, *, as_json: bool
) -> None:
    try:
        # What the experiment prints is no result: stdout ends with the directory.
        with output_to_stderr():
            summary = execute(experiment, chosen.resolved, current)
    # Only an interruption: after a failure the error says what to do.
    except KeyboardInterrupt:
        typer.echo(f"To resume: hypnet run --resume {current.path}", err=True)
        raise
    figures = () if chosen.recipe is None else figures_of(chosen.recipe, plan.config, summary)
    if as_json:
        facts = {"finished": True, "summary": summary, "figures": list(figures)}
        print_json(plan.model_copy(update=facts))
        return
    if isinstance(experiment, ReportsResults):
        print_rich(experiment.report(summary))
    else:
        print_lines(
            f"{name}  {value}"
            for name, value in summary.items()
            if isinstance(value, (int, float, str))
        )
    print_figures(figures)
    print_lines([str(current.path)])
