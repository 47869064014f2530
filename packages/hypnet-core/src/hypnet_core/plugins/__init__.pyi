from .choice import (
    DatasetChoice,
    HypernetChoice,
    LoggerChoice,
    LoggerChoices,
    MainnetChoice,
    MethodChoice,
    MethodChoices,
    SamplerChoice,
    SchedulerChoice,
    default_loggers,
    default_methods,
)
from .component import Component, Kind
from .describe import describe, json_schema, type_name
from .discovery import Status, discover
from .groups import only, with_defaults
from .hooks import hookimpl
from .options import (
    POSITIONAL,
    descriptions,
    options_from_signature,
    options_of,
    values_of,
)
from .recipe import Counts, Expected, Recipe, parse_recipe, read_recipe
from .registry import Entry, Registry, registry
from .validation import error_from, validated

__all__ = [
    "POSITIONAL",
    "Component",
    "Counts",
    "DatasetChoice",
    "Entry",
    "Expected",
    "HypernetChoice",
    "Kind",
    "LoggerChoice",
    "LoggerChoices",
    "MainnetChoice",
    "MethodChoice",
    "MethodChoices",
    "Recipe",
    "Registry",
    "SamplerChoice",
    "SchedulerChoice",
    "Status",
    "default_loggers",
    "default_methods",
    "describe",
    "descriptions",
    "discover",
    "error_from",
    "hookimpl",
    "json_schema",
    "only",
    "options_from_signature",
    "options_of",
    "parse_recipe",
    "read_recipe",
    "registry",
    "type_name",
    "validated",
    "values_of",
    "with_defaults",
]
