"""Fields of a search: tables with dotted keys, conditions and resources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
)

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.values import flattened

__all__ = [
    "ComponentField",
    "GridCondition",
    "GridField",
    "OptionsField",
    "RangesField",
    "Resources",
    "SeedsField",
    "SpecPart",
]


class SpecPart(BaseModel):
    """Base model of all parts of a search file: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _flat_options(value: Any) -> Any:
    return flattened(value, "options") if isinstance(value, Mapping) else value


def _flat_lists(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _listed(key, some) for key, some in flattened(value, "grid").items()}


def _listed(key: str, some: Any) -> list[Any]:
    if isinstance(some, (str, bytes, Mapping)) or not hasattr(some, "__iter__"):
        raise ConfigError(
            f"grid: {key!r} must be a list of values, is {some!r}; write [{some!r}] to search one"
            " value"
        )
    return list(some)


def _flat_ranges(value: Any) -> Any:
    """Ranges by dotted key."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for key, some in flattened(value, "ranges", is_leaf=_is_range).items():
        if isinstance(some, (list, tuple)):
            raise ConfigError(f"ranges: {key!r} is a list; lists of values belong in 'grid'")
        if not isinstance(some, (Mapping, RangeSpec)):
            raise ConfigError(
                f"ranges: {key!r} must be a table such as {{ low = 1e-4, high = 1e-1, log = true"
                f" }}, is {some!r}"
            )
        flat[key] = some
    return flat


def _is_range(table: Mapping[Any, Any]) -> bool:
    """Whether a table is a range, not a group of ranges."""
    return not table or not all(
        isinstance(inner, (Mapping, list, RangeSpec)) for inner in table.values()
    )


def _flat_choices(value: Any) -> Any:
    """Lists of values by dotted key; a single value stands for a list of one."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: list(some) if isinstance(some, (list, tuple)) else [some]
        for key, some in flattened(value, "condition").items()
    }


def _named(value: Any) -> Any:
    """A component as a table: its name alone stands for a table without options."""
    return {"name": value} if isinstance(value, str) else value


def _seed_list(value: Any) -> Any:
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


OptionsField: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_flat_options)]
"""Options by dotted name, given as tables within tables."""

GridField: TypeAlias = Annotated[dict[str, list[Any]], BeforeValidator(_flat_lists)]
"""Lists of values by dotted name."""

RangesField: TypeAlias = Annotated[dict[str, RangeSpec], BeforeValidator(_flat_ranges)]
"""Ranges by dotted name."""

ChoicesField: TypeAlias = Annotated[dict[str, list[Any]], BeforeValidator(_flat_choices)]
"""Values, or lists of values, by dotted name."""

ComponentField: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_named)]
"""A component: its name, or a table with its name and options."""

SeedsField: TypeAlias = Annotated[tuple[int, ...], BeforeValidator(_seed_list)]
"""Seeds: a list, or how many, from 0."""


class GridCondition(SpecPart):
    """An exception from the grid.

    Configurations that match `when` are searched with the values of `then` instead.

    Conditions apply in order, each to the configurations that its predecessors left.
    None of them applies twice.

    Attributes:
        when: For each key the value, or the list of values, that match; all keys must
            match.
        then: For each key the value, or the list of values, to search instead.
        optional: Skip the condition if the grid lacks one of its keys; by default that
            is an error.
    """

    when: ChoicesField
    then: ChoicesField
    optional: bool = False


class Resources(SpecPart):
    """The resources of one trial; see `hypnet_core.jobs.JobSpec`.

    Attributes:
        cpus: Processor cores.
        gpus: GPUs.
        memory: Main memory in bytes, or text such as `"8GiB"`.
        time_limit: Longest running time in seconds, or `"HH:MM:SS"`.
        options: Extra words for the scheduler's own command line.
    """

    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: Annotated[ByteSize, Field(gt=0)] | None = None
    time_limit: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    options: tuple[str, ...] = ()
