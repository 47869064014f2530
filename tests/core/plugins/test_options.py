"""Options are the keyword-only, typed parameters of a signature."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from hypnet_core.errors import ConfigError, PluginError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.describe import describe, json_schema, type_name
from hypnet_core.plugins.options import descriptions, options_from_signature, options_of, values_of
from hypnet_core.plugins.validation import validated

if TYPE_CHECKING:
    from decimal import Decimal


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    depth: int = 1


class Everything:
    """A component with an option of every type.

    Args:
        in_shape: What the caller supplies.
        out_features: Likewise.
        hidden: Widths of the
            hidden layers.
        rate: A number.
        bias: A flag.
        activation: A word.
        colour: An enum.
        root: A path.
        names: A list.
        table: A mapping.
        inner: A model.
        limit: A number or none.
        either: One or many.
        positive: A number above 0.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        *,
        hidden: tuple[int, ...] = (100, 100),
        rate: float = 0.5,
        bias: bool = True,
        activation: Literal["relu", "tanh"] | None = "relu",
        colour: Colour = Colour.RED,
        root: Path = Path("data"),
        names: list[str] | None = None,
        table: dict[str, int] | None = None,
        inner: Inner = Inner(),  # noqa: B008
        limit: int | None = None,
        either: int | tuple[int, ...] = 3,
        positive: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        self.positional = (in_shape, out_features)
        self.options = {
            name: value
            for name, value in locals().items()
            if name not in {"self", "in_shape", "out_features"}
        }


MODEL = options_from_signature(Everything, ("in_shape", "out_features"), "mainnet 'x:everything'")


def test_the_defaults_are_those_of_the_signature() -> None:
    values = values_of(validated(MODEL, {}))
    assert values == Everything((1,), 2).options


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("hidden", [5, 6], (5, 6)),
        ("hidden", [], ()),
        ("rate", 1, 1.0),
        ("rate", 1e-3, 1e-3),
        ("bias", False, False),
        ("activation", "tanh", "tanh"),
        ("activation", None, None),
        ("colour", "blue", Colour.BLUE),
        ("colour", Colour.BLUE, Colour.BLUE),
        ("root", "/tmp/x", Path("/tmp/x")),
        ("root", Path("y"), Path("y")),
        ("names", ["a"], ["a"]),
        ("table", {"a": 1}, {"a": 1}),
        ("inner", {"depth": 4}, Inner(depth=4)),
        ("limit", None, None),
        ("limit", 1000.0, 1000),
        ("either", 7, 7),
        ("either", [7, 8], (7, 8)),
        ("positive", 2, 2.0),
    ],
)
def test_values_arrive_as_the_type_says(key: str, given: Any, expected: Any) -> None:
    value = values_of(validated(MODEL, {key: given}))[key]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("hidden", ["a"], 'hidden.0: "a" is not possible, expected a whole number'),
        ("hidden", 5, "hidden: 5 is not possible, expected a list"),
        ("hidden", [True], "hidden.0: true is not possible, expected a number"),
        ("rate", "fast", 'rate: "fast" is not possible, expected a number'),
        ("rate", None, "rate: null is not possible, expected a number"),
        ("rate", True, "rate: true is not possible, expected a number"),
        ("bias", 3, "bias: 3 is not possible, expected true or false"),
        ("limit", 1.5, "limit: 1.5 is not possible, expected a whole number"),
        ("limit", False, "limit: false is not possible, expected a number"),
        ("activation", "relo", "activation: \"relo\" is not possible, expected 'relu' or 'tanh'"),
        ("colour", "green", "colour: \"green\" is not possible, expected 'red' or 'blue'"),
        (
            "names",
            [1],
            "names.0: 1 is not possible, expected text (quote a number that is meant as text)",
        ),
        ("table", {"a": True}, "table.a: true is not possible, expected a number"),
        (
            "inner",
            {"depht": 1},
            "inner.depht: there is no such option; did you mean 'inner.depth'?",
        ),
        ("inner", 3, "inner: 3 is not possible, expected a group of options"),
        ("either", "many", 'either: "many" is not possible, expected a whole number or a list'),
        ("positive", 0, "positive: 0 is not possible, expected a number greater than 0"),
        ("hiden", [5], "hiden: there is no such option; did you mean 'hidden'?"),
        ("depth", 5, "depth: there is no such option; did you mean 'inner.depth'?"),
        ("in_shape", [5], "in_shape: there is no such option"),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_what_was_expected(
    key: str, given: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        validated(MODEL, {key: given})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_every_mistake_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        validated(MODEL, {"rate": "a", "hiden": 1})
    assert len(str(caught.value).splitlines()) == 2


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "hidden": st.lists(st.integers(-(2**31), 2**31)),
            "rate": st.floats(allow_nan=False, allow_infinity=False),
            "bias": st.booleans(),
            "activation": st.sampled_from(["relu", "tanh", None]),
            "colour": st.sampled_from(["red", "blue"]),
            "names": st.none() | st.lists(st.text()),
            "table": st.none() | st.dictionaries(st.text(), st.integers()),
            "limit": st.none() | st.integers(),
            "either": st.integers() | st.lists(st.integers()),
        },
    )
)
def test_options_survive_their_way_through_json(options: dict[str, Any]) -> None:
    once = validated(MODEL, options)
    assert validated(MODEL, once.model_dump(mode="json")) == once
    assert validated(MODEL, values_of(once)) == once


def test_descriptions_come_from_the_docstring() -> None:
    described = {option.key: option.description for option in describe(MODEL)}
    assert described["hidden"] == "Widths of the hidden layers."
    assert described["positive"] == "A number above 0."


def test_groups_of_options_are_unfolded() -> None:
    options = {option.key: option for option in describe(MODEL)}
    assert "inner" not in options
    assert (options["inner.depth"].type, options["inner.depth"].default) == ("int", 1)


def test_json_schema_says_types_defaults_and_descriptions() -> None:
    schema = json_schema(MODEL)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["rate"] == {
        "default": 0.5,
        "description": "A number.",
        "title": "Rate",
        "type": "number",
    }
    assert schema["properties"]["hidden"]["default"] == [100, 100]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "int"),
        (tuple[int, ...], "tuple[int, ...]"),
        (int | None, "int | None"),
        (dict[str, list[float]], "dict[str, list[float]]"),
        (Literal["a", 2], "'a' | 2"),
        (Colour, "'red' | 'blue'"),
        (Annotated[int, Field(gt=1)], "int"),
        (Any, "Any"),
    ],
)
def test_types_are_named_as_in_python(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


def test_a_base_class_describes_its_options_too() -> None:
    class Child(Everything):
        """A child, which says nothing about its options."""

    assert descriptions(Child)["rate"] == "A number."
    assert set(options_from_signature(Child, ("a", "b"), "x").model_fields) == set(
        MODEL.model_fields
    )


def test_functions_partials_dataclasses_and_wrapped_functions_have_options_too() -> None:
    def plain(*, size: int = 3) -> int:
        return size

    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return plain(*args, **kwargs)

    @dataclass(kw_only=True)
    class Data:
        size: int = 3

    for found in (plain, wrapped, functools.partial(plain), Data):
        assert values_of(validated(options_from_signature(found, (), "x"), {"size": 4.0})) == {
            "size": 4
        }


def test_further_options_are_accepted_unvalidated_if_the_signature_says_so() -> None:
    def open_one(*, size: int = 1, **more: object) -> dict[str, object]:
        return {"size": size, **more}

    model = options_from_signature(open_one, (), "dataset 'x:open'")
    assert values_of(validated(model, {"anything": [1, {"a": True}]})) == {
        "size": 1,
        "anything": [1, {"a": True}],
    }
    with pytest.raises(ConfigError, match="size"):
        validated(model, {"size": "x"})


def test_an_option_may_be_called_like_a_method_of_pydantic() -> None:
    def copying(*, copy: int = 1, json: str = "a", schema: bool = False) -> None: ...

    model = options_from_signature(copying, (), "x")
    assert values_of(validated(model, {"copy": 2})) == {"copy": 2, "json": "a", "schema": False}


def test_none_as_a_default_makes_none_possible() -> None:
    def careless(*, size: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    model = options_from_signature(careless, (), "x")
    assert (
        values_of(validated(model, {}))
        == values_of(validated(model, {"size": None}))
        == {"size": None}
    )


def test_a_required_option_must_be_given() -> None:
    def demanding(*, size: int) -> None: ...

    model = options_from_signature(demanding, (), "x")
    with pytest.raises(ConfigError, match=r"^size: must be given$"):
        validated(model, {})
    assert [option.required for option in describe(model)] == [True]


def _untyped(*, size=3): ...  # type: ignore[no-untyped-def]


def _hidden_type(*, price: Decimal = 0): ...  # type: ignore[no-untyped-def, assignment]


def _too_few(in_shape: int) -> None: ...


def _too_many(in_shape: int, out_features: int, third: int) -> None: ...


def _positional_option(in_shape: int, out_features: int, width: int = 3) -> None: ...


def _called_name(a: int, b: int, *, name: str = "") -> None: ...


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (_untyped, "it must take"),
        (_too_few, r"it must take \(in_shape, out_features, \*, options\), takes \(in_shape\)"),
        (_too_many, "it must take"),
        (_positional_option, r"the option 'width' must be keyword-only: write '\*' before it"),
        (_called_name, "an option cannot be called 'name'"),
    ],
)
def test_a_signature_that_breaks_the_convention_is_an_error_that_says_how(
    found: Any, message: str
) -> None:
    with pytest.raises(PluginError, match=f"^mainnet 'a:b': {message}"):
        options_of(Kind.MAINNET, found, "mainnet 'a:b'")


def test_an_option_without_a_type_is_an_error() -> None:
    with pytest.raises(PluginError, match="the option 'size' has no type: annotate it"):
        options_of(Kind.DATASET, _untyped, "dataset 'a:b'")


def test_a_type_that_is_not_there_at_run_time_is_an_error() -> None:
    with pytest.raises(
        PluginError, match="the type 'Decimal' of the option 'price' cannot be resolved"
    ):
        options_of(Kind.DATASET, _hidden_type, "dataset 'a:b'")


def test_what_takes_any_positional_argument_is_fine() -> None:
    def generous(*args: object, width: int = 2) -> None: ...

    assert set(options_of(Kind.HYPERNET, generous, "x").model_fields) == {"width"}


def test_an_experiment_needs_a_config() -> None:
    class Nothing:
        pass

    with pytest.raises(
        PluginError, match="an experiment needs a pydantic model as its attribute Config"
    ):
        options_of(Kind.EXPERIMENT, Nothing, "experiment 'a:b'")


class _Own(BaseModel):
    """A model that may hold itself.

    Attributes:
        size: How large.
        inner: The next one.
    """

    size: int = 1
    inner: _Own | None = None


def test_an_optional_group_of_options_is_listed_and_unfolded() -> None:
    described = {option.key: option for option in describe(_Own)}
    assert [*described][:4] == ["size", "inner", "inner.size", "inner.inner"]
    assert (described["inner"].type, described["inner"].default) == ("_Own | None", None)
    assert described["inner.size"].description == "How large."
    assert max(key.count(".") for key in described) < 10
