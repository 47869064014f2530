"""A search may grow: what has finished and still belongs to it is reused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import RunError
from hypnet_hpsearch import Search, SearchSpec
from hypnet_hpsearch.spec.members import Members


def command(workshop: Any, *arguments: str, code: int = 0) -> tuple[str, str]:
    done = workshop.command(*arguments)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def ran(workshop: Any) -> Counter[str]:
    return Counter(" ".join(f"{k}={v}" for k, v in trial.items()) for trial in workshop.ran())


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ({"grid": {"x": [1, 2]}}, {"grid": {"x": [1, 2, 3]}}, ["x=3"]),
        ({"grid": {"x": [1, 2]}}, {"grid": {"x": [2, 1], "y": [7]}}, ["x=1 y=7", "x=2 y=7"]),
        ({"base": {"y": 7}, "grid": {"x": [1, 2]}}, {"grid": {"x": [1, 2], "y": [7]}}, []),
        ({"grid": {"x": [1, 2]}, "seeds": 1}, {"grid": {"x": [1, 2]}, "seeds": 2},
         ["x=1 seed=1", "x=2 seed=1"]),
        ({"grid": {"x": [1, 2, 3]}},
         {"grid": {"x": [1, 2, 3]}, "sampler": "random", "max_trials": 3}, []),
        ({"grid": {"x": [1, 2, 3], "y": [0, 1]},
          "conditions": [{"when": {"x": 3}, "then": {"y": 0}}]},
         {"grid": {"x": [1, 2, 3], "y": [0, 1]}}, ["x=3 y=1"]),
    ],
)  # fmt: skip
def test_finished_trials_that_still_belong_are_reused(
    workshop: Any, before: dict[str, Any], after: dict[str, Any], new: list[str]
) -> None:
    workshop.run(**before)
    first = ran(workshop)
    file = workshop.file(**after)
    _, said = command(workshop, "run", file, "--out", "out", "--dry-run")
    assert f"would run {len(new)} trials" in said
    search = workshop.run(**after)
    second = ran(workshop)
    assert sorted((second - first).elements()) == sorted(new)
    assert set(second.values()) == {1}
    status = search.status()
    assert (status.missing, status.failed) == (0, 0)
    assert status.done == status.total
    assert f"would reuse {status.done - len(new)} finished trials" in said or not (
        status.done - len(new)
    )


def test_trials_that_do_not_belong_any_more_are_left_aside(workshop: Any) -> None:
    workshop.run(grid={"x": [1, 2, 9]})
    file = workshop.file(grid={"x": [1, 2, 3]})
    out, said = command(workshop, "run", file, "--out", "out", "--dry-run")
    assert len(out.splitlines()) == 1
    assert "would run 1 trials" in said
    assert "would reuse 2 finished trials; 1 others do not belong to it" in said
    document = json.loads(command(workshop, "run", file, "--out", "out", "--dry-run", "--json")[0])
    assert (document["reused"], document["outside"], len(document["trials"])) == (2, 1, 1)
    _, said = command(workshop, "run", file, "--out", "out")
    assert (
        "the search has changed in grid.x: 2 finished trials still belong to it; 1 others do not,"
        " and are left aside"
    ) in said
    search = workshop.search(grid={"x": [1, 2, 3]})
    assert search.best().options == {"x": 3}
    status = search.status()
    assert (status.total, status.done) == (3, 3)
    assert len(command(workshop, "table", "out")[0].splitlines()) == 4
    size = (workshop.out / "journal.jsonl").stat().st_size
    # The next start says nothing of it, and writes nothing.
    _, said = command(workshop, "run", file, "--out", "out")
    assert "has changed" not in said
    assert (workshop.out / "journal.jsonl").stat().st_size == size
    # What comes back, comes back with its result.
    search = workshop.run(grid={"x": [1, 2, 3, 9]})
    assert (search.best().options, search.status().done) == ({"x": 9}, 4)
    assert set(ran(workshop).values()) == {1}


def test_the_same_is_seen_without_the_journal(workshop: Any) -> None:
    workshop.run(grid={"x": [1, 2, 9]})
    search = workshop.run(grid={"x": [1, 2, 3]})
    (workshop.out / "journal.jsonl").unlink()
    assert (search.status().total, search.status().done) == (3, 3)
    workshop.run(grid={"x": [1, 2, 3]})
    assert set(ran(workshop).values()) == {1}


def test_a_wider_range_keeps_what_it_has_drawn(workshop: Any) -> None:
    fields: dict[str, Any] = {"sampler": {"name": "random", "seed": 1}}
    workshop.run(**fields, ranges={"x": {"low": 0.0, "high": 1.0}}, max_trials=4)
    search = workshop.run(**fields, ranges={"x": {"low": -1.0, "high": 2.0}}, max_trials=6)
    assert (search.status().total, search.status().done, len(workshop.ran())) == (6, 6, 6)
    narrow = {"ranges": {"x": {"low": 0.5, "high": 2.0}}, "max_trials": 6}
    search = workshop.run(**fields, **narrow)
    status = search.status()
    assert (status.total, status.done) == (6, 6)
    assert all(result.options["x"] >= 0.5 for result in search.results())


def test_another_sampler_learns_from_what_has_finished(workshop: Any) -> None:
    optuna = pytest.importorskip(
        "optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'"
    )
    workshop.run(grid={"x": [0.5, 1.0]})
    ranges = {"ranges": {"x": {"low": 0.0, "high": 1.0}}}
    search = workshop.run(**ranges, sampler="tpe", max_trials=5)
    assert (search.status().total, search.status().done, len(workshop.ran())) == (5, 5, 5)
    wider = {"ranges": {"x": {"low": -1.0, "high": 1.0}}}
    search = workshop.run(**wider, sampler="tpe", max_trials=7)
    assert (search.status().done, len(workshop.ran())) == (7, 7)
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(
        journal.JournalFileBackend(str(workshop.out / "optuna.log"))
    )
    study = optuna.load_study(study_name=None, storage=storage)
    assert len(study.trials) == 7
    assert {trial.distributions["x"].low for trial in study.trials} == {-1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "extra.half"},
        {"direction": "minimize"},
        {"style": "--key=value"},
        {"parser": "lines"},
    ],
)
def test_another_meaning_of_the_results_is_refused(workshop: Any, change: dict[str, Any]) -> None:
    workshop.run(grid={"x": [1]})
    with pytest.raises(RunError, match=f"holds another search, which differs in {min(change)}"):
        workshop.run(**{"grid": {"x": [1]}, **change})
    with pytest.raises(RunError, match="holds another search"):
        workshop.search(**{"grid": {"x": [1]}, **change}).preview()


@pytest.mark.parametrize(
    ("options", "belongs"),
    [
        ({"a": 1, "x": 0.5, "n": 16, "seed": 0}, True),
        ({"a": 1.0, "x": 0.5, "n": 16, "seed": 0}, False),
        ({"a": 1, "x": 1.5, "n": 16, "seed": 0}, False),
        ({"a": 1, "x": "0.5", "n": 16, "seed": 0}, False),
        ({"a": 1, "x": 0.5, "n": 17, "seed": 0}, False),
        ({"a": 1, "x": 0.5, "n": 16, "seed": 5}, False),
        ({"a": 1, "x": 0.5, "n": 16}, False),
        ({"a": 2, "x": 0.25, "n": 16, "seed": 1}, True),  # by the condition
        ({"a": 2, "x": 0.5, "n": 16, "seed": 1}, False),
    ],
)
def test_membership(options: dict[str, Any], belongs: bool) -> None:
    spec = SearchSpec(
        name="x",
        command=["x", "{options}"],
        grid={"a": [1, 2]},
        ranges={
            "x": {"low": 0.0, "high": 1.0},
            "n": {"low": 8, "high": 32, "step": 8, "integer": True},
        },
        conditions=[{"when": {"a": 2}, "then": {"x": [0.25, 0.75]}}],
        seeds=2,
        max_trials=1,
        metric="m",
        direction="minimize",
    )
    assert Members(spec).contain(options) is belongs


def imported(workshop: Any, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(workshop, "import", *arguments, "--json")[0])
    return found


def test_another_search_is_imported(workshop: Any) -> None:
    workshop.run(grid={"x": [1, 2, 9]}, base={"y": 7})
    file = workshop.file(grid={"x": [1, 2, 3]}, base={"y": 7}, name="other", metric="extra.half")
    found = imported(workshop, file, "out", "--out", "new")
    assert (len(found["trials"]), found["known"], found["outside"]) == (2, 0, 1)
    assert found["directory"] == str(workshop.path / "new")
    again = imported(workshop, "new", "out")
    assert (again["trials"], again["known"], again["outside"]) == ([], 2, 1)
    before = len(workshop.ran())
    _, said = command(workshop, "run", file, "--out", "new")
    assert "3 trials, 2 done; to run: 1" in said
    assert len(workshop.ran()) == before + 1
    rows = [line.split("\t") for line in command(workshop, "table", "new")[0].splitlines()]
    assert sorted(row[2] for row in rows[1:]) == ["0.5", "1", "1.5"]
    assert sum("imported from out" in row[-1] for row in rows) == 2
    search = Search(SearchSpec(**json.loads((workshop.path / "search.yaml").read_text())),
                    workshop.path / "new")  # fmt: skip
    assert all(Path(result.directory, "summary.json").exists() for result in search.results())


def test_a_csv_file_is_imported(workshop: Any) -> None:
    workshop.run(grid={"x": [1, 2]})
    command(workshop, "export", "out", "--to", "all.csv")
    file = workshop.file(grid={"x": [1, 2]}, name="other")
    assert len(imported(workshop, file, "all.csv", "--out", "new")["trials"]) == 2
    (workshop.path / "own.csv").write_text("x,score,note\n3,0.5,a\n4,,b\n1,0.25,c\nseven,1,d\n")
    file = workshop.file(grid={"x": [1, 3, 4]}, name="other")
    found = imported(workshop, file, "own.csv", "--out", "own")
    assert (len(found["trials"]), found["outside"]) == (2, 1)
    search = workshop.search(grid={"x": [1, 3, 4]})
    search.directory = workshop.path / "own"
    search.run()
    assert {row.options["x"]: row.metric for row in search.results()} == {1: 0.25, 3: 0.5, 4: 4.0}
    _, said = command(workshop, "import", file, str(workshop.path / "trial.py"), code=1)
    assert "trial.py holds no results: expected the directory of a search, a CSV file" in said
    (workshop.path / "bad.csv").write_text("x,skore\n1,2\n")
    _, said = command(workshop, "import", "out", "bad.csv", code=1)
    assert "has no column 'score'; did you mean 'skore'?" in said


def test_studies_of_optuna_are_imported_and_learned_from(workshop: Any) -> None:
    optuna = pytest.importorskip(
        "optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'"
    )
    journal = optuna.storages.journal
    backend = journal.JournalFileBackend(str(workshop.path / "study.log"))
    storages = [optuna.storages.JournalStorage(backend), f"sqlite:///{workshop.path}/study.db"]
    for storage in storages:
        study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
        study.optimize(
            lambda trial: (
                trial.suggest_float("x", 0.0, 0.9, step=0.3)
                + (trial.suggest_categorical("act", ["relu", "tanh"]) == "tanh")
            ),
            n_trials=6,
        )
    fields: dict[str, Any] = {
        "ranges": {"x": {"low": 0.0, "high": 0.9, "step": 0.3}},
        "grid": {"act": ["relu", "tanh"]},
        "sampler": "tpe",
        "max_trials": 8,
    }
    file = workshop.file(**fields)
    different = {tuple(trial.params.values()) for trial in study.trials}
    found = imported(workshop, file, f"sqlite:///{workshop.path}/study.db#s", "--out", "sql")
    assert len(found["trials"]) == len(different)
    found = imported(workshop, file, "study.log", "--out", "out")
    count = len(found["trials"])
    assert 0 < count <= 6
    search = workshop.run(**fields)
    assert search.status().done == 8
    assert len(workshop.ran()) == 8 - count
    _, said = command(workshop, "import", "out", "sqlite:///nowhere.db#s", code=1)
    assert len(said.splitlines()) == 1
    assert said == "hypnet: there is no nowhere.db\n"
    assert not (workshop.path / "nowhere.db").exists()
    command(workshop, "import", file, "sqlite:///nowhere.db", "--out", "never", code=1)
    assert not (workshop.path / "never").exists()
