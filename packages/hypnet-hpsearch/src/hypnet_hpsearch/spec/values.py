"""Option values as text: one value, one text.

A search never holds its configurations as dictionaries. Each value is turned into JSON
once; a configuration is a tuple of such texts, which is small, compares and hashes
fast, and gives the same trial id wherever and whenever it is computed.
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

__all__ = ["flattened", "sameness", "text_of", "value_of"]


def text_of(value: Any, where: str) -> str:
    """The JSON of a value: keys sorted, no spaces, NaN and infinities as `NaN`, `Infinity`, `-Infinity`.

    Args:
        value: What TOML, YAML or JSON can hold; no dates.
        where: What the message about an impossible value begins with.

    Raises:
        ConfigError: The value is no such thing, or holds a NUL character, which no
            process can be given.

    Example:
        >>> text_of({"b": [1, 2.0], "a": None}, "grid")
        '{"a":null,"b":[1,2.0]}'
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: {type(value).__name__} {str(value)[:40]!r} is no text, number, list or"
            f" table: {error}"
        ) from None
    if _NUL.search(text):
        raise ConfigError(
            f"{where}: {str(value)[:40]!r} holds a NUL character, which cannot be passed to a"
            " process"
        )
    return text


def value_of(text: str) -> Any:
    """The value that `text_of` made a text of."""
    return json.loads(text)


def sameness(value: Any, text: str) -> Hashable:
    """A key that is equal for equal values: 1 and 1.0 are one value, 1 and true are not, and NaN is equal to itself.

    Args:
        value: A value.
        text: Its text.
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
    """A table of tables as one table with dotted keys.

    Args:
        table: Options; TOML reads `train.lr = 0.1` as a table in a table.
        where: What an error message begins with.
        is_leaf: Which of the tables within are values rather than groups of options;
            the empty ones by default.

    Raises:
        ConfigError: A key is no text or empty, starts with a dash, holds `=` or a
            space, or occurs twice.

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
        raise ConfigError(f"{where}: the key {key!r} is no text but a {type(key).__name__}")
    if (
        not key
        or key.startswith("-")
        or not key.isprintable()
        or any(sign in key for sign in "= {}")
    ):
        raise ConfigError(f"{where}: {key!r} is no name of an option")
