"""What a search is: read from a TOML or YAML file, or made in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_core.plugins import error_from, validated
from hypnet_core.runs import read_mapping
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.values import flattened, text_of

__all__ = ["ConditionSpec", "Resources", "SearchSpec", "Style", "load_spec"]

Style = Literal["--key=value", "--key value", "key=value"]
"""How an external command takes its options."""

SEED = "seed"
"""The option that a trial's seed is given by."""

RESERVED = frozenset({"options", "out"})
"""Placeholders in a command that are no options."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _flat(value: Any) -> Any:
    return flattened(value, "options") if isinstance(value, Mapping) else value


def _flat_lists(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _listed(key, some) for key, some in flattened(value, "grid").items()}


def _flat_ranges(value: Any) -> Any:
    """Dotted keys; a table all of whose values are tables is no range, but a group of them."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for key, some in flattened(value, "ranges", is_leaf=_is_range).items():
        if isinstance(some, (list, tuple)):
            raise ConfigError(f"ranges: {key!r} is a list; lists of values belong into 'grid'")
        if not isinstance(some, (Mapping, RangeSpec)):
            raise ConfigError(
                f"ranges: {key!r} must be a table such as {{ low = 1e-4, high = 1e-1, log = true"
                f" }}, is {some!r}"
            )
        flat[key] = some
    return flat


def _is_range(table: Mapping[Any, Any]) -> bool:
    return not table or not all(
        isinstance(inner, (Mapping, list, RangeSpec)) for inner in table.values()
    )


def _named(value: Any) -> Any:
    """A component: its name, or a table with `name` and options."""
    return {"name": value} if isinstance(value, str) else value


def _listed(key: str, some: Any) -> list[Any]:
    if isinstance(some, (str, bytes, Mapping)) or not hasattr(some, "__iter__"):
        raise ConfigError(
            f"grid: {key!r} must be a list of values, is {some!r}; write [{some!r}] to search one"
            " value"
        )
    return list(some)


def _flat_choices(value: Any) -> Any:
    """In conditions a single value may stand for a list of one."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: list(some) if isinstance(some, (list, tuple)) else [some]
        for key, some in flattened(value, "condition").items()
    }


class ConditionSpec(_Part):
    """An exception from the grid: configurations that match `when` are searched with the values of `then` instead.

    Conditions apply one after the other, to what their predecessors left. None is
    tested again.

    Attributes:
        when: For each key the value, or the list of values, that match; all keys must
            match.
        then: For each key the value, or the list of values, to search instead.
        optional: Skip the condition where the grid lacks one of its keys; by default
            that is an error.
    """

    when: Annotated[dict[str, list[Any]], BeforeValidator(_flat_choices)]
    then: Annotated[dict[str, list[Any]], BeforeValidator(_flat_choices)]
    optional: bool = False


class Resources(_Part):
    """What one trial needs; see `hypnet_core.runs.scheduling.JobSpec`.

    Attributes:
        cpus: Processor cores.
        gpus: GPUs.
        memory: Main memory in bytes, or text such as `"8GiB"`.
        time_limit: Longest running time in seconds, or `"HH:MM:SS"`.
        options: More words for the scheduler's own command line.
    """

    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: Annotated[ByteSize, Field(gt=0)] | None = None
    time_limit: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    options: tuple[str, ...] = ()


def _seeds(value: Any) -> Any:
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class SearchSpec(_Part):
    """A search: what is run, over which options, and what counts as good.

    Exactly one of `experiment` and `command` says what a trial runs. Options have
    dotted names; in a file, tables in tables may be written instead. What decides which
    trials there are and what their results mean (the target, `base`, `grid`, `ranges`,
    `conditions`, whether there are seeds, how is sampled, `metric`, `direction`) is the
    search's identity and cannot change once it has begun; everything else can.

    Attributes:
        name: What the search is called; its directory is `searches/NAME` unless one is
            given.
        experiment: Name of a registered experiment, which is run as `hypnet run` does.
        command: An external program as a list of arguments, never through a shell.
            `{options}`, an argument of its own, stands for all options; `{KEY}` inside
            an argument for the value of one, which `{options}` then leaves out; `{out}`
            for the directory that the trial may write to (also in the environment, as
            `HYPNET_TRIAL_DIR`). `{{` is a plain `{`.
        style: How `{options}` are written for a command. In the styles with dashes,
            true is the bare `--key` and false nothing.
        summary: File in the trial's directory that the command writes its results to.
        parser: What reads it: `json` (an object), `lines` (of a key and a value), or a
            function as `package.module:function`, which is given the file's path and
            returns a mapping; it may lie in the working directory.
        metric: Which entry of the summary says how good a trial was; dots lead into
            tables.
        direction: Whether a large metric is good (`maximize`) or a small one
            (`minimize`).
        base: Options that all trials share.
        grid: For each option the values to search.
        ranges: For each option a range of numbers to draw from, beside the lists of the
            grid.
        conditions: Exceptions from the grid, in the order in which they apply.
        sampler: Which configurations are run: `grid`, all of them; `random`, as many as
            `max_trials` says, drawn with the `seed` that may be given beside the
            `name`; or any of Optuna's samplers by name, such as `TPESampler` or `tpe`,
            with its options beside. By default `grid`, and `random` where there are
            ranges.
        pruner: Which of Optuna's pruners ends trials early, by name, with its options
            beside; needs a sampler of Optuna's.
        report: For an experiment, the entry of its `metrics.jsonl` that is shown to the
            pruner; the metric's name by default.
        seeds: Seeds to run each configuration with, as the option `seed`: a list, or
            how many (0, 1, …). Without any, no seed is given.
        max_trials: Run only the first so many trials. Needed by every sampler but
            `grid`.
        order: `fixed`, as in nested loops whose last one is the innermost, or
            `shuffled`.
        order_seed: What `shuffled` is shuffled by.
        attempts: How often a trial may be tried, before it counts as failed, each time
            that the search is started.
        resources: What one trial needs.
        scheduler: Name of the scheduler, or a table with its `name` and its options.
        cwd: Working directory of the trials, relative to the search file's directory,
            which is the default.

    Example:
        >>> spec = SearchSpec(name="lr", command=["python", "sim.py", "{options}"], grid={"lr": [0.1, 1.0]}, metric="loss",
        ...                   direction="minimize")
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
    direction: Literal["maximize", "minimize"]
    base: Annotated[dict[str, Any], BeforeValidator(_flat)] = Field(default_factory=dict)
    grid: Annotated[dict[str, list[Any]], BeforeValidator(_flat_lists)] = Field(
        default_factory=dict
    )
    ranges: Annotated[dict[str, RangeSpec], BeforeValidator(_flat_ranges)] = Field(
        default_factory=dict
    )
    conditions: tuple[ConditionSpec, ...] = ()
    sampler: Annotated[dict[str, Any] | None, BeforeValidator(_named)] = None
    pruner: Annotated[dict[str, Any] | None, BeforeValidator(_named)] = None
    report: Annotated[str, Field(min_length=1)] | None = None
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = ()
    max_trials: PositiveInt | None = None
    order: Literal["fixed", "shuffled"] = "fixed"
    order_seed: int = 0
    attempts: PositiveInt = 1
    resources: Resources = Field(default_factory=Resources)
    scheduler: Annotated[dict[str, Any], BeforeValidator(_named)] = Field(
        default_factory=lambda: {"name": "local"}
    )
    cwd: Path = Field(default_factory=Path.cwd)

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise error_from(error, type(self), data) from None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.experiment is None) == (not self.command):
            raise ConfigError(
                "a search needs either an 'experiment' or a 'command'"
                + ", not both" * (self.experiment is not None)
            )
        if not self.searched:
            raise ConfigError(
                "the grid is empty and there are no seeds: there is nothing to search"
            )
        for one, other in (("base", "grid"), ("base", "ranges"), ("grid", "ranges")):
            twice = getattr(self, one).keys() & getattr(self, other).keys()
            if twice:
                raise ConfigError(f"{min(twice)!r} is both in '{one}' and in '{other}'")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("a seed is listed twice")
        options = [*self.base, *self.grid, *self.ranges]
        if self.seeds and SEED in options:
            raise ConfigError("'seed' is both an option and given by 'seeds'")
        if self.command and RESERVED & set(options):
            raise ConfigError(
                f"an option cannot be called {min(RESERVED & set(options))!r}: that is a"
                " placeholder in commands"
            )
        for key, value in self.base.items():
            text_of(value, f"base: {key!r}")
        self._check_sampler()
        return self

    def _check_sampler(self) -> None:
        name = self.sampler_name
        if self.report is not None and self.command:
            raise ConfigError(
                "'report' is for experiments; a command writes what the pruner is to see to"
                " reports.jsonl"
            )
        if name == "grid" and self.ranges:
            raise ConfigError(
                "ranges cannot be searched whole: the sampler must be 'random' or one of Optuna's,"
                " such as 'tpe'"
            )
        if name != "grid" and self.max_trials is None:
            raise ConfigError(f"the sampler {name!r} needs 'max_trials'")
        if name in _SAMPLERS:
            unknown = sorted((self.sampler or {}).keys() - {"name", *_SAMPLERS[name]})
            if unknown:
                raise ConfigError(
                    f"sampler: {name!r} has no option"
                    f" {unknown[0]!r}{did_you_mean(unknown[0], _SAMPLERS[name])}"
                )
            if not isinstance((self.sampler or {}).get("seed", 0), int):
                raise ConfigError(
                    f"sampler: the seed must be a whole number, is {(self.sampler or {})['seed']!r}"
                )
            if self.pruner is not None:
                raise ConfigError(
                    "a pruner needs a sampler of Optuna's, such as 'TPESampler' or 'RandomSampler'"
                )
        elif len(self.seeds) > 1:
            raise ConfigError(
                "a sampler of Optuna's runs each configuration once: give one seed, and gather more"
                " for the best trial afterwards with `hypnet search seeds`"
            )
        elif self.order != "fixed":
            raise ConfigError("the order of trials is the sampler's: leave out 'order'")

    @property
    def searched(self) -> tuple[str, ...]:
        """The options in which trials may differ."""
        return (*self.grid, *self.ranges, *([SEED] if self.seeds else []))

    @property
    def sampler_name(self) -> str:
        """`grid`, `random`, or the name of one of Optuna's samplers as it was written."""
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
        """Whether the sampler learns from results, so that nobody knows beforehand which trials there will be."""
        return self.sampler_name not in _SAMPLERS

    def identity(self) -> dict[str, Any]:
        """What decides which trials there are and what their results mean, as JSON values."""
        everything = self.model_dump(mode="json", include=_IDENTITY) | {"seeds": bool(self.seeds)}
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


_OF_COMMANDS = {"command", "style", "summary", "parser"}
_IDENTITY = {"experiment", *_OF_COMMANDS, "metric", "direction", "base", "grid", "conditions"}
_SAMPLERS = {"grid": (), "random": ("seed",)}


def load_spec(path: Path, **fields: Any) -> SearchSpec:
    """Read a search from a TOML file, or from a YAML one.

    The search is called like the file, and its trials run in the file's directory,
    unless it says otherwise.

    Args:
        path: The file.
        **fields: What holds whatever the file says.

    Raises:
        ConfigError: The file cannot be read, or something in it is unknown, missing or
            impossible.
    """
    table = {
        "name": re.sub(r"^[^\w]+|[^\w.-]+", "-", path.stem).strip("-") or "search",
        **read_mapping(path),
        **fields,
    }
    table["cwd"] = str(path.absolute().parent / str(table.get("cwd", ".")))
    try:
        return validated(SearchSpec, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
