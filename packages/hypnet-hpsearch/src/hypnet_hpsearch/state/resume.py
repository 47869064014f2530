"""Attempts that go on where an earlier attempt at the same trial has stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypnet_hpsearch.spec.command import command_line
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.trial.files import REPORTS, read_text
from hypnet_hpsearch.trial.records import ResumeRecord
from hypnet_hpsearch.trial.reports import Reports

__all__ = ["last_step", "resumption"]

_NOTHING = -1
_CONFIG = "config.json"
_LATEST = Path("checkpoints", "latest.json")


def last_step(spec: SearchSpec, run: Path) -> int:
    """How far an attempt has come, as far as another one can go on from there.

    For an experiment it is the step of the last checkpoint, for a command the last step
    that was reported; -1 if there is none.

    Args:
        spec: The search.
        run: The directory that the attempt has written to.
    """
    if spec.command:
        return max((step for step, _ in Reports(run / REPORTS).news()), default=_NOTHING)
    try:
        step = json.loads(read_text(run / _LATEST))["index"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return _NOTHING
    return step if isinstance(step, int) else _NOTHING


def resumption(
    spec: SearchSpec, options: Mapping[str, Any], earlier: Path, out: Path
) -> ResumeRecord | None:
    """How an attempt goes on from an earlier one; `None` if there is nothing to go on.

    Args:
        spec: The search.
        options: All options of the trial.
        earlier: The directory that the earlier attempt has written to.
        out: The directory that the new attempt may write to.
    """
    step = last_step(spec, earlier)
    if spec.command:
        try:
            found = any(path.name != REPORTS for path in earlier.iterdir())
        except OSError:
            return None
    else:
        found = step > _NOTHING and (earlier / _CONFIG).is_file()
    if not found or earlier.is_symlink():
        return None
    return {
        "previous": str(earlier),
        "move": spec.command is None,
        "argv": command_line(spec, options, out, earlier),
        "step": step,
    }
