"""Search files: what they may say, and what is said about their mistakes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_hpsearch import SearchSpec, load_spec

LEAST: dict[str, Any] = {
    "command": ["sim", "{options}"],
    "metric": "loss",
    "direction": "minimize",
    "grid": {"lr": [1]},
}

TOML = """
experiment = "hypercl"
metric = "final.accuracy"
direction = "maximize"
seeds = 3
max_trials = 7
order = "shuffled"
attempts = 2
scheduler = { name = "local", slots = 4 }
base.data.name = "split_digits"

[grid]
train.lr = [1e-3, 1e-2]
hnet.hidden = [[50, 50], [100]]
"mnet.act" = ["relu", "tanh"]

[[conditions]]
when = { "mnet.act" = "tanh" }
then = { train.lr = [1e-2] }

[resources]
cpus = 2
memory = "4GiB"
time_limit = "01:00:00"
"""

YAML = """
experiment: hypercl
metric: final.accuracy
direction: maximize
seeds: [0, 1, 2]
max_trials: 7
order: shuffled
attempts: 2
scheduler: {name: local, slots: 4}
base: {data: {name: split_digits}}
grid:
  train.lr: [1e-3, 1e-2]
  hnet: {hidden: [[50, 50], [100]]}
  mnet.act: [relu, tanh]
conditions:
  - when: {mnet.act: [tanh]}
    then: {train.lr: 1e-2}
resources: {cpus: 2, memory: 4GiB, time_limit: 3600}
"""


def write(directory: Path, text: str, name: str = "my-search.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    one, other = (
        load_spec(write(tmp_path, TOML)),
        load_spec(write(tmp_path, YAML, "my-search.yaml")),
    )
    assert one == other
    assert one.fingerprint() == other.fingerprint()


def test_everything_in_a_file_arrives(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, TOML))
    assert spec.name == "my-search"
    assert spec.base == {"data.name": "split_digits"}
    assert spec.grid == {
        "train.lr": [1e-3, 1e-2],
        "hnet.hidden": [[50, 50], [100]],
        "mnet.act": ["relu", "tanh"],
    }
    assert spec.conditions[0].when == {"mnet.act": ["tanh"]}
    assert spec.conditions[0].then == {"train.lr": [1e-2]}
    assert spec.seeds == (0, 1, 2)
    assert spec.scheduler == {"name": "local", "slots": 4}
    assert spec.resources.memory == 2**32
    assert spec.resources.time_limit == timedelta(hours=1)
    assert spec.cwd == tmp_path


@pytest.mark.parametrize(
    ("file", "name"),
    [("my search (2).toml", "my-search-2"), (".a.toml", "a"), ("--.toml", "search")],
)
def test_a_file_with_any_name_makes_a_name_for_its_search(
    tmp_path: Path, file: str, name: str
) -> None:
    assert load_spec(write(tmp_path, TOML, file)).name == name


def test_the_working_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    text = (
        'command = ["x", "{options}"]\nmetric = "m"\ndirection = "minimize"\ncwd = "sub"\ngrid = {a'
        " = [1]}\n"
    )
    assert load_spec(write(tmp_path, text)).cwd == tmp_path / "sub"


def test_a_search_round_trips_through_json() -> None:
    spec = SearchSpec(
        name="x",
        **{
            **LEAST,
            "grid": {"lr": [1, float("nan"), "ü$(x)"]},
            "base": {"n": float("inf")},
            "resources": {"memory": 9},
        },
    )
    again = SearchSpec(**spec.model_dump(mode="json"))
    assert again.fingerprint() == spec.fingerprint()
    assert again.resources == spec.resources


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "x"},
        {"direction": "maximize"},
        {"seeds": 2},
        {"base": {"a": 1}},
        {"style": "key=value"},
        {"summary": "s.json"},
    ],
)
def test_what_trials_mean_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert (
        SearchSpec(name="x", **{**LEAST, **change}).fingerprint()
        != SearchSpec(name="x", **LEAST).fingerprint()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": "y"},
        {"attempts": 3},
        {"max_trials": 1},
        {"order": "shuffled"},
        {"resources": {"cpus": 2}},
        {"scheduler": "slurm"},
    ],
)
def test_how_trials_are_run_is_not(change: dict[str, Any]) -> None:
    assert (
        SearchSpec(**{"name": "x", **LEAST, **change}).fingerprint()
        == SearchSpec(name="x", **LEAST).fingerprint()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grids": {}}, "grids: there is no such option; did you mean 'grid'?"),
        (
            {"resources": {"cpu": 1}},
            "resources.cpu: there is no such option; did you mean 'resources.cpus'?",
        ),
        ({"grid": {}}, "the grid is empty and there are no seeds: there is nothing to search"),
        (
            {"grid": {"lr": 0.1}},
            "grid: 'lr' must be a list of values, is 0.1; write [0.1] to search one value",
        ),
        ({"grid": {"lr": "ab"}}, "grid: 'lr' must be a list of values, is 'ab'"),
        ({"experiment": "hypercl"}, "either an 'experiment' or a 'command', not both"),
        ({"command": None}, "either an 'experiment' or a 'command'"),
        ({"command": []}, "either an 'experiment' or a 'command'"),
        ({"base": {"lr": 2}}, "'lr' is both in 'base' and in 'grid'"),
        ({"seeds": [1, 1]}, "a seed is listed twice"),
        ({"seeds": 2, "grid": {"seed": [1]}}, "'seed' is both an option and given by 'seeds'"),
        ({"grid": {"out": [1]}}, "an option cannot be called 'out'"),
        (
            {"direction": "max"},
            "direction: \"max\" is not possible, expected 'minimize' or 'maximize'",
        ),
        ({"max_trials": 0}, "max_trials: 0 is not possible, expected a number greater than 0"),
        ({"attempts": "many"}, "attempts:"),
        ({"metric": None}, "metric:"),
        ({"conditions": [{"when": {"lr": 1}}]}, "conditions.0.then: must be given"),
        ({"name": "../up"}, "name:"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSpec(**{"name": "x", **LEAST, **change})
    text = str(caught.value)
    assert message.replace("'minimize' or 'maximize'", "") in text.replace(
        "'maximize' or 'minimize'", ""
    )
    assert "\n" not in text


def test_a_missing_field_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"my-search.toml: metric: must be given"):
        load_spec(write(tmp_path, 'command = ["x"]\ndirection = "minimize"\nseeds = 1\n'))


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("a = ", "s.toml", r"s.toml:1: "),
        ("a: [", "s.yaml", r"s.yaml:"),
        ("- 1", "s.yml", "holds a list"),
        ("", "s.toml", "is empty"),
        ("{}", "s.json", "ends with .toml"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_spec(write(tmp_path, text, name))
    with pytest.raises(ConfigError, match=r"nowhere.toml"):
        load_spec(tmp_path / "nowhere.toml")
