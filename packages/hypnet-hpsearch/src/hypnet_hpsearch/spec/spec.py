"""The description of a search, read from a TOML or YAML file or made in Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_core.plugins import error_from
from hypnet_hpsearch.spec.fields import (
    ComponentField,
    GridCondition,
    GridField,
    OptionsField,
    RangesField,
    Resources,
    SeedsField,
    SpecPart,
)
from hypnet_hpsearch.spec.metrics import counterparts
from hypnet_hpsearch.spec.notify import Notify
from hypnet_hpsearch.spec.objectives import (
    Constraint,
    ConstraintsField,
    Direction,
    MetricsField,
    parse_constraint,
)
from hypnet_hpsearch.spec.values import text_of

__all__ = ["RESERVED", "SEED", "SearchSpec", "Style"]

Style = Literal["--key=value", "--key value", "key=value"]
"""How an external command takes its options."""

SEED = "seed"
"""The option that holds a trial's seed."""

RESERVED = frozenset({"options", "out"})
"""Placeholders in a command that do not name an option."""

_OF_COMMANDS = {"command", "style", "summary", "parser"}
_IDENTITY = {"experiment", *_OF_COMMANDS, "metric", "direction", "base", "grid", "conditions"}
_SAMPLERS = {"grid": (), "random": ("seed",)}  # our own, and their options


class SearchSpec(SpecPart):
    """A search: what is run, over which options, and what counts as good.

    A trial runs either an `experiment` or a `command`. Options have dotted names; in a
    file, nested tables mean the same. The fields that determine the meaning of results,
    the target, `metric` and `direction`, cannot change once the search has begun; all
    others can. A search that grows keeps the results of all trials that still belong to
    it: those whose options are in its `base`, `grid`, `ranges`, `conditions` and
    `seeds`.

    Attributes:
        name: Name of the search; its directory is `searches/NAME` unless another is
            given.
        experiment: Name of a registered experiment, which is run as `hypnet run` does.
        command: An external program as a list of arguments; no shell is involved.
            `{options}`, as an argument of its own, stands for all options; `{KEY}`
            inside an argument for the value of one option, which `{options}` then
            leaves out; `{out}` for the directory that the trial may write to, which is
            also in the environment variable `HYPNET_TRIAL_DIR`. `{{` is a literal `{`.
        style: How `{options}` are written for a command. In the styles with dashes,
            true is written as the bare `--key`, and false is left out.
        summary: File in the trial's directory that the command writes its results to.
        parser: Reader of the summary: `json` (an object), `lines` (of a key and a
            value), or a function as `package.module:function`, which takes the file's
            path and returns a mapping; its module may lie in the working directory.
        metric: The entry of the summary that rates a trial; dots lead into tables.
        direction: Whether a large metric is good (`maximize`) or a small one
            (`minimize`).
        metrics: Several objectives in the place of `metric` and `direction`, which are
            then the first one: their names with `max` or `min`.
        constraints: Bounds on numbers of the summary, as `"compression <= 1"`. The best
            trials are those that fulfil all of them.
        base: Options that all trials share.
        grid: For each option the values to search.
        ranges: For each option a range of numbers to draw from, in addition to the
            lists of the grid.
        conditions: Exceptions from the grid, in the order in which they apply.
        sampler: How configurations are chosen: `grid` runs all of them; `random` draws
            `max_trials` of them, with the `seed` that may be given beside the `name`;
            any sampler of Optuna by name, such as `TPESampler` or `tpe`, with its
            options beside. The default is `random` if there are ranges, and `grid`
            otherwise.
        pruner: The pruner of Optuna that ends trials early, by name, with its options
            beside; needs a sampler of Optuna.
        report: For an experiment, the entry of its `metrics.jsonl` that the pruner
            sees; the metric's name by default.
        seeds: Seeds to run each configuration with, as the option `seed`: a list, or
            how many (0, 1, …). Without any, no seed is passed.
        over_seeds: The value of a configuration with several seeds: the `mean`, the
            `median` or the `worst` of their results.
        margin: With several seeds, give a configuration up if its mean over the seeds
            so far is worse than that of the best one by more than this many standard
            errors; 3 is reasonable. By default all seeds of all configurations run.
        max_trials: Run at most this many trials. Required by every sampler but `grid`.
        order: `fixed`, as in nested loops of which the last is the innermost, or
            `shuffled`.
        order_seed: Seed of the `shuffled` order.
        resume: Whether another attempt at a trial goes on where the one before it
            stopped. An experiment does, from its last checkpoint, unless this is false.
            For a command, arguments that are added to its other attempts, in which
            `{previous}` stands for the directory that the earlier attempt has written
            to. Attempts that were interrupted (by a time limit, a preemption, a signal
            or a lost machine) and have made progress do not count: the trial goes on
            until it ends. A command's progress is the step that it reports.
        attempts: How often a trial is tried before it counts as failed, each time that
            the search is started.
        resources: Resources of one trial.
        scheduler: Name of the scheduler, or a table with its `name` and its options.
        notify: A command or webhook that is told of the first failure and the end of
            each run; see `Notify`.
        cwd: Working directory of the trials, relative to the directory of the search
            file, which is the default.

    Example:
        >>> spec = SearchSpec(
        ...     name="lr",
        ...     command=["python", "sim.py", "{options}"],
        ...     grid={"lr": [0.1, 1.0]},
        ...     metric="loss",
        ...     direction="minimize",
        ... )
        >>> spec.resources.cpus, spec.scheduler
        (1, {'name': 'local'})
    """

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=100)]
    experiment: str | None = None
    command: tuple[str, ...] | None = None
    style: Style = "--key=value"
    summary: str = "summary.json"
    parser: Annotated[
        str, Field(pattern=r"^(json|lines|[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*)$")
    ] = "json"
    metric: Annotated[str, Field(min_length=1)]
    direction: Direction
    metrics: MetricsField = Field(default_factory=dict)
    constraints: ConstraintsField = ()
    base: OptionsField = Field(default_factory=dict)
    grid: GridField = Field(default_factory=dict)
    ranges: RangesField = Field(default_factory=dict)
    conditions: tuple[GridCondition, ...] = ()
    sampler: ComponentField | None = None
    pruner: ComponentField | None = None
    report: Annotated[str, Field(min_length=1)] | None = None
    seeds: SeedsField = ()
    over_seeds: Literal["mean", "median", "worst"] = "mean"
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_trials: PositiveInt | None = None
    order: Literal["fixed", "shuffled"] = "fixed"
    order_seed: int = 0
    resume: bool | tuple[str, ...] | None = None
    attempts: PositiveInt = 1
    resources: Resources = Field(default_factory=Resources)
    scheduler: ComponentField = Field(default_factory=lambda: {"name": "local"})
    notify: Notify | None = None
    cwd: Path = Field(default_factory=Path.cwd)

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise error_from(error, type(self), data) from None

    @model_validator(mode="before")
    @classmethod
    def _first_objective(cls, data: Any) -> Any:
        """The first of several objectives is the metric."""
        metrics = data.get("metrics") if isinstance(data, Mapping) else None
        if not isinstance(metrics, Mapping) or not metrics:
            return data
        objectives = TypeAdapter(MetricsField).validate_python(metrics)
        first = {"metric": next(iter(objectives)), "direction": next(iter(objectives.values()))}
        for name, value in first.items():
            if data.get(name, value) != value:
                raise ConfigError(f"give either '{name}' or 'metrics', not both")
        return {**data, **first, "metrics": objectives}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._check_target()
        self._check_options()
        self._check_sampler()
        self._check_resume()
        return self

    def _check_resume(self) -> None:
        if self.command and self.resume is True:
            raise ConfigError(
                'a command needs arguments to resume, such as resume = ["--resume={previous}"]'
            )
        if self.experiment and isinstance(self.resume, tuple):
            raise ConfigError("an experiment resumes by itself: 'resume' is true or false")

    def _check_target(self) -> None:
        if (self.experiment is None) == (not self.command):
            raise ConfigError(
                "a search needs either an 'experiment' or a 'command'"
                + ", not both" * (self.experiment is not None)
            )
        if self.report is not None and self.command:
            raise ConfigError(
                "'report' is for experiments; a command writes its intermediate results to"
                " reports.jsonl"
            )

    def _check_options(self) -> None:
        if not self.searched:
            raise ConfigError(
                "the grid is empty and there are no seeds: there is nothing to search"
            )
        # An option must have one source, or its value would depend on an order.
        for one, other in (("base", "grid"), ("base", "ranges"), ("grid", "ranges")):
            twice = getattr(self, one).keys() & getattr(self, other).keys()
            if twice:
                raise ConfigError(f"{min(twice)!r} is both in '{one}' and in '{other}'")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("a seed is listed twice")
        if len(self.metrics) > 1 and (self.margin is not None or self.pruner is not None):
            name = "margin" if self.pruner is None else "pruner"
            raise ConfigError(
                f"'{name}' compares one metric, but there are several: leave it out, or give one"
            )
        if self.margin is not None and not self.repeats:
            raise ConfigError("'margin' compares configurations over several seeds: give 'seeds'")
        options = {*self.base, *self.grid, *self.ranges}
        if self.seeds and SEED in options:
            raise ConfigError("'seed' is both an option and given by 'seeds'")
        if self.command and RESERVED & options:
            raise ConfigError(
                f"an option cannot be called {min(RESERVED & options)!r}: that is a placeholder in"
                " commands"
            )
        # Raises if a value cannot be written as text.
        for key, value in self.base.items():
            text_of(value, f"base: {key!r}")

    def _check_sampler(self) -> None:
        name = self.sampler_name
        if name == "grid" and self.ranges:
            raise ConfigError(
                "a range cannot be searched exhaustively: the sampler must be 'random' or one of"
                " Optuna, such as 'tpe'"
            )
        if name != "grid" and self.max_trials is None:
            raise ConfigError(f"the sampler {name!r} needs 'max_trials'")
        if name in _SAMPLERS:
            self._check_our_sampler(name)
        elif self.order != "fixed":
            raise ConfigError("the sampler determines the order of trials: leave out 'order'")

    def _check_our_sampler(self, name: str) -> None:
        options = self.sampler_options
        unknown = sorted(options.keys() - {*_SAMPLERS[name]})
        if unknown:
            raise ConfigError(
                f"sampler: {name!r} has no option"
                f" {unknown[0]!r}{did_you_mean(unknown[0], _SAMPLERS[name])}"
            )
        if not isinstance(options.get("seed", 0), int):
            raise ConfigError(f"sampler: the seed must be an integer, is {options['seed']!r}")
        if self.pruner is not None:
            raise ConfigError(
                "a pruner needs a sampler of Optuna, such as 'TPESampler' or 'RandomSampler'"
            )

    @property
    def searched(self) -> tuple[str, ...]:
        """The options in which trials may differ."""
        return (*self.grid, *self.ranges, *([SEED] if self.seeds else []))

    @property
    def resumes(self) -> bool:
        """Whether attempts go on where the attempts before them stopped."""
        return bool(self.resume) if self.command else self.resume is not False

    @property
    def kept(self) -> tuple[str, ...]:
        """Numbers of the summaries that the journal holds beside the metric."""
        names = [other for name, _ in self.objectives for other in counterparts(name)]
        return tuple(dict.fromkeys([*self.needs, *names]))

    @property
    def objectives(self) -> tuple[tuple[str, Direction], ...]:
        """The names and directions of the objectives, the metric first."""
        return tuple(self.metrics.items()) or ((self.metric, self.direction),)

    @property
    def bounds(self) -> dict[str, Constraint]:
        """The constraints by their text."""
        return {text: parse_constraint(text) for text in self.constraints}

    @property
    def needs(self) -> tuple[str, ...]:
        """Numbers beside the metric that every summary must have."""
        names = [name for name, _ in self.objectives]
        names += [bound.name for bound in self.bounds.values()]
        return tuple(name for name in dict.fromkeys(names) if name != self.metric)

    @property
    def has_fronts(self) -> bool:
        """Whether results have several objectives, or constraints."""
        return len(self.metrics) > 1 or bool(self.constraints)

    @property
    def reports_metric(self) -> bool:
        """Whether intermediate results are values of the metric itself."""
        return self.report is None or self.report == self.metric

    @property
    def repeats(self) -> bool:
        """Whether each configuration is run with several seeds."""
        return len(self.seeds) > 1

    @property
    def sampler_name(self) -> str:
        """`grid`, `random`, or the name of a sampler of Optuna as it was written."""
        if self.sampler is None:
            return "random" if self.ranges else "grid"
        name = self.sampler.get("name")
        if not isinstance(name, str):
            raise ConfigError("'sampler' has no 'name'")
        return name

    @property
    def sampler_options(self) -> dict[str, Any]:
        """The sampler's options."""
        return {key: value for key, value in (self.sampler or {}).items() if key != "name"}

    @property
    def adapts(self) -> bool:
        """Whether the sampler learns, so that trials are not known in advance."""
        return self.sampler_name not in _SAMPLERS

    def identity(self) -> dict[str, Any]:
        """The fields that determine trials and their meaning, as JSON values."""
        everything = self.model_dump(mode="json", include=_IDENTITY) | {"seeds": bool(self.seeds)}
        # Fields that came later are left out where they say nothing, so that searches
        # begun before keep their fingerprints.
        for name in ("metrics", "constraints"):
            if getattr(self, name):
                everything[name] = self.model_dump(mode="json", include={name})[name]
        if self.ranges:
            everything["ranges"] = self.model_dump(mode="json", include={"ranges"})["ranges"]
        if self.adapts:
            everything["sampler"] = "optuna"
        elif self.sampler_name == "random":
            everything["sampler"] = {"seed": 0, **self.sampler_options, "name": "random"}
        return (
            everything
            if self.command
            else {key: value for key, value in everything.items() if key not in _OF_COMMANDS}
        )

    def fingerprint(self) -> str:
        """Hash of the identity."""
        return blake2b(
            json.dumps(self.identity(), sort_keys=True).encode(errors="surrogatepass"),
            digest_size=16,
        ).hexdigest()
