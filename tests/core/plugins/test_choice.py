"""Fields of a configuration that choose a component by name, with its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hypnet_core.errors import ComponentError, ConfigError
from hypnet_core.plugins.choice import DatasetChoice, HypernetChoice, MainnetChoice, SchedulerChoice
from hypnet_core.plugins.registry import Registry
from hypnet_core.plugins.validation import validated

CODE = """
    from pathlib import Path
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.mainnet("net", "stranger_lab:net", "A network."),
            Component.hypernet("hnet", "stranger_lab:net", "A hypernetwork."),
            Component.dataset("data", "stranger_lab:data", "A dataset."),
            Component.scheduler("queue", "stranger_lab:data", "A scheduler."),
            Component.mainnet("odd", "stranger_lab:odd", "Breaks the convention."),
            Component.mainnet("gone", "stranger_lab:gone", "Cannot be imported."),
        ]

    def net(first, second, *, hidden: tuple[int, ...] = (10,), kind: str = "k"):
        return first, second, hidden, kind

    def data(*, root: Path = Path("here"), build: int = 1):
        return root, build

    def odd(only_one):
        pass
"""


@pytest.fixture(autouse=True)
def _registry(register: Callable[..., Registry]) -> None:
    register(lab=CODE)


def test_options_are_completed_with_the_defaults() -> None:
    choice = MainnetChoice(name="net", hidden=[5, 6])
    assert choice.options == {"hidden": (5, 6), "kind": "k"}
    assert choice.model_dump() == {"name": "net", "hidden": (5, 6), "kind": "k"}
    assert choice.model_dump(mode="json") == {"name": "net", "hidden": [5, 6], "kind": "k"}


def test_a_choice_survives_json() -> None:
    choice = DatasetChoice(name="data", root="there")
    assert choice.options["root"] == Path("there")
    assert DatasetChoice.model_validate_json(choice.model_dump_json()) == choice


def test_building_calls_the_component() -> None:
    assert MainnetChoice(name="net").build("a", "b") == ("a", "b", (10,), "k")
    assert HypernetChoice(name="lab:hnet", kind="x").build(1, 2) == (1, 2, (10,), "x")
    assert SchedulerChoice(name="queue").build() == (Path("here"), 1)


def test_an_option_may_be_called_like_a_part_of_the_choice() -> None:
    assert DatasetChoice(name="data", build=7).options["build"] == 7


def test_a_bare_string_is_the_name() -> None:
    class Config(BaseModel):
        net: MainnetChoice

    assert validated(Config, {"net": "net"}).net == MainnetChoice(name="net")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "nett"}, ComponentError, "name: there is no mainnet 'nett'; did you mean 'net'"),
        ({"name": "data"}, ComponentError, "name: there is no mainnet 'data'; 'data' is a dataset"),
        ({"name": "odd"}, ComponentError, "name: mainnet 'lab:odd': it must take"),
        ({"name": "gone"}, ComponentError, "name: mainnet 'gone': stranger_lab has no 'gone'"),
        (
            {"name": "net", "hiden": 1},
            ConfigError,
            "hiden: there is no such option; did you mean 'hidden'?",
        ),
        (
            {"name": "net", "hidden": ["a"]},
            ConfigError,
            'hidden.0: "a" is not possible, expected a whole number',
        ),
        ({}, ConfigError, "name: must be given"),
    ],
)
def test_a_mistake_is_our_own_error_that_says_where(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message.replace('?', '[?]')}"):
        MainnetChoice(**options)

    class Config(BaseModel):
        nets: list[MainnetChoice] = []
        net: MainnetChoice | None = None

    with pytest.raises(error, match=f"^net.{message.partition('; did')[0]}"):
        validated(Config, {"net": options})
    with pytest.raises(error, match=f"^nets.0.{message.partition('; did')[0]}"):
        validated(Config, {"nets": [options]})


def test_the_suggestion_is_the_whole_key() -> None:
    class Config(BaseModel):
        net: MainnetChoice

    with pytest.raises(
        ConfigError, match=r"net.hiden: there is no such option; did you mean 'net.hidden'"
    ):
        validated(Config, {"net": {"name": "net", "hiden": 1}})


def test_a_default_is_not_looked_up_before_it_is_needed() -> None:
    class Config(BaseModel):
        data: DatasetChoice = DatasetChoice.default("not_installed", size=3)

    assert Config(data=DatasetChoice(name="data")).data.name == "data"
    with pytest.raises(ComponentError, match=r"there is no dataset 'not_installed'"):
        Config()
