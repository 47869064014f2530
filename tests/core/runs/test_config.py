"""Configurations: defaults, below a file, below dotted overrides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from hypnet_core.errors import ComponentError, ConfigError
from hypnet_core.plugins.choice import MainnetChoice
from hypnet_core.plugins.registry import Registry
from hypnet_core.runs.config import difference, dump_config, load_config, parse_overrides
from hypnet_core.runs.parsing import parse_value, read_mapping, to_yaml

CODE = """
    from pathlib import Path
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.mainnet("mlp", "stranger_nets:mlp", "A network."),
            Component.mainnet("conv", "stranger_nets:conv", "A network."),
            Component.mainnet("stored", "stranger_nets:stored", "A network."),
        ]

    def mlp(in_shape, out_features, *, hidden: tuple[int, ...] = (10,), dropout: float = 0.0):
        pass

    def stored(in_shape, out_features, *, start: Path | None = None):
        pass

    def conv(in_shape, out_features, *, channels: int = 4, dropout: float = 0.0):
        pass
"""


class Train(BaseModel):
    name: str = "adam"
    lr: float = 0.1
    iterations: int = 100
    clip: float | None = None
    milestones: tuple[int, ...] = (1, 2)
    options: dict[str, Any] = Field(default_factory=lambda: {"beta": 0.9, "eps": 1e-8})


class Config(BaseModel):
    net: MainnetChoice = MainnetChoice.default("mlp", hidden=(50, 50))
    train: Train = Field(default_factory=Train)
    seed: int = 0
    title: str = ""
    extra: MainnetChoice | None = None


@pytest.fixture(autouse=True)
def _registry(register: Callable[..., Registry]) -> None:
    register(nets=CODE)


def write(directory: Path, text: str | bytes, name: str = "config.yaml") -> Path:
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_nothing_given_means_the_defaults() -> None:
    config = load_config(Config)
    assert config == Config()
    assert config.net.options == {"hidden": (50, 50), "dropout": 0.0}


def test_overrides_are_above_the_file_and_the_file_above_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  lr: 1e-3\n  iterations: 7\n")
    config = load_config(Config, path, ["train.lr=0.5"])
    assert (config.train.lr, config.train.iterations, config.train.clip) == (0.5, 7, None)


def test_toml_is_read_as_well(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 3\n[net]\nhidden = [1, 2]\n[train]\nlr = 1e-3\n", "config.toml")
    config = load_config(Config, path)
    assert (config.seed, config.net.options["hidden"], config.train.lr) == (3, (1, 2), 1e-3)


def test_options_of_the_default_component_are_kept_below_new_ones() -> None:
    assert load_config(Config, overrides=["net.dropout=0.5"]).net.options == {
        "hidden": (50, 50),
        "dropout": 0.5,
    }


def test_another_component_does_not_inherit_options(tmp_path: Path) -> None:
    path = write(tmp_path, "net: {name: mlp, hidden: [1], dropout: 0.25}")
    for overrides in (["net.name=conv"], ["net=conv"]):
        assert load_config(Config, path, overrides).net.options == {"channels": 4, "dropout": 0.0}
    config = load_config(Config, path, ["net.channels=9", "net.name=conv"])
    assert config.net.options == {"channels": 9, "dropout": 0.0}


def test_an_option_of_the_file_goes_with_the_component_that_it_was_for(tmp_path: Path) -> None:
    path = write(tmp_path, "net: {hidden: [1]}")
    assert load_config(Config, path, ["net.name=conv"]).net.options == {
        "channels": 4,
        "dropout": 0.0,
    }
    assert load_config(Config, path, ["net.name=mlp"]).net.options == {
        "hidden": (1,),
        "dropout": 0.0,
    }


def test_a_group_that_is_no_component_keeps_its_options_under_another_name() -> None:
    config = load_config(Config, overrides=["train.name=sgd", "train.lr=3"])
    assert (config.train.name, config.train.lr, config.train.iterations) == ("sgd", 3.0, 100)


def test_single_keys_of_a_mapping_are_replaced() -> None:
    assert load_config(Config, overrides=["train.options.eps=1e-6"]).train.options == {
        "beta": 0.9,
        "eps": 1e-6,
    }


def test_lists_are_replaced_whole() -> None:
    assert load_config(Config, overrides=["train.milestones=[5]"]).train.milestones == (5,)


def test_an_optional_component_can_be_given_and_taken_away() -> None:
    assert load_config(Config, overrides=["extra=conv", "extra.channels=2"]).extra == MainnetChoice(
        name="conv", channels=2
    )
    assert load_config(Config, overrides=["extra=null"]).extra is None


def test_a_default_that_is_not_installed_does_not_matter_to_those_who_choose_another() -> None:
    class Elsewhere(BaseModel):
        net: MainnetChoice = MainnetChoice.default("resnet", depth=18)

    assert load_config(Elsewhere, overrides=["net=mlp"]).net.name == "mlp"
    with pytest.raises(ComponentError, match=r"^net.name: there is no mainnet 'resnet'"):
        load_config(Elsewhere)


def test_a_configuration_can_be_the_base_of_another() -> None:
    base = load_config(Config, overrides=["net=conv", "net.channels=2", "seed=4"]).model_dump(
        mode="json"
    )
    assert load_config(Config, base=base).model_dump(mode="json") == base
    changed = load_config(Config, overrides=["net.channels=3"], base=base)
    assert (changed.net.options["channels"], changed.seed) == (3, 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.itrations=3",
            "train.itrations: there is no such option; did you mean 'train.iterations'?",
        ),
        ("itrations=3", "itrations: there is no such option; did you mean 'train.iterations'?"),
        ("lr=3", "lr: there is no such option; did you mean 'train.lr'?"),
        ("net.hiden=3", "net.hiden: there is no such option; did you mean 'net.hidden'?"),
        ("train.lr=fast", 'train.lr: "fast" is not possible, expected a number'),
        ("train.lr=", 'train.lr: "" is not possible, expected a number'),
        ("train.lr=null", "train.lr: null is not possible, expected a number"),
        ("train.iterations=1.5", "train.iterations: 1.5 is not possible, expected a whole number"),
        ("train.iterations=true", "train.iterations: true is not possible, expected a number"),
        ("train=3", "train: 3 is not possible, expected a group of options"),
        ("seed.x=3", 'seed: {"x": 3} is not possible, expected a whole number'),
        ("net=nett", "net.name: there is no mainnet 'nett'"),
        ("seed", "'seed' is not an override: write key=value"),
        ("=3", "'=3': the key '' is not complete"),
        ("train..lr=3", "'train..lr=3': the key 'train..lr' is not complete"),
        ("train.milestones=[1,", "train.milestones: '[1,' is not well formed"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises((ConfigError, ComponentError)) as caught:
        load_config(Config, overrides=[override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "", "{}: is empty"),
        ("c.yaml", "# nothing\n", "{}: is empty"),
        ("c.toml", "", "{}: is empty"),
        ("c.yaml", "- 1\n", "{}:1: holds a list, expected options as `key: value`"),
        ("c.yaml", "hello", "{}:1: holds text, expected options"),
        ("c.yaml", "seed: 1\ntrain: {lr: 1, lr: 2}\n", "{}:2: the key 'lr' appears twice"),
        ("c.yaml", "seed: 1\nseed: 2\n", "{}:2: the key 'seed' appears twice"),
        ("c.yaml", "a: 1\nb: [1\nc: 2\n", "{}:3: "),
        ("c.yaml", "a: b: c\n", "{}:1: mapping values are not allowed here"),
        ("c.yaml", "1: 2\n", "{}:1: the key '1' is not text: quote it"),
        (
            "c.yaml",
            "a: !!python/object/apply:os.getcwd []\n",
            "{}:1: could not determine a constructor",
        ),
        ("c.yaml", "a: 1\nb: \x00\n", "{}:2: a character is not allowed in YAML"),
        ("c.yaml", b"a: 1\nb: \xff\n", "{}:2: is not UTF-8 text"),
        ("c.yaml", "&a {x: *a}", "{}: "),
        ("c.yaml", "[" * 5000, "{}: is not well formed: it is nested too deeply"),
        ("c.toml", "seed = 1\nx = \n", "{}:2: Invalid value"),
        ("c.toml", "seed = 1\nseed = 2\n", "{}:2: Cannot overwrite a value"),
        ("c.toml", "x = [", "{}:1: "),
        ("c.json", "{}", "{}: a configuration file ends with .toml, .yaml or .yml"),
        (
            "c.yaml",
            "train:\n  lrr: 1\n",
            "{}: train.lrr: there is no such option; did you mean 'train.lr'?",
        ),
        ("c.yaml", "net: nett\n", "{}: net.name: there is no mainnet 'nett'"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_name(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises((ConfigError, ComponentError)) as caught:
        load_config(Config, path)
    assert str(caught.value).startswith(message.replace("{}", str(path)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope.yaml: cannot be read: No such file or directory"):
        load_config(Config, tmp_path / "nope.yaml")
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"d.yaml: cannot be read: Is a directory"):
        load_config(Config, tmp_path / "d.yaml")


def test_a_byte_order_mark_and_anchors_are_fine(tmp_path: Path) -> None:
    path = write(
        tmp_path, b"\xef\xbb\xbfbase: &b {lr: 2, iterations: 5}\ntrain:\n  <<: *b\n  lr: 3\n"
    )
    assert read_mapping(path)["train"] == {"lr": 3, "iterations": 5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("+7", 7),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-inf", -math.inf),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", ""),
        ("  ", ""),
        ("''", ""),
        ("'1'", "1"),
        ('"true"', "true"),
        ("a=b", "a=b"),
        ("a: b", "a: b"),
        ("a #b", "a #b"),
        ("- a", "- a"),
        ("*glob", "*glob"),
        ("!x", "!x"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("[50, 50]", [50, 50]),
        ("[1e-3, a, 'b', null]", [0.001, "a", "b", None]),
        ("[]", []),
        ("{a: 1, b: [2]}", {"a": 1, "b": [2]}),
        ('{"a": {"b": 1.5e2}}', {"a": {"b": 150.0}}),
        ("grüße", "grüße"),
    ],
)
def test_values_on_the_command_line(text: str, value: Any) -> None:
    got = parse_value(text)
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_value("nan"))
    assert math.isnan(parse_value(".NaN"))


def test_a_value_may_hold_the_sign_that_ends_the_key() -> None:
    assert parse_overrides(["title=a=b=c"]) == {"title": "a=b=c"}


def test_the_later_of_two_overrides_wins() -> None:
    assert parse_overrides(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}


def test_a_bare_name_may_come_before_or_after_its_options() -> None:
    expected = {"net": {"name": "mlp", "hidden": [3]}}
    assert parse_overrides(["net=mlp", "net.hidden=[3]"]) == expected
    assert parse_overrides(["net.hidden=[3]", "net=mlp"]) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@given(
    values=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), JSON, min_size=1
    )
)
def test_what_is_written_as_yaml_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(to_yaml(values), encoding="utf-8", newline="")
    assert read_mapping(path) == values


@given(value=JSON)
def test_json_is_a_way_to_write_any_list_or_mapping(value: Any) -> None:
    # YAML writes infinity as `.inf`; texts, matched first, stay as they are.
    tokens = r'("(?:[^"\\]|\\.)*")|Infinity'
    written = re.sub(tokens, lambda found: found[1] or ".inf", json.dumps([value]))
    assert parse_value(written) == [value]


def test_a_text_that_is_called_infinity_stays_text() -> None:
    assert parse_value('[{"Infinity": "Infinity"}]') == [{"Infinity": "Infinity"}]


def test_a_long_key_is_no_reason_to_refuse_json() -> None:
    assert parse_value(json.dumps({"é" * 400: [1]})) == {"é" * 400: [1]}
    with pytest.raises(ConfigError, match="not well formed"):
        parse_value("{" + "k" * 2000 + "}}")


def test_a_printed_configuration_can_be_read_back(tmp_path: Path) -> None:
    config = load_config(
        Config, overrides=["net=conv", "title='1e-3'", "train.clip=.inf", "train.lr=1e-7"]
    )
    path = write(tmp_path, dump_config(config))
    assert load_config(Config, path) == config


BAD = [
    "seed=" + "9" * 5000,
    "train.options=[!!int x]",
    "train.options=[!!float x]",
    "train.options=[!!bool x]",
    "train.options=[!!timestamp 2026-13-45]",
    "train.options=[!!map 3]",
    "train.options=[!!python/object:os.system x]",
    'title="\\U00110000"',
    "seed=" + "[" * 1200,
    "seed=" + "[" * 1200 + "]" * 1200,
    "seed=" + "{a: " * 1200,
    "seed=[&a [*a]]",
    "seed=[&a {b: *a}]",
    "seed=[&a [1, 2, 3, 4, 5, 6, 7, 8, 9], "
    + ", ".join(
        f"&{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}]"
        for x, y in zip("abcdefg", "bcdefgh", strict=True)
    )
    + "]",
    "seed=[*b]",
    "seed=[? [a] : b]",
    "seed={<<: 3}",
    "seed=[1, 2",
    "k" * 5000 + "=1",
    "net=" + "n" * 5000,
    "seed=" + "x" * 5000,
    "train.milestones=[" + ", ".join("x" * 1000) + "]",
    "=1",
    ".=1",
    "a..b=1",
    "seed=\x00",
]


@pytest.mark.parametrize("override", BAD, ids=lambda override: override[:24])
def test_a_malformed_override_is_one_short_error_of_ours(override: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ComponentError)) as caught:
        load_config(Config, overrides=[override])
    for line in str(caught.value).splitlines():
        assert 0 < len(line) < 600
    key, _, text = override.partition("=")
    path = tmp_path / "c.yaml"
    path.write_text(f"{json.dumps(key)}: {text}\n", encoding="utf-8")
    with pytest.raises((ConfigError, ComponentError)) as caught:
        load_config(Config, path)
    assert len(str(caught.value).splitlines()[0]) < 600


KEYS = st.sampled_from(["seed", "train.lr", "train.options", "net", "net.hidden", "title", "no"])
SIGNS = [*"[]{}:,&*!?|>'\"%@`#-=. \n\t\\", "!!int ", "!!map ", "!!float ", "&a ", "*a", "<<: "]
SCALARS = ["0x", "0o8", "1e999", ".inf", "-.nan", "true", "null", "~", "\ud800", "\x00", "9" * 400]
PIECES = st.one_of(st.sampled_from(SIGNS + SCALARS), st.text(max_size=3))
OVERRIDES = st.tuples(KEYS, st.lists(PIECES, max_size=8))


def check(overrides: list[tuple[str, list[str]]]) -> None:
    messages = []
    for key, pieces in overrides:
        try:
            load_config(Config, overrides=[f"{key}={''.join(pieces)}"])
        except (ConfigError, ComponentError) as error:
            messages += str(error).splitlines()
    assert all(len(line) < 600 for line in messages)


@settings(max_examples=1_000)
@given(overrides=st.lists(OVERRIDES, min_size=10, max_size=10))
def test_whatever_is_typed_gives_a_configuration_or_an_error_of_ours(
    overrides: list[tuple[str, list[str]]],
) -> None:
    """Ten thousand overrides, through the entry that the command uses."""
    check(overrides)


@pytest.mark.slow
@settings(max_examples=20_000)
@given(overrides=st.lists(OVERRIDES, min_size=10, max_size=10))
def test_whatever_is_typed_for_minutes_gives_an_error_of_ours(
    overrides: list[tuple[str, list[str]]],
) -> None:
    """Two hundred thousand overrides."""
    check(overrides)


class Files(BaseModel):
    """Options that are paths, beside texts that look like some."""

    one: Path = Path("a/b")
    either: Path | str | None = None
    several: tuple[Path, ...] = ()
    text: str = "a/b"
    net: MainnetChoice | None = None


def test_paths_become_absolute_and_texts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    given = ["either=c", "several=[d, /e, ~/f]", "net.name=stored", "net.start=../g"]
    config = load_config(Files, overrides=given)
    assert config.one == tmp_path / "a/b"
    assert config.either == str(tmp_path / "c")
    assert config.several == (tmp_path / "d", Path("/e"), Path("/home/somebody/f"))
    assert config.text == "a/b"
    assert config.net is not None
    assert config.net.options["start"] == tmp_path / "../g"
    monkeypatch.chdir("/")
    assert load_config(Files, base=config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([{"name": "a", "x": 1}], [{"name": "a", "x": 2}], "methods.0.x was 1, is now 2"),
        ([1, 2], [1, 3], "methods was [1, 2], is now [1, 3]"),
        ([{"x": 1}], [], 'methods was [{"x": 1}], is now []'),
        ([*range(99)], [*range(98)], "methods was 99 entries, is now 98 others"),
    ],
)
def test_differences_of_lists_are_those_of_their_entries(
    before: Any, after: Any, expected: str
) -> None:
    assert difference({"methods": before}, {"methods": after}) == expected
