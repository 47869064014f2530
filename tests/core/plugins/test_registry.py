"""Components are found by kind and name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hypnet_core.errors import ComponentError, ConfigError, PluginError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.discovery import Found
from hypnet_core.plugins.registry import Registry, usual_provider

ONE = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.mainnet("net", "stranger_one:net", "A network."),
            Component.mainnet("net_two", "stranger_one:net", "Another."),
            Component.hypernet("both", "stranger_one:net", "A hypernetwork."),
            Component.dataset("both", "stranger_one:data", "A dataset."),
            Component.dataset("absent", "stranger_one:nothing", "Not there."),
            Component.dataset("number", "stranger_one:NUMBER", "No function."),
            Component.dataset("unimportable", "stranger_none.module:x", "No module."),
        ]

    NUMBER = 3

    def net(in_shape, out_features, *, width: int = 3):
        return in_shape, out_features, width

    def data(*, size: int = 1):
        return [size]
"""
TWO = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [Component.mainnet("net", "stranger_two:net", "A rival.")]

    def net(in_shape, out_features):
        return "rival"
"""


@pytest.fixture
def found(register: Callable[..., Registry]) -> Registry:
    return register(one=ONE, two=TWO)


def test_entries_are_sorted_by_kind_and_name(found: Registry) -> None:
    assert [entry.full_name for entry in found.entries()] == [
        "one:absent",
        "one:both",
        "one:number",
        "one:unimportable",
        "one:net",
        "two:net",
        "one:net_two",
        "one:both",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("net*", ["one:net", "two:net", "one:net_two"]),
        ("two:*", ["two:net"]),
        ("*_two", ["one:net_two"]),
        ("x*", []),
    ],
)
def test_entries_are_chosen_by_kind_and_glob(
    found: Registry, pattern: str, names: list[str]
) -> None:
    assert [entry.full_name for entry in found.entries("mainnets", pattern)] == names


def test_a_component_is_found_by_bare_name_or_by_full_name(found: Registry) -> None:
    assert found.get("mainnet", "net_two").full_name == "one:net_two"
    assert found.get(Kind.MAINNET, "two:net").plugin == "two"


def test_a_bare_name_that_two_plugins_use_is_an_error_that_names_both(found: Registry) -> None:
    with pytest.raises(
        ComponentError, match=r"^mainnet 'net' is ambiguous: write one:net or two:net$"
    ):
        found.get("mainnet", "net")
    assert found.shortest_name(found.get("mainnet", "one:net")) == "one:net"
    assert found.shortest_name(found.get("mainnet", "net_two")) == "net_two"


def test_a_name_of_two_kinds_is_ambiguous_only_without_the_kind(found: Registry) -> None:
    assert found.get("dataset", "both").kind is Kind.DATASET
    with pytest.raises(
        ComponentError,
        match=(
            r"'both' is ambiguous: there is a dataset and a hypernet of that name, give the kind"
        ),
    ):
        found.find("both")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("mainnet", "net_tow", "there is no mainnet 'net_tow'; did you mean 'net_two'"),
        ("mainnet", "both", "there is no mainnet 'both'; 'both' is a dataset"),
        (
            "mainnet",
            "tow:net",
            "there is no mainnet 'tow:net': there is no plugin or module 'tow'; did you mean 'two'",
        ),
        ("mainnet", "two:nett", "there is no mainnet 'two:nett'; did you mean"),
        (
            "dataset",
            "xyz",
            r"there is no dataset 'xyz'; there is: absent, both, number, unimportable",
        ),
        ("dataste", "xyz", "there is no kind 'dataste'; did you mean 'dataset'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    found: Registry, kind: str, name: str, message: str
) -> None:
    with pytest.raises(ComponentError, match=f"^{message}"):
        found.get(kind, name)


def test_a_missing_package_of_ours_is_named(found: Registry) -> None:
    if any(plugin.distribution == "hypnet-data" for plugin in found.plugins):
        # It is installed here, only not loaded: then that is what the message says.
        with pytest.raises(ComponentError, match=r"not named in HYPNET_PLUGINS: .*data"):
            found.get("dataset", "split_mnist")
    else:
        with pytest.raises(
            ComponentError, match="come with the package hypnet-data, which is not installed"
        ):
            found.get("dataset", "split_mnist")


@pytest.mark.parametrize(
    ("kind", "provider"),
    [
        (Kind.DATASET, "hypnet-data"),
        (Kind.MAINNET, "hypnet-zoo"),
        (Kind.HYPERNET, "hypnet-zoo"),
        (Kind.EXPERIMENT, "hypnet-zoo"),
        (Kind.SCHEDULER, "hypnet-hpsearch"),
    ],
)
def test_the_extras_of_the_core_name_the_usual_provider_of_each_kind(
    kind: Kind, provider: str
) -> None:
    assert usual_provider(kind) == provider
    with pytest.raises(ComponentError) as error:
        Registry(Found((), ())).get(kind, "xyz")
    assert f'{provider}, which is not installed: pip install "hypnet-core[{kind}]"' in str(
        error.value
    )


def test_building_validates_completes_and_calls(found: Registry) -> None:
    entry = found.get("mainnet", "net_two")
    assert entry.build((1, 2), 3) == ((1, 2), 3, 3)
    assert entry.build((1, 2), 3, width=8.0) == ((1, 2), 3, 8)
    with pytest.raises(ConfigError, match="widht: there is no such option; did you mean 'width'"):
        entry.build((1, 2), 3, widht=8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "stranger_one has no 'nothing'"),
        ("number", "is not a class or function, but a int"),
        ("unimportable", "cannot import stranger_none.module: ModuleNotFoundError"),
    ],
)
def test_an_object_that_is_not_there_is_an_error_of_the_plugin(
    found: Registry, name: str, message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        found.get("dataset", name).load()


def test_the_source_is_file_and_line(found: Registry) -> None:
    source = found.get("dataset", "both").source()
    assert source is not None
    path, _, line = source.rpartition(":")
    assert path.endswith("stranger_one.py")
    assert int(line) == ONE[: ONE.index("def data")].count("\n") + 1
