"""Plots of searches: they are drawn whatever the values are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import RunError
from hypnet_core.testing.scheduler import HOSTILE
from hypnet_hpsearch import SearchSpec
from hypnet_hpsearch.results import plots
from hypnet_hpsearch.results.axes import axis_of
from hypnet_hpsearch.results.figures import best_of_records, best_so_far_figure
from hypnet_hpsearch.results.table import best_of, results_of
from hypnet_hpsearch.state.store import Store

pytest.importorskip("matplotlib", reason="pip install 'hypnet-hpsearch[plot]'")

LEAST: dict[str, Any] = {
    "name": "x",
    "command": ["sim", "{options}"],
    "metric": "m",
    "direction": "maximize",
}
NAMES = ["best_so_far", "options", "parallel"]


def store(path: Path, spec: SearchSpec, trials: list[tuple[dict[str, Any], Any, str]]) -> Store:
    """A search with these results: options, metric, state."""
    found = Store.create(path / "out", spec, len(trials))
    events: list[Any] = []
    for number, (options, metric, state) in enumerate(trials):
        about = {"trial": f"t{number}", "attempt": 1}
        events.append({"event": "claim", **about, "driver": "d", "options": options})
        events.append(
            {"event": "end", **about, "state": state, "metric": metric, "ended": 100.0 + number}
        )
    with found.locked():
        found.write(events)
    return found


def drawn(path: Path, trials: list[tuple[dict[str, Any], Any, str]], **fields: Any) -> list[str]:
    """The plots of such a search, each of them checked to be a picture."""
    spec = SearchSpec(**{**LEAST, **fields})
    files = plots.save_plots(store(path, spec, trials), spec, path / "plots")
    for file in files:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
        else:
            assert ET.parse(file).getroot().tag.endswith("svg")
    # Those that need Optuna, or two options, are in test_explanations.py.
    stems = {file.stem for file in files if file.suffix == ".png"}
    return sorted(stems - {"contour", "importances"})


def test_everything_is_drawn(tmp_path: Path) -> None:
    trials = [({"a": a, "b": b}, a * 0.1, "done") for a in (1, 2, 3) for b in ("u", "v")]
    assert drawn(tmp_path, trials, grid={"a": [1, 2, 3], "b": ["u", "v"]}) == NAMES


def test_pruned_and_failed_trials_and_those_without_a_number(tmp_path: Path) -> None:
    trials = [
        ({"a": 1.0}, 0.5, "done"),
        ({"a": 2.0}, "nan", "done"),
        ({"a": 3.0}, "inf", "done"),
        ({"a": 4.0}, 0.1, "pruned"),
        ({"a": 5.0}, None, "failed"),
        ({"a": 6.0}, None, "pruned"),
    ]
    assert drawn(tmp_path, trials, grid={"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}) == NAMES


def test_odd_values(tmp_path: Path) -> None:
    values = [
        *HOSTILE,
        "x" * 10_000,
        "$x^{",
        None,
        True,
        1,
        2.5,
        float("nan"),
        [1, [2]],
        {"a": "$"},
        "\n\t",
    ]
    trials = [({"a$_": value}, float(number), "done") for number, value in enumerate(values)]
    assert drawn(tmp_path, trials, grid={"a$_": [0, 1]}, metric="$m_{") == NAMES


def test_letters_that_no_font_has_are_no_warning(tmp_path: Path) -> None:
    trials = [
        ({"a": text}, float(number), "done") for number, text in enumerate(("漢字", "\U0001f600"))
    ]
    with warnings.catch_warnings(action="error"):
        drawn(tmp_path, trials, grid={"a": ["漢字", "\U0001f600"]})


def test_of_equal_trials_the_one_is_marked_that_everybody_names(tmp_path: Path) -> None:
    spec = SearchSpec(**LEAST, grid={"a": [1, 2, 3]})
    found = store(tmp_path, spec, [({"a": a}, 1.0, "done") for a in (1, 2, 3)])
    records = list(reversed(found.ledger.trials.values()))
    assert (
        best_of_records(spec, records).id
        == best_of(results_of(found, spec), tmp_path).trial
        == "t0"
    )


def test_one_trial_and_options_that_do_not_differ(tmp_path: Path) -> None:
    assert drawn(tmp_path, [({"a": 1}, 0.0, "done")], grid={"a": [1]}) == ["best_so_far"]


def test_equal_results(tmp_path: Path) -> None:
    assert drawn(tmp_path, [({"a": a}, 0.0, "done") for a in (1, 2)], grid={"a": [1, 2]}) == NAMES


def test_an_option_that_some_trials_lack(tmp_path: Path) -> None:
    assert (
        drawn(
            tmp_path, [({"a": 1}, 1.0, "done"), ({"b": 1}, 2.0, "done")], grid={"a": [1], "b": [1]}
        )
        == NAMES
    )


def test_many_options(tmp_path: Path) -> None:
    keys = [f"option{number}" for number in range(40)]
    trials = [(dict.fromkeys(keys, value), float(value), "done") for value in range(3)]
    assert drawn(tmp_path, trials, grid={key: [0, 1, 2] for key in keys}) == NAMES


@pytest.mark.parametrize("huge", [1e300, -1e300, 5e-324])
def test_huge_and_tiny_numbers(tmp_path: Path, huge: float) -> None:
    trials = [({"a": huge}, huge, "done"), ({"a": 1.0}, 1.0, "done"), ({"a": 2.0}, 0.0, "done")]
    assert drawn(tmp_path, trials, grid={"a": [huge, 1.0, 2.0]}, direction="minimize") == NAMES


def axes_of(spec: SearchSpec, name: str, values: list[Any]) -> Any:
    from hypnet_hpsearch import TrialRecord

    return axis_of(
        spec,
        name,
        [TrialRecord(str(number), options={name: value}) for number, value in enumerate(values)],
    )


def test_scales_follow_the_search() -> None:
    spec = SearchSpec(
        **LEAST,
        ranges={"a": {"low": 1e-3, "high": 1, "log": True}, "b": {"low": 1, "high": 1000}},
        grid={"c": [1e-3, 1e-1], "d": [1, 2, 3], "e": ["z", "y"], "f": [True, False]},
        max_trials=3,
    )
    assert axes_of(spec, "a", [0.5, 0.6]).log
    assert not axes_of(spec, "b", [1, 1000]).log
    assert axes_of(spec, "c", [1e-3, 1e-1]).log
    assert not axes_of(spec, "d", [1, 2, 3]).log
    assert axes_of(spec, "e", ["y", "z", "w"]).labels == ("z", "y", "w")
    assert axes_of(spec, "f", [False, True]).places == [1.0, 0.0]


def test_best_so_far_is_the_running_maximum(tmp_path: Path) -> None:
    spec = SearchSpec(**LEAST, grid={"a": [1, 2, 3, 4]})
    metrics = [(1.0, "done"), (5.0, "pruned"), (0.5, "done"), (3.0, "done")]
    found = store(tmp_path, spec, [({"a": 1}, metric, state) for metric, state in metrics])
    figure = best_so_far_figure(spec, list(found.ledger.trials.values()), 0)
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "best so far")
    best: Any = line.get_ydata()
    assert list(best) == [1.0, 1.0, 1.0, 3.0]


def test_without_results_there_is_nothing_to_draw(tmp_path: Path) -> None:
    cases: list[list[tuple[dict[str, Any], Any, str]]] = [
        [],
        [({"a": 1}, "nan", "done")],
        [({"a": 1}, 1.0, "pruned")],
    ]
    for number, trials in enumerate(cases):
        with pytest.raises(RunError, match="no trial has a number for a result yet"):
            drawn(tmp_path / str(number), trials, grid={"a": [1]})


def hypnet(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "hypnet_core.cli.main", "search", "plot", *arguments]
    return subprocess.run(
        command,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_command_prints_the_files(tmp_path: Path) -> None:
    spec = SearchSpec(**LEAST, grid={"a": [1, 2]})
    store(tmp_path, spec, [({"a": a}, 0.1 * a, "done") for a in (1, 2)])
    found = hypnet(tmp_path, "out", "--format", "svg")
    files = found.stdout.splitlines()
    # The importances need Optuna.
    assert [file for file in files if "importances" not in file] == [
        f"out/plots/{name}.svg" for name in NAMES
    ]
    document = json.loads(hypnet(tmp_path, "out", "--json", "--out", "elsewhere").stdout)
    assert document["schema"] == "hypnet.search.plot/1"
    assert all((tmp_path / file).exists() for file in document["files"])
    assert len(document["files"]) == 2 * len(files)


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    spec = SearchSpec(**LEAST, grid={"a": [1, 2]})
    store(tmp_path, spec, [({"a": 1}, 0.1, "done")])
    (tmp_path / "file").touch()
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    for arguments, environment, code, message in [
        (("nowhere",), {}, 1, "holds no search"),
        (("out", "--format", "pdf"), {}, 2, "--format pdf: must be png or svg"),
        (("out", "--out", "file"), {}, 1, "cannot make the directory file"),
        (("out",), {"PYTHONPATH": str(tmp_path)}, 1, "pip install 'hypnet-hpsearch[plot]'"),
    ]:
        found = hypnet(tmp_path, *arguments, **environment)
        assert (found.returncode, len(found.stderr.splitlines())) == (code, 1), found.stderr
        assert message in found.stderr
