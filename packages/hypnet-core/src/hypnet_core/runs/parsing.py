"""Parsers of configurations: TOML, YAML, and values from the command line.

YAML is YAML 1.2 here: `1e-3` is a number, `010` is ten, and `no`, `on` and `2026-01-31`
are text. (PyYAML follows YAML 1.1, in which `1e-3` is text and `no` is false.)
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hypnet_core.errors import ConfigError, clipped

_TAG = "tag:yaml.org,2002:"
# Python itself needs time that grows with the square of the digits.
_MAX_DIGITS = 1_000
_MAX_EXPANDED = 1_000_000
"""Characters and values that aliases may expand to, at least."""

# What PyYAML, tomllib, json and the constructors of numbers and characters raise.
_UNREADABLE = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        (
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.?(?:inf|Inf|INF)|\.?(?:nan|NaN|NAN)"
        ),
        "-+.0123456789iInN",
    ),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2.

    It refuses duplicate keys and keys that are not text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag == f"{_TAG}merge":
                continue
            # Options have names; `1: x` or `null: x` is a mistake.
            if key_node.tag != f"{_TAG}str":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not text: quote it", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; quotes text that `_Loader` would not read as text."""


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits is too long")
    return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    r"""Text, with surrogate pairs such as `\ud83d\ude00` joined.

    JSON writes characters beyond the basic plane so; PyYAML does not join them.
    """
    text: str = loader.construct_scalar(node)
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise yaml.constructor.ConstructorError(
            None, None, "half a surrogate pair is not a character", node.start_mark
        ) from None


# Start without the scalars of YAML 1.1, which PyYAML would inherit.
_Loader.yaml_implicit_resolvers = {}
_Dumper.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{_TAG}str", _construct_text)
_Loader.add_constructor(f"{_TAG}int", _construct_int)
_Loader.add_constructor(f"{_TAG}float", _construct_float)


def parse_value(text: str) -> Any:
    """Parse a value from the command line.

    Numbers, `true`, `false` and `null` are recognised. A leading `[`, `{` or quote
    starts a list, a mapping or text in YAML's flow style, which includes JSON.
    Everything else, also nothing, is text.

    Raises:
        ConfigError: A list, mapping or quoted text is not well formed.

    Example:
        >>> [parse_value(text) for text in ("1e-3", "[50, 50]", "'1'", "a: b #1", "")]
        [0.001, [50, 50], '1', 'a: b #1', '']
    """
    text = text.strip()
    if not text:
        return ""
    try:
        if text[0] in "[{'\"":
            return _load_flow(text)
        # Resolve the single scalar as the loader would inside a document.
        # An empty document: the loader is only needed for its rules.
        loader: Any = _Loader("")
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except _UNREADABLE as error:
        raise ConfigError(f"{clipped(repr(text))} is not well formed: {_problem(error)}") from error


def _load_flow(text: str) -> Any:
    """A list, mapping or quoted text.

    PyYAML refuses keys of more than 1,024 characters, which JSON allows.
    """
    try:
        return _load(text)
    except (yaml.scanner.ScannerError, yaml.parser.ParserError) as error:
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise error from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: A file whose name ends with `.toml`, `.yaml` or `.yml`.

    Raises:
        ConfigError: It cannot be read, is empty or malformed, has a duplicate key, or
            is not a mapping.
    """
    if path.suffix not in {".toml", ".yaml", ".yml"}:
        raise ConfigError(f"{path}: a configuration file ends with .toml, .yaml or .yml")
    try:
        # Editors on Windows put a byte order mark at the start.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text") from error
    content = _read_toml(path, text) if path.suffix == ".toml" else _read_yaml(path, text)
    if content in (None, {}):
        raise ConfigError(f"{path}: is empty")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: holds {_kind_of(content)}, expected options as `key: value`")
    return content


def _read_toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(
            r"(.*) \(at (?:line (\d+), column \d+|(end of document))\)", str(error), re.DOTALL
        )
        problem, line = (found[1], found[2] or text.count("\n") + 1) if found else (str(error), 1)
        raise ConfigError(f"{path}:{line}: {problem}") from error
    except _UNREADABLE as error:
        raise ConfigError(f"{path}: is not well formed: {_problem(error)}") from error


def _read_yaml(path: Path, text: str) -> Any:
    try:
        return _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: {_problem(error)}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(
            f"{path}:{line}: a character is not allowed in YAML: {error.reason}"
        ) from error
    except _UNREADABLE as error:
        raise ConfigError(f"{path}: is not well formed: {_problem(error)}") from error


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        content = loader.get_single_data()
    finally:
        loader.dispose()
    # Only anchors can make a document larger than its text.
    if "&" in text:
        _check_aliases(content, max(_MAX_EXPANDED, 10 * len(text)))
    return content


def _check_aliases(content: Any, limit: int) -> None:
    """Refuse aliases of aliases that grow without bound, or into themselves."""
    # A stack instead of recursion, which nesting could exhaust.
    left, size = [content], 0
    while left:
        value = left.pop()
        size += 1 + (len(value) if isinstance(value, str) else 0)
        if size > limit:
            raise ValueError("its aliases refer to themselves, or expand to over a megabyte")
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    words = " ".join(f"{context}, {problem}".split() if context else str(problem).split())
    return clipped(words or type(error).__name__, 200)


def _kind_of(content: Any) -> str:
    return {
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }.get(type(content), "a value")


def to_yaml(values: Mapping[str, Any], *, only_ascii: bool = False) -> str:
    """Dump JSON values as YAML, in the given order; `read_mapping` is the inverse.

    Args:
        values: The values.
        only_ascii: Whether to escape all other characters.
    """
    text = _dumped(values, allow_unicode=not only_ascii)
    # PyYAML writes these unescaped and then reads them as line breaks.
    return (
        _dumped(values, allow_unicode=False) if set(text) & set("\x85\u2028\u2029\ufeff") else text
    )


def _dumped(values: Mapping[str, Any], *, allow_unicode: bool) -> str:
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=10_000
    )
    return text
