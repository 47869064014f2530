"""The errors that hypnet raises.

An error says what was wrong, what was expected and, where there is one, the nearest
right name. The command prints it as one line and exits with `exit_code`; a traceback is
for `--debug`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class HypnetError(Exception):
    """Base of all errors of hypnet: bad input, a missing plugin, a damaged file."""

    exit_code: ClassVar[int] = 1


class UsageError(HypnetError):
    """The command line was wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration has an unknown key or an invalid value."""


class ComponentError(UsageError):
    """A component is unknown, ambiguous, or could not be loaded."""


class ImportStringError(UsageError):
    """An import string is malformed, or its object does not exist."""


class PluginError(HypnetError):
    """A plugin is broken."""


class SpecError(HypnetError, ValueError):
    """Shapes, sizes or names do not fit together."""


class WeightsError(SpecError):
    """Weights are missing, superfluous or of the wrong shape."""


class ConditionError(HypnetError, ValueError):
    """A condition is out of range, missing, or of the wrong size."""


class DataError(HypnetError):
    """A data file or sample is missing, damaged or not what it should be."""


class CheckpointError(HypnetError):
    """A checkpoint is truncated, was tampered with, or belongs to something else."""


class RunError(HypnetError):
    """A run cannot start, write or continue."""


class DivergedError(RunError):
    """The loss became NaN or infinite."""


class SamplingError(HypnetError, ValueError):
    """A distribution cannot be sampled: its log density is not what it should be."""


class SchedulerError(HypnetError):
    """A job could not be submitted, polled or cancelled."""


class SchedulerUnavailableError(SchedulerError):
    """A scheduler is temporarily out of reach, or accepts no more jobs.

    States of jobs that were known before still hold; ask again later.
    """


def nearest(name: str, choices: Iterable[str], limit: int = 3) -> list[str]:
    """The names among `choices` that are closest to `name`, best first.

    Example:
        >>> nearest("chunked_hmpl", ["hmlp", "chunked_hmlp", "mlp"], limit=1)
        ['chunked_hmlp']
    """
    return difflib.get_close_matches(name, list(choices), n=limit, cutoff=0.5)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A hint about an unknown name: the nearest names, or else the known ones.

    Example:
        >>> did_you_mean("mlpp", ["mlp", "lenet"])
        "; did you mean 'mlp'?"
        >>> did_you_mean("xyz", ["mlp", "lenet"])
        '; there is: lenet, mlp'
    """
    names = sorted(set(choices))
    close = nearest(name, names)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    if not names:
        return "; there is none"
    return f"; there is: {listed(names)}"


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names for an error message, at most `limit` of them.

    Example:
        >>> listed(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    everything = list(names)
    shown = ", ".join(everything[:limit])
    return shown if len(everything) <= limit else f"{shown} and {len(everything) - limit} more"


def clipped(text: str, limit: int = 80) -> str:
    """Text for an error message, cut after `limit` characters.

    Example:
        >>> clipped("abcdefgh", limit=6)
        'abc...'
    """
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def safe_repr(value: object) -> str:
    """The `repr` of a value, even if that raises.

    Example:
        >>> safe_repr("a")
        "'a'"
    """
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  the class may be foreign code
        return "a value that cannot be shown"


def message_of(error: BaseException, limit: int = 300) -> str:
    r"""The message of an exception in one line, even if its `__str__` raises.

    It is cut after `limit` characters.

    Example:
        >>> message_of(ValueError("two\nlines"))
        'two lines'
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the class of an exception may be foreign code
        text = "(its message cannot be read)"
    return clipped(" ".join(text.split()), limit)


def error_line(error: BaseException, *plain: type[BaseException], limit: int = 300) -> str:
    """The type and message of an exception in one line.

    Args:
        error: The exception.
        *plain: Types whose message stands for itself.
        limit: The most characters of the message.

    Example:
        >>> error_line(KeyError("x")), error_line(KeyError("x"), LookupError)
        ("KeyError: 'x'", "'x'")
    """
    text, name = message_of(error, limit), type(error).__name__
    if text and isinstance(error, plain):
        return text
    return f"{name}: {text}" if text else name
