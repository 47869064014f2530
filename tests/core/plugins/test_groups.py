"""Groups of options: declared once, unfolded wherever options are read."""

from __future__ import annotations

from typing import Annotated, Any, Required, TypedDict, Unpack

import pytest
from pydantic import Field

from hypnet_core.errors import ConfigError, PluginError
from hypnet_core.plugins import (
    describe,
    json_schema,
    options_from_signature,
    validated,
    values_of,
    with_defaults,
)
from hypnet_core.plugins.groups import group_fields


class SizeOptions(TypedDict, total=False):
    """How large a network is."""

    width: Annotated[int, Field(default=64, ge=1, description="Units per layer.")]
    depth: Annotated[int, Field(default=2, description="Number of layers.")]


class NamedOptions(SizeOptions, total=False):
    """A group that inherits from another."""

    title: Required[Annotated[str, Field(description="What it is called.")]]


class ListOptions(TypedDict, total=False):
    """A group with a mutable default."""

    names: Annotated[list[str], Field(default_factory=list)]


def build(*, bias: bool = True, **options: Unpack[NamedOptions]) -> dict[str, Any]:
    """Build something.

    Args:
        bias: Whether there is a bias.
        **options: See `NamedOptions`.
    """
    return {"bias": bias, **with_defaults(NamedOptions, options)}


def test_defaults_complete_what_was_given() -> None:
    assert with_defaults(SizeOptions, {"depth": 3}) == {"width": 64, "depth": 3}
    assert build(title="a", width=1) == {"bias": True, "title": "a", "width": 1, "depth": 2}


def test_a_mutable_default_is_never_shared() -> None:
    nothing: ListOptions = {}
    with_defaults(ListOptions, nothing)["names"].append("x")
    assert with_defaults(ListOptions, nothing) == {"names": []}


def test_unknown_and_missing_options_are_named() -> None:
    with pytest.raises(TypeError, match="there is no option 'widht'; did you mean 'width'"):
        build(title="a", widht=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="the option 'title' must be given"):
        build()  # type: ignore[call-arg]


def test_options_of_a_group_stand_beside_the_components_own() -> None:
    model = options_from_signature(build, (), "build")
    described = {option.key: option for option in describe(model)}
    assert list(described) == ["bias", "width", "depth", "title"]
    width = described["width"]
    assert (width.type, width.default, width.description) == ("int", 64, "Units per layer.")
    assert described["title"].required
    assert json_schema(model)["properties"]["depth"]["description"] == "Number of layers."
    assert build(**values_of(validated(model, {"title": "a"}))) == build(title="a")


def test_options_of_a_group_are_validated_as_any_other() -> None:
    model = options_from_signature(build, (), "build")
    with pytest.raises(ConfigError, match="width: 0 is not possible, expected a number greater"):
        validated(model, {"title": "a", "width": 0})
    with pytest.raises(ConfigError, match="dept: there is no such option; did you mean 'depth'"):
        validated(model, {"title": "a", "dept": 1})


def test_a_group_must_be_a_typed_dictionary_with_known_types() -> None:
    with pytest.raises(PluginError, match="is not a TypedDict"):
        group_fields(dict)

    class Broken(TypedDict):
        size: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(PluginError, match="options in Broken cannot be resolved"):
        group_fields(Broken)
