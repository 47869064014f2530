"""Command lines of trials: lists of arguments, without any shell."""

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
from hypnet_hpsearch.spec.values import argument_text

__all__ = ["check_command", "command_line", "override", "written_options"]

# -P, as for the command `hypnet` itself: modules in the working directory must not
# shadow installed ones.
_HYPNET = (sys.executable, "-P", "-m", "hypnet_core.cli.main")
_OPTIONS = "{options}"
_PLACEHOLDER = re.compile(r"\{\{|\{([^\W\d][^\s{}]*)\}")
# Characters that YAML refuses or reads as line breaks, though JSON allows them.
_NOT_FOR_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def command_line(
    spec: SearchSpec, options: Mapping[str, Any], out: Path, previous: Path | None = None
) -> tuple[str, ...]:
    """The command line of one trial.

    Args:
        spec: The search.
        options: All options of the trial.
        out: The directory that the trial may write to.
        previous: The directory of an earlier attempt to go on from. That of an
            experiment has become `out`.
    """
    if spec.command is None:
        if previous is not None:
            return (*_HYPNET, "run", "--resume", str(out))
        overrides = [override(key, value) for key, value in options.items()]
        return (*_HYPNET, "run", str(spec.experiment), *overrides, "--out", str(out))
    used = _placeholders(spec.command)
    left = {key: value for key, value in options.items() if key not in used}
    argv: list[str] = []
    for item in spec.command:
        argv += (
            written_options(left, spec.style) if item == _OPTIONS else [_filled(item, options, out)]
        )
    if previous is not None and isinstance(spec.resume, tuple):
        places = {"previous": str(previous), "out": str(out)}
        argv += [_filled(item, places, out) for item in spec.resume]
    return tuple(argv)


def override(key: str, value: Any) -> str:
    """An option as `hypnet run` takes it, `key=value`.

    Text is quoted, so that any text arrives unchanged.

    Example:
        >>> override("name", "yes"), override("lr", float("inf"))
        ('name="yes"', 'lr=.inf')
    """
    return f"{key}={_flow(value)}"


def _flow(value: Any) -> str:
    """A value in YAML's flow style.

    It differs from JSON in NaN and the infinities, and in how some rare characters are
    escaped.
    """
    if isinstance(value, Mapping):
        items = (f"{_flow(str(key))}: {_flow(inner)}" for key, inner in value.items())
        return "{" + ", ".join(items) + "}"
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


def check_command(spec: SearchSpec) -> None:
    """Check that the command uses every option, and has no unknown placeholder.

    Raises:
        ConfigError: It does not use an option, or a placeholder is unknown or
            misplaced.
    """
    if spec.command is None:
        return
    options = [*spec.base, *spec.searched]
    used = _placeholders(spec.command)
    for name in used:
        if name not in options and name not in RESERVED:
            raise ConfigError(
                f"the command names {{{name}}}, which is not an option of the"
                f" search{did_you_mean(name, [*options, *RESERVED])} (write {{{{ for a literal"
                " brace)"
            )
    for item in spec.command:
        if "options" in _placeholders([item]) and item != _OPTIONS:
            raise ConfigError(
                f"{_OPTIONS} stands for several arguments, so it must be an argument of its own,"
                f" not part of {item!r}"
            )
    if isinstance(spec.resume, tuple):
        _check_resume(spec.resume)
    unused = [key for key in options if key not in used]
    if unused and "options" not in used:
        raise ConfigError(
            f"the command does not use the option {unused[0]!r}: add {_OPTIONS} or {{{unused[0]}}}"
            " to it"
        )


def _check_resume(items: Iterable[str]) -> None:
    used = _placeholders(items)
    known = ("previous", "out")
    for name in used.difference(known):
        raise ConfigError(
            f"resume: {{{name}}} is not known there{did_you_mean(name, known)} (write {{{{ for a"
            " literal brace)"
        )
    if "previous" not in used:
        raise ConfigError(
            "resume: {previous}, the directory of the earlier attempt, is in none of its arguments"
        )


def _placeholders(items: Iterable[str]) -> set[str]:
    return {found[1] for item in items for found in _PLACEHOLDER.finditer(item) if found[1]}


def _filled(item: str, options: Mapping[str, Any], out: Path) -> str:
    """An argument with its placeholders replaced once; values are not expanded."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not name:
            return "{"
        return str(out) if name == "out" else argument_text(options[name])

    return _PLACEHOLDER.sub(value, item)
