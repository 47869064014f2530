"""What a plugin registers: a name, where its object is found, and one sentence about it."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from hypnet_core.errors import PluginError, did_you_mean


class Kind(StrEnum):
    """What a component is."""

    DATASET = "dataset"
    MAINNET = "mainnet"
    HYPERNET = "hypernet"
    SCHEDULER = "scheduler"
    EXPERIMENT = "experiment"


class Component(BaseModel):
    """Something that a plugin offers under a name.

    The object itself is imported when it is first used.

    What the caller supplies is positional, what the user configures is keyword-only:

    | kind | called as | gives |
    | --- | --- | --- |
    | dataset | `factory(*, options)` | a `Task`, or a sequence of tasks |
    | mainnet | `factory(in_shape, out_features, *, options)` | an `nn.Module` |
    | hypernet | `factory(target, conditions, *, options)` | a `HyperNetwork` |
    | scheduler | `factory(*, options)` | a `Scheduler` |
    | experiment | `factory()` | an `Experiment`, whose `Config` holds the options |

    Attributes:
        kind: What it is.
        name: What users type: lower-case letters, digits, `_` and `-`.
        target: Import string `"package.module:attribute"`.
        summary: One sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    target: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    summary: str = Field(min_length=1)

    @classmethod
    def dataset(cls, name: str, target: str, summary: str) -> Self:
        """A dataset or a task sequence."""
        return cls(kind=Kind.DATASET, name=name, target=target, summary=summary)

    @classmethod
    def mainnet(cls, name: str, target: str, summary: str) -> Self:
        """A main network: a plain `nn.Module`."""
        return cls(kind=Kind.MAINNET, name=name, target=target, summary=summary)

    @classmethod
    def hypernet(cls, name: str, target: str, summary: str) -> Self:
        """A hypernetwork."""
        return cls(kind=Kind.HYPERNET, name=name, target=target, summary=summary)

    @classmethod
    def scheduler(cls, name: str, target: str, summary: str) -> Self:
        """A scheduler of jobs."""
        return cls(kind=Kind.SCHEDULER, name=name, target=target, summary=summary)

    @classmethod
    def experiment(cls, name: str, target: str, summary: str) -> Self:
        """An experiment that `hypnet run` launches."""
        return cls(kind=Kind.EXPERIMENT, name=name, target=target, summary=summary)

    def load(self) -> Any:
        """Import the object.

        Raises:
            PluginError: The module cannot be imported, or has no such attribute.
        """
        module_name, _, path = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
        except Exception as error:
            raise PluginError(
                f"{self.kind} {self.name!r}: cannot import {module_name}: {type(error).__name__}:"
                f" {error}"
            ) from error
        for attribute in path.split("."):
            try:
                found = getattr(found, attribute)
            except AttributeError as error:
                raise PluginError(
                    f"{self.kind} {self.name!r}: {module_name} has no"
                    f" {path!r}{did_you_mean(attribute, dir(found))}"
                ) from error
        return found
