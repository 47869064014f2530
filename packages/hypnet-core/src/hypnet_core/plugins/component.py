"""Components: what plugins register under a name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from hypnet_core.errors import ImportStringError, PluginError
from hypnet_core.import_strings import PATTERN, import_object
from hypnet_core.plugins.recipe import headings, read_recipe


class Kind(StrEnum):
    """The kinds of components."""

    DATASET = "dataset"
    MAINNET = "mainnet"
    HYPERNET = "hypernet"
    METHOD = "method"
    SAMPLER = "sampler"
    LOGGER = "logger"
    SCHEDULER = "scheduler"
    EXPERIMENT = "experiment"
    RECIPE = "recipe"


class Component(BaseModel):
    """A component that a plugin offers under a name.

    Its object is imported when it is first used. Arguments of the caller are
    positional, options of the user keyword-only:

    | kind | called as | gives |
    | --- | --- | --- |
    | dataset | `factory(*, options)` | a `Task`, or a sequence of tasks |
    | mainnet | `factory(in_shape, out_features, *, options)` | an `nn.Module` |
    | hypernet | `factory(target, conditions, *, options)` | a `HyperNetwork` |
    | method | `factory(problem, *, options)` | a `Method` |
    | sampler | `factory(log_density, *, options)` | a `Sampler` |
    | logger | `factory(*, options)` | a `Logger` |
    | scheduler | `factory(*, options)` | a `Scheduler` |
    | experiment | `factory()` | an `Experiment`, whose `Config` holds the options |
    | recipe | a TOML file | a `Recipe`: an experiment, options, expected figures |

    Attributes:
        kind: The kind of the component.
        name: The name that users type: lower-case letters, digits, `_` and `-`.
        target: Import string `"package.module:attribute"`; of a recipe, the package and
            its file in it, without the suffix.
        summary: One sentence.
        conformance: Hints for the conformance kit, such as the input shapes to try a
            mainnet with; each suite of `hypnet_core.testing` lists the hints it knows.
        fault: Why it can never be used, in one line; such a component is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    target: str = Field(pattern=PATTERN)
    summary: str = Field(min_length=1)
    # For tests alone: neither listed nor part of JSON.
    conformance: Mapping[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    fault: str = Field("", exclude=True, repr=False)

    @classmethod
    def dataset(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A dataset or a task sequence."""
        return cls._of(Kind.DATASET, name, target, summary, conformance)

    @classmethod
    def mainnet(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A main network: a plain `nn.Module`."""
        return cls._of(Kind.MAINNET, name, target, summary, conformance)

    @classmethod
    def hypernet(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A hypernetwork."""
        return cls._of(Kind.HYPERNET, name, target, summary, conformance)

    @classmethod
    def method(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A method of continual learning."""
        return cls._of(Kind.METHOD, name, target, summary, conformance)

    @classmethod
    def sampler(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A sampler of parameters."""
        return cls._of(Kind.SAMPLER, name, target, summary, conformance)

    @classmethod
    def logger(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A logger of metrics."""
        return cls._of(Kind.LOGGER, name, target, summary, conformance)

    @classmethod
    def scheduler(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """A scheduler of jobs."""
        return cls._of(Kind.SCHEDULER, name, target, summary, conformance)

    @classmethod
    def experiment(cls, name: str, target: str, summary: str, **conformance: Any) -> Self:
        """An experiment that `hypnet run` launches."""
        return cls._of(Kind.EXPERIMENT, name, target, summary, conformance)

    @classmethod
    def recipes(cls, package: str) -> list[Component]:
        """The recipes in a package's folder, one TOML file each.

        Only their names and summaries are read. A file that cannot be read becomes a
        component with a fault.

        Args:
            package: Import name of the folder, such as `mylab_nets.recipes`.

        Raises:
            PluginError: There is no such package.
        """
        return [
            # Without validation, which a file's name may not pass.
            cls.model_construct(
                kind=Kind.RECIPE,
                name=found.name,
                target=f"{package}:{found.name}",
                summary=found.summary,
                conformance={},
                fault=found.fault,
            )
            for found in headings(package)
        ]

    @classmethod
    def imported(cls, kind: Kind, target: str) -> Component:
        """A component that no plugin registers, by import string.

        Its name is that of the object, which may have capitals and dots.
        """
        name = target.partition(":")[2]
        summary = f"{target}, by import string."
        # Without validation, which holds names to what plugins may register.
        return cls.model_construct(
            kind=kind, name=name, target=target, summary=summary, conformance={}, fault=""
        )

    @classmethod
    def _of(
        cls, kind: Kind, name: str, target: str, summary: str, conformance: Mapping[str, Any]
    ) -> Self:
        return cls(kind=kind, name=name, target=target, summary=summary, conformance=conformance)

    def load(self) -> Any:
        """Import the object; of a recipe, read its file.

        Raises:
            PluginError: The module cannot be imported, or has no such attribute; or the
                file is not a recipe.
        """
        if self.kind is Kind.RECIPE:
            return read_recipe(*self.target.split(":"))
        try:
            return import_object(self.target)
        except ImportStringError as error:
            raise PluginError(f"{self.kind} {self.name!r}: {error}") from error
