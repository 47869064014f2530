"""Option values as canonical text.

A search does not hold its configurations as dictionaries. Each value is converted to
JSON once; a configuration is a tuple of such texts, which is small, compares and hashes
fast, and gives the same trial id on every machine.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from hypnet_core.errors import ConfigError

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

__all__ = ["argument_text", "flattened", "sameness", "text_of", "value_of"]


def text_of(value: Any, where: str) -> str:
    """The canonical JSON of a value.

    Keys are sorted and there are no spaces; NaN and the infinities are written as
    `NaN`, `Infinity` and `-Infinity`.

    Args:
        value: A value that TOML, YAML or JSON can hold, except dates.
        where: Prefix of the error message.

    Raises:
        ConfigError: The value cannot be written as JSON, or contains a NUL character,
            which no process can receive.

    Example:
        >>> text_of({"b": [1, 2.0], "a": None}, "grid")
        '{"a":null,"b":[1,2.0]}'
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        # Lone surrogates pass json.dumps, but cannot be passed to a process.
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: {type(value).__name__} {str(value)[:40]!r} is not text, a number, a list or"
            f" a table: {error}"
        ) from None
    if _NUL.search(text):
        raise ConfigError(
            f"{where}: {str(value)[:40]!r} contains a NUL character, which cannot be passed to a"
            " process"
        )
    return text


def value_of(text: str) -> Any:
    """The value whose canonical text this is."""
    return json.loads(text)


def argument_text(value: Any) -> str:
    """A value as an argument of an external command.

    Text stays as it is, floating-point numbers are written as Python does (`nan`,
    `inf`), and all other values as JSON.

    Example:
        >>> values = ("a b", 1e-5, float("nan"), True, None, [1, "x"])
        >>> [argument_text(value) for value in values]
        ['a b', '1e-05', 'nan', 'true', 'null', '[1, "x"]']
    """
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def sameness(value: Any, text: str) -> Hashable:
    """A key that is equal for equal values.

    1 and 1.0 are one value, 1 and true are not, and NaN is equal to itself.

    Args:
        value: A value.
        text: Its canonical text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return text
    return value


def flattened(
    table: Mapping[Any, Any],
    where: str,
    *,
    is_leaf: Callable[[Mapping[Any, Any]], bool] = operator.not_,
) -> dict[str, Any]:
    """Flatten nested tables into one table with dotted keys.

    Args:
        table: Options; TOML reads `train.lr = 0.1` as a table in a table.
        where: Prefix of error messages.
        is_leaf: Tells which inner tables are values rather than groups of options; the
            empty ones by default.

    Raises:
        ConfigError: A key is not text, is empty, starts with a dash, contains `=`, a
            brace or a space, or occurs twice.

    Example:
        >>> flattened({"train": {"lr": 0.1, "steps": 5}, "seed": 1}, "base")
        {'train.lr': 0.1, 'train.steps': 5, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        _check_key(key, where)
        is_group = isinstance(value, Mapping) and not is_leaf(value)
        inner = flattened(value, where, is_leaf=is_leaf) if is_group else {"": value}
        for rest, leaf in inner.items():
            name = f"{key}.{rest}" if rest else key
            if name in flat:
                raise ConfigError(f"{where}: {name!r} is given twice")
            flat[name] = leaf
    return flat


def _check_key(key: Any, where: str) -> None:
    if not isinstance(key, str):
        raise ConfigError(f"{where}: the key {key!r} must be text, not {type(key).__name__}")
    if (
        not key
        or key.startswith("-")
        or not key.isprintable()
        or any(sign in key for sign in "= {}")
    ):
        raise ConfigError(f"{where}: {key!r} cannot be the name of an option")
