"""Notices that a search sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_hpsearch.spec.fields import SpecPart

__all__ = ["Event", "Notify"]

Event: TypeAlias = Literal["end", "failure"]
"""The end of a run of the search, or its first failure."""

_FIELDS = ("event", "search", "directory", "message")
_PLACEHOLDER = re.compile(r"\{\{|\{([^\W\d]\w*)\}")


class Notify(SpecPart):
    """Whom a search tells what.

    Attributes:
        command: A program as a list of arguments, without a shell; `{message}`,
            `{search}`, `{directory}` and `{event}` are replaced, and `{{` is a literal
            `{`.
        webhook: An address that receives a JSON object with these four fields, and with
            `text` for chat services, in a POST request.
        on: The events: `end`, the end of a run, whether it was complete, stopped or
            failed, and `failure`, its first failed trial.
    """

    command: tuple[str, ...] = ()
    webhook: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    on: tuple[Event, ...] = ("end", "failure")

    @model_validator(mode="after")
    def _has_a_way(self) -> Self:
        if not self.command and self.webhook is None:
            raise ConfigError("notify: give a 'command' or a 'webhook'")
        for item in self.command:
            for found in _PLACEHOLDER.finditer(item):
                if found[1] and found[1] not in _FIELDS:
                    raise ConfigError(
                        f"notify: there is no {{{found[1]}}}{did_you_mean(found[1], _FIELDS)}"
                    )
        return self

    def filled(self, item: str, values: Mapping[str, str]) -> str:
        """An argument of the command with its placeholders replaced."""
        return _PLACEHOLDER.sub(lambda found: values[found[1]] if found[1] else "{", item)
