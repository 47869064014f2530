"""From a trial's options to the command line that runs it: always a list of arguments, never a shell string."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_hpsearch.spec.spec import RESERVED, SearchSpec, Style
from hypnet_hpsearch.state.attempts import Attempt

__all__ = ["argument_text", "attempt_content", "check_command", "command_line", "override"]

DIRECTORY_VARIABLE = "HYPNET_TRIAL_DIR"
"""Environment variable that names the directory that a trial may write to."""

RUN_METRICS = "metrics.jsonl"
"""Where a run of an experiment writes its metrics, step by step."""

RUN_SUMMARY = "summary.json"
"""What a run of an experiment calls its results."""

_OPTIONS = "{options}"
_PLACEHOLDER = re.compile(r"\{\{|\{([^\W\d][^\s{}]*)\}")
# What YAML takes for a line break or refuses, though JSON lets it stand.
_NOT_FOR_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def command_line(spec: SearchSpec, options: Mapping[str, Any], out: Path) -> tuple[str, ...]:
    """The command line of one trial.

    Args:
        spec: The search.
        options: All options of the trial.
        out: The directory that the trial may write to.
    """
    if spec.command is None:
        overrides = [override(key, value) for key, value in options.items()]
        # -P: as with the command `hypnet` itself, nothing in the working directory is
        # imported.
        return (
            sys.executable,
            "-P",
            "-m",
            "hypnet_core.cli.main",
            "run",
            str(spec.experiment),
            *overrides,
            "--out",
            str(out),
        )
    used = _placeholders(spec.command)
    left = {key: value for key, value in options.items() if key not in used}
    argv: list[str] = []
    for item in spec.command:
        argv += (
            written_options(left, spec.style) if item == _OPTIONS else [_filled(item, options, out)]
        )
    return tuple(argv)


def attempt_content(
    spec: SearchSpec, options: Mapping[str, Any], attempt: Attempt
) -> dict[str, Any]:
    """What an attempt's `attempt.json` says.

    Args:
        spec: The search.
        options: All options of the trial.
        attempt: The attempt.
    """
    return {
        "trial": attempt.trial,
        "attempt": attempt.number,
        "options": options,
        "argv": command_line(spec, options, attempt.run),
        "cwd": str(spec.cwd),
        "env": {DIRECTORY_VARIABLE: str(attempt.run)},
        "summary": str(attempt.run / (spec.summary if spec.command else RUN_SUMMARY)),
        "metric": spec.metric,
        "parser": spec.parser if spec.command else "json",
    }


def override(key: str, value: Any) -> str:
    """An option as `hypnet run` takes it, `key=value`; text is quoted, so that any text arrives as it is.

    Example:
        >>> override("name", "yes"), override("lr", float("inf")), override("hidden", [50, None])
        ('name="yes"', 'lr=.inf', 'hidden=[50, null]')
    """
    return f"{key}={_flow(value)}"


def _flow(value: Any) -> str:
    """A value in YAML's flow style: JSON, but for NaN and infinities, which JSON lacks, and some rare characters."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_flow(str(key))}: {_flow(inner)}" for key, inner in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_FOR_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def written_options(options: Mapping[str, Any], style: Style) -> list[str]:
    """Options as arguments of an external command.

    Example:
        >>> written_options({"lr": 0.1, "debug": True, "quiet": False}, "--key=value")
        ['--lr=0.1', '--debug']
        >>> written_options({"lr": 0.1, "debug": True, "quiet": False}, "key=value")
        ['lr=0.1', 'debug=true', 'quiet=false']
    """
    arguments: list[str] = []
    for key, value in options.items():
        if style == "key=value":
            arguments.append(f"{key}={argument_text(value)}")
        elif value is True:
            arguments.append(f"--{key}")
        elif value is not False:
            arguments += (
                [f"--{key}={argument_text(value)}"]
                if style == "--key=value"
                else [f"--{key}", argument_text(value)]
            )
    return arguments


def argument_text(value: Any) -> str:
    """A value as an external command gets it: text as it is, numbers as Python writes them (`nan`, `inf`), all else as JSON.

    Example:
        >>> [argument_text(value) for value in ("a b", 1e-5, float("nan"), True, None, [1, "x"])]
        ['a b', '1e-05', 'nan', 'true', 'null', '[1, "x"]']
    """
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def check_command(spec: SearchSpec) -> None:
    """Check that the command's template uses every option and names none that there is not.

    Raises:
        ConfigError: It does not.
    """
    if spec.command is None:
        return
    options = [*spec.base, *spec.searched]
    used = _placeholders(spec.command)
    for name in used:
        if name not in options and name not in RESERVED:
            raise ConfigError(
                f"the command names {{{name}}}, which is no option of the"
                f" search{did_you_mean(name, [*options, *RESERVED])} (write {{{{ for a plain brace)"
            )
    for item in spec.command:
        if "options" in _placeholders([item]) and item != _OPTIONS:
            raise ConfigError(
                f"{_OPTIONS} stands for several arguments, so it must be one of its own, not part"
                f" of {item!r}"
            )
    unused = [key for key in options if key not in used]
    if unused and "options" not in used:
        raise ConfigError(
            f"the command does not use the option {unused[0]!r}: add {_OPTIONS} or {{{unused[0]}}}"
            " to it"
        )


def _placeholders(items: Iterable[str]) -> set[str]:
    return {found[1] for item in items for found in _PLACEHOLDER.finditer(item) if found[1]}


def _filled(item: str, options: Mapping[str, Any], out: Path) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not name:
            return "{"
        return str(out) if name == "out" else argument_text(options[name])

    return _PLACEHOLDER.sub(value, item)
