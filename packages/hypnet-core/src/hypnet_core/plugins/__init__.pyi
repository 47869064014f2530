from .choice import (
    DatasetChoice,
    HypernetChoice,
    LoggerChoice,
    LoggerChoices,
    MainnetChoice,
    MethodChoice,
    SchedulerChoice,
    default_loggers,
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
from .registry import Entry, Registry, registry
from .validation import error_from, validated

__all__ = [
    "POSITIONAL",
    "Component",
    "DatasetChoice",
    "Entry",
    "HypernetChoice",
    "Kind",
    "LoggerChoice",
    "LoggerChoices",
    "MainnetChoice",
    "MethodChoice",
    "Registry",
    "SchedulerChoice",
    "Status",
    "default_loggers",
    "describe",
    "descriptions",
    "discover",
    "error_from",
    "hookimpl",
    "json_schema",
    "only",
    "options_from_signature",
    "options_of",
    "registry",
    "type_name",
    "validated",
    "values_of",
    "with_defaults",
]
