"""Configuration fields that choose a component by name, with its options.

An experiment's `Config` says `net: MainnetChoice`, and a user writes `net.name=mlp
net.hidden=[50,50]`. The options are validated against the component, and completed with
its defaults, when the configuration is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hypnet_core.errors import ComponentError, PluginError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.plugins.validation import (
    InvalidChoiceError,
    InvalidOptionsError,
    Mistake,
    error_from,
    validated,
)


class Choice(BaseModel):
    """A component of one kind, chosen by name, with all of its options.

    A bare string is short for the name alone. Dumping gives the name and every option,
    defaults included.

    Attributes:
        kind: The kind of component that may be chosen.
        name: Its name, bare or as `plugin:name`.

    Raises:
        ComponentError: There is no such component, or it cannot be loaded.
        ConfigError: One of its options is unknown, missing or impossible.

    Example:
        ```python
        class Config(BaseModel):
            net: MainnetChoice = MainnetChoice.default("mlp", hidden=(50, 50))

        module = config.net.build(in_shape, out_features)
        ```
    """

    # The options stand beside the name; which ones exist depends on the component.
    model_config = ConfigDict(extra="allow", frozen=True)

    kind: ClassVar[Kind]
    name: str = Field(min_length=1)

    def __init__(self, /, **data: Any) -> None:
        try:
            # Also in Python code mistakes read like those of a configuration.
            super().__init__(**data)
        except ValidationError as error:
            raise error_from(error, type(self), data) from None

    @classmethod
    def default(cls, name: str, **options: Any) -> Any:
        """The default of a field.

        The component is looked up when a configuration is made, not when its class is
        defined.

        Args:
            name: The component's name.
            **options: Options that differ from the component's own defaults.
        """
        # A factory: importing a configuration must not look for components.
        return Field(default_factory=DefaultChoice(cls, {"name": name, **options}))

    @classmethod
    def of(cls, given: str | Mapping[str, Any] | Self) -> Self:
        """A choice from a name, from a mapping of name and options, or from a choice.

        Functions that are called from Python take all three.

        Example:
            >>> LoggerChoice.of("csv") == LoggerChoice.of({"name": "csv"})
            True
        """
        if isinstance(given, cls):
            return given
        options: Mapping[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
        return cls(**options)

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _complete(self) -> Choice:
        # pydantic keeps undeclared fields here; filling it in makes dumps complete.
        extra = self.__pydantic_extra__ if self.__pydantic_extra__ is not None else {}
        try:
            # Plain defaults as well, so that a dump shows the complete choice.
            options = validated(self.entry.options(), extra)
        except (InvalidOptionsError, InvalidChoiceError):
            raise
        except (ComponentError, PluginError) as error:
            raise InvalidChoiceError([Mistake(("name",), str(error))]) from error
        extra.update(options)
        return self

    @property
    def entry(self) -> Entry:
        """The component in the registry."""
        return registry().get(self.kind, self.name)

    @property
    def options(self) -> dict[str, Any]:
        """All validated options of the component, as Python objects."""
        return dict(self.__pydantic_extra__ or {})

    def build(self, *positional: Any) -> Any:
        """Build the component with these options.

        Args:
            *positional: What the caller supplies to a component of this kind.
        """
        return self.entry.build(*positional, **self.options)


@dataclass(frozen=True)
class DefaultChoice:
    """The default of a field that holds a choice.

    It is made when it is needed; the name and the options stay readable, so that
    configurations can be merged into them.

    Attributes:
        choice: The field's type.
        values: The name and the options.
    """

    choice: type[Choice]
    values: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Choice:
        """Make the default."""
        return self.choice(**self.values)


@dataclass(frozen=True)
class DefaultChoices:
    """The default of a field that holds several choices, made when it is needed.

    Attributes:
        choice: The type of each.
        names: Their names.
    """

    choice: type[Choice]
    names: tuple[str, ...]

    def __call__(self) -> tuple[Choice, ...]:
        """Make the default."""
        return tuple(self.choice(name=name) for name in self.names)


def _several(value: Any) -> Any:
    """One choice without brackets is a list of one."""
    return [value] if isinstance(value, (str, Mapping, Choice)) else value


class DatasetChoice(Choice):
    """A dataset or task sequence: `build()`."""

    kind = Kind.DATASET


class MainnetChoice(Choice):
    """A main network: `build(in_shape, out_features)`."""

    kind = Kind.MAINNET


class HypernetChoice(Choice):
    """A hypernetwork: `build(target, conditions)`."""

    kind = Kind.HYPERNET


class MethodChoice(Choice):
    """A method of continual learning: `build(problem)`."""

    kind = Kind.METHOD


class SamplerChoice(Choice):
    """A sampler of parameters: `build(log_density)`."""

    kind = Kind.SAMPLER


class LoggerChoice(Choice):
    """A logger of metrics: `build()`."""

    kind = Kind.LOGGER


class SchedulerChoice(Choice):
    """A scheduler of jobs: `build()`."""

    kind = Kind.SCHEDULER


LoggerChoices: TypeAlias = Annotated[tuple[LoggerChoice, ...], BeforeValidator(_several)]
"""Several loggers: `log=[tensorboard,csv]`, also without brackets for one."""


MethodChoices: TypeAlias = Annotated[tuple[MethodChoice, ...], BeforeValidator(_several)]
"""Several methods: `methods=[ewc,{name: replay, budget: 50}]`."""


def default_methods(*names: str) -> Any:
    """The default of a field of the type `MethodChoices`."""
    return Field(default_factory=DefaultChoices(MethodChoice, names))


def default_loggers(*names: str) -> Any:
    """The default of a field of the type `LoggerChoices`."""
    return Field(default_factory=DefaultChoices(LoggerChoice, names))
