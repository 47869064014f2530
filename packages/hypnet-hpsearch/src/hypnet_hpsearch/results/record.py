"""The base of results that `--json` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["ResultModel"]


class ResultModel(BaseModel):
    """A part of a document of `hypnet search … --json`.

    Standard JSON has neither NaN nor infinity: they become text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
