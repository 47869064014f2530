"""Several seeds of one configuration: sources, reused runs, and statistics."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.results.seeds import source_of
from hypnet_hpsearch.results.seeds_summary import as_text, summarise
from hypnet_hpsearch.state.store import Store

NOISY = "score = score + int(options.get('seed', 0)) ** 2"


def command(workshop: Any, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    found: subprocess.CompletedProcess[str] = workshop.command(*arguments)
    assert found.returncode == code, found.stderr
    return found


def seeds(workshop: Any, *arguments: str) -> dict[str, Any]:
    found = json.loads(command(workshop, "seeds", *arguments, "--json").stdout)
    assert found["schema"] == "hypnet.search.seeds/1"
    summary: dict[str, Any] = found["summary"]
    return summary


@pytest.fixture
def searched(workshop: Any) -> Any:
    """A search over x, each with two seeds."""
    workshop.body(NOISY)
    workshop.run(grid={"x": [1, 2]}, seeds=2, base={"other": "a b"})
    return workshop


def test_the_best_of_a_search(searched: Any) -> None:
    found = seeds(searched, "out", "-n", "4", "--out", "s")
    assert found["options"] == {"x": 2, "other": "a b"}
    assert found["seeds"] == [0, 1, 2, 3]
    values = [2.0, 3.0, 6.0, 11.0]
    key = found["keys"][0]
    assert key["values"] == dict(zip("0123", values, strict=True))
    assert key["mean"] == pytest.approx(statistics.fmean(values))
    assert key["deviation"] == pytest.approx(statistics.stdev(values))
    assert key["error"] == pytest.approx(statistics.stdev(values) / 2)
    assert len(searched.ran()) == 4 + 2  # two seeds were there already


def test_started_again_it_adds_what_is_missing(searched: Any) -> None:
    seeds(searched, "out", "-n", "3", "--out", "s")
    assert seeds(searched, "out", "-n", "3", "--out", "s")["seeds"] == [0, 1, 2]
    assert len(searched.ran()) == 4 + 1
    assert seeds(searched, "out", "-n", "5", "--out", "s")["seeds"] == [0, 1, 2, 3, 4]
    assert len(searched.ran()) == 4 + 3
    status = json.loads(command(searched, "status", "s", "--json").stdout)["search"]
    assert (status["total"], status["done"], status["name"]) == (5, 5, "x-seeds")


def test_a_reused_run_is_a_trial_like_any_other(searched: Any) -> None:
    seeds(searched, "out", "-n", "2", "--out", "s")
    table = json.loads(command(searched, "table", "s", "--json").stdout)["trials"]
    assert [trial["metric"] for trial in table] == [3.0, 2.0]
    [both] = json.loads(command(searched, "table", "s", "--json").stdout)["configurations"]
    assert (both["metric"], both["error"]) == (2.5, 0.5)
    assert all(Path(trial["directory"], "summary.json").exists() for trial in table)
    (searched.path / "s" / "journal.jsonl").unlink()
    assert seeds(searched, "out", "-n", "2", "--out", "s")["seeds"] == [0, 1]
    command(searched, "clean", "s", "--keep", "0", "--yes")
    assert all(Path(trial["directory"], "summary.json").exists() for trial in table)
    assert len(searched.ran()) == 4


def test_a_file_with_one_configuration(workshop: Any) -> None:
    workshop.body(NOISY)
    file = workshop.file(base={"x": 3}, grid={"y": [7]})
    found = seeds(workshop, file, "-n", "3")
    assert found["options"] == {"x": 3, "y": 7}
    assert found["directory"] == str(workshop.path / "searches" / "x-seeds")
    assert {(ran["x"], ran["y"], ran["seed"]) for ran in workshop.ran()} == {
        ("3", "7", str(seed)) for seed in range(3)
    }


def test_options_may_be_changed_or_left_out(searched: Any) -> None:
    found = seeds(
        searched, "out", "x=5", "new=[1, 2]", "-n", "2", "--out", "s", "--ignore", "other"
    )
    assert found["options"] == {"x": 5, "new": [1, 2]}
    assert {tuple(sorted(ran)) for ran in searched.ran()[4:]} == {("new", "seed", "x")}
    assert len(searched.ran()) == 4 + 2


def test_what_is_ignored_does_not_stop_a_run_from_being_reused(searched: Any) -> None:
    assert seeds(searched, "out", "-n", "2", "--out", "s", "--ignore", "other")["options"] == {
        "x": 2
    }
    assert len(searched.ran()) == 4


def test_text_and_json_are_written(searched: Any) -> None:
    shown = command(
        searched,
        "seeds",
        "out",
        "-n",
        "3",
        "--out",
        "s",
        "--key",
        "score:1",
        "--key",
        "extra.*:3",
        "--sem",
    ).stdout
    lines = shown.splitlines()
    assert lines[0] == "score: 3.7 ± 1.2 (standard error, 3 seeds)"
    assert lines[1] == "extra.half: 1.833 ± 0.601 (standard error, 3 seeds)"
    assert "seeds: 0 1 2" in lines
    assert lines[-1] == str(searched.path / "s")
    assert shown.startswith((searched.path / "s" / "seeds_summary.txt").read_text())
    written = json.loads((searched.path / "s" / "seeds_summary.json").read_text())
    assert [key["key"] for key in written["keys"]] == ["score", "extra.half"]


def test_seeds_that_fail_or_have_no_number_are_named(workshop: Any) -> None:
    workshop.body(
        "if options['seed'] == '1': sys.exit('broken')\nif options['seed'] == '2': score ="
        " float('nan')"
    )
    file = workshop.file(base={"x": 3})
    found = json.loads(
        command(workshop, "seeds", file, "-n", "4", "--out", "s", "--json", code=1).stdout
    )["summary"]
    assert (found["seeds"], found["failed"]) == ([0, 2, 3], [1])
    key = found["keys"][0]
    assert (key["mean"], key["deviation"], key["without_number"]) == (3.0, 0.0, [2])
    text = (workshop.path / "s" / "seeds_summary.txt").read_text()
    assert "(standard deviation, 2 seeds, 1 without a number)" in text
    assert "failed: 1" in text


def test_one_seed_has_no_deviation(workshop: Any) -> None:
    found = command(workshop, "seeds", workshop.file(base={"x": 3}), "-n", "1").stdout
    assert found.startswith("score: 3 ± ? (standard deviation, 1 seed)")


def test_a_search_whose_outputs_were_cleaned_is_run_anew(searched: Any) -> None:
    command(searched, "clean", "out", "--keep", "0", "--yes")
    assert seeds(searched, "out", "-n", "2", "--out", "s")["seeds"] == [0, 1]
    assert len(searched.ran()) == 4 + 2


def test_mistakes_are_one_clear_line(searched: Any) -> None:
    several = searched.file(grid={"x": [1, 2]})
    (searched.path / "empty").mkdir()
    for arguments, code, message in [
        (("nowhere",), 2, "nowhere: a configuration file ends with .toml, .yaml or .yml"),
        (("empty",), 1, "empty holds neither a search nor a run"),
        ((several,), 2, "'x' has several values, but only one configuration can be run"),
        (
            ("out", "--ignore", "othr"),
            2,
            "--ignore othr: there is no such option; did you mean 'other'?",
        ),
        (("out", "x"), 2, "'x' is not an option: write key=value"),
        (("out", "seed=3"), 2, "the seed cannot be changed"),
        (("out", "--key", "score:x"), 2, "'score:x': decimals must be a number from 0 to 20"),
        (("out", "--scheduler", "loca"), 2, "there is no scheduler 'loca'"),
        (("out", "--count", "0"), 2, "--count"),
    ]:
        found = command(searched, "seeds", *arguments, code=code)
        assert len(found.stderr.splitlines()) == 1, found.stderr
        assert message in found.stderr
    assert not (searched.path / "searches").exists()
    late = command(searched, "seeds", "out", "-n", "2", "--key", "skore", code=2)
    assert "no summary has a number 'skore'; did you mean 'score'?" in late.stderr


def test_another_configuration_in_the_same_directory_is_refused(searched: Any) -> None:
    seeds(searched, "out", "-n", "2", "--out", "s")
    found = command(searched, "seeds", "out", "x=7", "-n", "2", "--out", "s", code=1)
    assert "s holds another search, which differs in base.x" in found.stderr


def test_infinities_are_in_no_mean(workshop: Any) -> None:
    workshop.body("score = float('inf') if options['seed'] == '0' else 1.0")
    seeds(workshop, workshop.file(base={"x": 3}), "-n", "3", "--out", "s")
    store = Store(workshop.path / "s")
    store.glimpse()
    summary = summarise(store, store.spec)
    assert summary.keys[0].mean == 1.0
    assert math.isinf(summary.keys[0].values[0])
    assert "1 ± 0 (standard deviation, 2 seeds, 1 without a number)" in as_text(summary)


def test_a_run_needs_a_metric(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"experiment": "echo", "config": {"seed": 3, "a": {"b": 1}}})
    )
    (tmp_path / "summary.json").write_text(json.dumps({"accuracy": 0.5, "task": {"loss": 1}}))
    with pytest.raises(
        ConfigError, match=r"which metric\? --metric NAME; its summary has: accuracy, task.loss"
    ):
        source_of(tmp_path)
    source = source_of(tmp_path, metric="accuracy")
    assert source.options == {"a.b": 1}
    assert [run.seed for run in source.runs] == [3]
