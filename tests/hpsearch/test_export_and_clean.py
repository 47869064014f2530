"""Export of results, and deletion of outputs: only of those that were asked for."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import RunError
from hypnet_core.runs import read_mapping
from hypnet_core.testing.scheduler import HOSTILE
from hypnet_hpsearch import TrialState
from hypnet_hpsearch.results.clean import Criterion, removable, remove
from hypnet_hpsearch.results.export import nested
from hypnet_hpsearch.state.store import Store


def command(workshop: Any, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    found: subprocess.CompletedProcess[str] = workshop.command(*arguments)
    assert found.returncode == code, found.stderr
    return found


@pytest.fixture
def finished(workshop: Any) -> Any:
    """A search of five trials: 1 to 4, and one that failed."""
    workshop.body(
        "if options['x'] == '5': sys.exit('broken')\nopen(os.path.join(out, 'weights'),"
        " 'w').write('w' * 1000)"
    )
    workshop.run(grid={"x": [1, 2, 3, 4, 5]})
    return workshop


def outputs(workshop: Any) -> set[str]:
    """The trials whose output is there, by the option x."""
    found = workshop.out.glob("trials/*/*/run")
    return {
        str(json.loads((path.parent / "attempt.json").read_text())["options"]["x"])
        for path in found
    }


def test_results_as_csv(finished: Any) -> None:
    text = command(finished, "export", "out").stdout
    assert [row["x"] for row in csv.DictReader(io.StringIO(text))] == ["4", "3", "2", "1", "5"]
    assert text == (finished.out / "results.csv").read_text()
    assert command(finished, "export", "out", "--to", "r.csv").stdout == "r.csv\n"
    assert (finished.path / "r.csv").read_text() == text


def test_results_as_json(finished: Any) -> None:
    printed = json.loads(command(finished, "export", "out", "--json").stdout)
    command(finished, "export", "out", "--to", "r.json")
    assert json.loads((finished.path / "r.json").read_text()) == printed
    assert printed == json.loads(command(finished, "table", "out", "--json").stdout)


def test_the_options_of_a_trial(workshop: Any) -> None:
    texts = [text for text in HOSTILE if text]
    workshop.run(grid={"x": [1], "a.b": texts, "n": [float("nan")]}, base={"list": [1, None, "no"]})
    (workshop.path / "best.yaml").write_text(
        command(workshop, "export", "out", "--trial", "best").stdout
    )
    best = read_mapping(workshop.path / "best.yaml")
    assert best["list"] == [1, None, "no"]
    found = []
    for result in workshop.search(
        grid={"x": [1], "a.b": texts, "n": [float("nan")]}, base={"list": [1, None, "no"]}
    ).results():
        command(workshop, "export", "out", "--trial", result.trial, "--to", "c.json")
        found.append(json.loads((workshop.path / "c.json").read_text())["a.b"])
    assert sorted(found) == sorted(texts)


def test_names_that_lie_within_each_other_cannot_be_nested() -> None:
    with pytest.raises(RunError, match=r"'a\.b' lies within another option"):
        nested({"a": 1, "a.b": 2})


def test_mistakes_of_exports_are_one_line(finished: Any) -> None:
    for arguments, code, message in [
        (("export", "out", "--to", "r.xls"), 2, "the file's name must end with .csv or .json"),
        (
            ("export", "out", "--trial", "best", "--to", "r.toml"),
            2,
            "must end with .yaml or .yml or .json",
        ),
        (("export", "out", "--trial", "zzz"), 1, "there is no trial 'zzz'"),
        (
            ("export", "out", "--to", "no/where.csv"),
            1,
            "cannot write no/where.csv: No such file or directory",
        ),
        (("export", "nowhere"), 1, "holds no search"),
    ]:
        found = command(finished, *arguments, code=code)
        assert len(found.stderr.splitlines()) == 1
        assert message in found.stderr
        assert found.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--worse-than", "3"), "345"),
        (("--worse-than", "2.5"), "345"),
        (("--worse-than", "-inf"), "12345"),
        (("--keep", "1"), "45"),
        (("--keep", "0"), "5"),
        (("--failed",), "1234"),
        (("--keep", "2", "--failed"), "34"),
    ],
)
def test_what_misses_a_criterion_goes_and_its_result_stays(
    finished: Any, arguments: tuple[str, ...], left: str
) -> None:
    before = command(finished, "table", "out").stdout
    dry = command(finished, "clean", "out", *arguments, "--dry-run")
    assert outputs(finished) == set("12345")
    assert len(dry.stdout.splitlines()) == 5 - len(left)
    assert "would be deleted" in dry.stderr
    done = json.loads(command(finished, "clean", "out", *arguments, "--yes", "--json").stdout)
    assert outputs(finished) == set(left)
    assert (done["schema"], done["deleted"], len(done["attempts"])) == (
        "hypnet.search.clean/1",
        True,
        5 - len(left),
    )
    assert all(1000 < one["size"] < 20_000 or one["state"] == "failed" for one in done["attempts"])
    assert command(finished, "table", "out").stdout == before
    (finished.out / "journal.jsonl").unlink()
    assert (
        command(finished, "table", "out").stdout.split("\n")[1].split("\t")[:3]
        == before.split("\n")[1].split("\t")[:3]
    )


def test_small_is_good_if_the_search_says_so(workshop: Any) -> None:
    workshop.run(grid={"x": [1, 2, "nan"]}, direction="minimize")
    clean = [sys.executable, "-P", "-m", "hypnet_core.cli.main", "search", "clean", "out"]
    subprocess.run([*clean, "--worse-than", "1", "--yes"], cwd=workshop.path, check=True)
    assert outputs(workshop) == {"1"}


def test_of_equal_trials_the_one_is_kept_that_everybody_names(workshop: Any) -> None:
    workshop.body("score = 1.0")
    search = workshop.run(grid={"x": list(range(6))})
    command(workshop, "clean", "out", "--keep", "1", "--yes")
    assert outputs(workshop) == {str(search.best().options["x"])}


def test_nothing_goes_without_being_asked_for(finished: Any) -> None:
    for arguments, message in [
        (("clean", "out"), "clean what? --worse-than METRIC, --keep COUNT or --failed"),
        (("clean", "out", "--keep", "1"), "cannot ask for confirmation: pass --yes"),
        (("clean", "out", "--worse-than", "nan", "--yes"), "compared with NaN"),
        (("clean", "out", "--keep", "-1", "--yes"), "--keep"),
    ]:
        assert message in command(finished, *arguments, code=2).stderr.splitlines()[-1]
    assert outputs(finished) == set("12345")


def test_no_link_is_followed(finished: Any) -> None:
    elsewhere = finished.path / "elsewhere"
    (elsewhere / "1" / "run").mkdir(parents=True)
    (elsewhere / "1" / "run" / "thesis.tex").touch()
    runs = sorted(finished.out.glob("trials/*/1/run"))
    runs[0].joinpath("link").symlink_to(elsewhere)
    for number, link in ((1, runs[1]), (2, runs[2].parent), (3, runs[3].parent.parent)):
        link.rename(finished.path / f"moved{number}")
        link.symlink_to(
            elsewhere / "1" / "run"
            if number == 1
            else elsewhere / "1"
            if number == 2
            else elsewhere
        )
    store = Store(finished.out)
    store.glimpse()
    spec = store.spec
    found = removable(store, spec, Criterion(keep=0, failed=True))
    assert {one.directory for one in found} == {str(runs[0]), str(runs[4])}
    remove(found)
    assert (elsewhere / "1" / "run" / "thesis.tex").exists()
    assert not runs[0].exists()


def test_a_journal_that_lies_deletes_nothing_elsewhere(finished: Any) -> None:
    victim = finished.path / "victim" / "1" / "run"
    victim.mkdir(parents=True)
    events = [
        {
            "event": "claim",
            "trial": "../../victim",
            "attempt": 1,
            "driver": "",
            "options": {"x": 9},
        },
        {"event": "end", "trial": "../../victim", "attempt": 1, "state": "done", "metric": -9},
    ]
    with (finished.out / "journal.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    command(finished, "clean", "out", "--keep", "0", "--yes")
    assert victim.exists()
    assert outputs(finished) == {"5"}


def test_trials_that_run_stay(finished: Any) -> None:
    journal = finished.out / "journal.jsonl"
    lines = [line for line in journal.read_text().splitlines() if '"end"' not in line]
    journal.write_text("\n".join(lines) + "\n")
    store = Store(finished.out)
    store.refresh()
    assert removable(store, store.spec, Criterion(keep=0, failed=True)) == []


def test_a_directory_that_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    from hypnet_hpsearch.results.clean import Removable

    one = Removable(
        trial="x", state=TrialState.DONE, metric=1.0, directory=str(tmp_path / "gone"), size=0
    )
    with pytest.raises(RunError, match=r"cannot delete .*gone: No such file"):
        remove([one])
