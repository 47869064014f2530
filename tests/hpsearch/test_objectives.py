"""Several objectives and constraints: the Pareto front, and what is feasible."""

from __future__ import annotations

import csv
import itertools
import json
import random
from typing import Any

import pytest

from hypnet_core.errors import ConfigError, RunError
from hypnet_hpsearch import SearchSpec, TrialState
from hypnet_hpsearch.spec.objectives import parse_constraint
from hypnet_hpsearch.state.pareto import front_of

# Accuracies and sizes; the third is dominated by the second, the last is too large.
TRIALS = """
accuracy, size = {"1": (.7, 10), "2": (.8, 20), "3": (.75, 30), "4": (.9, 40),
                  "5": (.99, 500)}[options["x"]]
accuracy += int(options.get("seed", 0)) / 1000
json.dump({"accuracy": accuracy, "model": {"size": size}, "compression": size / 100},
          open(os.path.join(out, "summary.json"), "w"))
sys.exit()
"""
FIELDS: dict[str, Any] = {
    "grid": {"x": [1, 2, 3, 4, 5]},
    "metrics": {"accuracy": "max", "model.size": "min"},
}


@pytest.fixture
def made(workshop: Any) -> Any:
    """A workshop whose trials have several objectives."""
    workshop.body(TRIALS)
    fields = workshop.fields

    def without_metric(**more: Any) -> dict[str, Any]:
        found: dict[str, Any] = fields(**more)
        if "metrics" in more:
            del found["metric"], found["direction"]
        return found

    workshop.fields = without_metric
    return workshop


def rows(made: Any, *arguments: str) -> list[dict[str, str]]:
    done = made.command(*arguments)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(done.stdout.splitlines(), delimiter="\t"))


def test_the_front_is_what_nothing_dominates(made: Any) -> None:
    search = made.run(**FIELDS)
    assert [result.options["x"] for result in search.front()] == [5, 4, 2, 1]
    table = rows(made, "table", "out")
    assert [(row["x"], row["front"]) for row in table] == [
        ("5", "*"), ("4", "*"), ("2", "*"), ("1", "*"), ("3", ""),
    ]  # fmt: skip
    assert (table[1]["accuracy"], table[1]["model.size"]) == ("0.9", "40")
    assert [row["x"] for row in rows(made, "best", "out")] == ["5", "4", "2", "1"]
    document = json.loads(made.command("best", "out", "--json").stdout)
    assert [trial["numbers"]["model.size"] for trial in document["front"]] == [500, 40, 20, 10]
    assert document["trial"] == document["front"][0]
    export = list(csv.DictReader(made.command("export", "out").stdout.splitlines()))
    assert {row["model.size"] for row in export} == {"10.0", "20.0", "30.0", "40.0", "500.0"}


def test_constraints_leave_out_what_violates_them(made: Any) -> None:
    search = made.run(**FIELDS, constraints=["compression <= 1", "accuracy>=0.75"])
    assert [result.options["x"] for result in search.front()] == [4, 2]
    table = {row["x"]: row for row in rows(made, "table", "out")}
    assert {x: row["feasible"] for x, row in table.items()} == {
        "1": "no", "2": "", "3": "", "4": "", "5": "no",
    }  # fmt: skip
    assert list(table)[:3] == ["4", "2", "3"]
    status = search.status()
    assert status.best is not None
    assert status.best.options == {"x": 4}
    (made.out / "journal.jsonl").unlink()
    assert [result.options["x"] for result in search.front()] == [4, 2]


def test_constraints_of_one_metric(made: Any) -> None:
    fields = {"grid": FIELDS["grid"], "metric": "accuracy", "constraints": ["compression <= 0.3"]}
    search = made.run(**fields)
    assert search.best().options == {"x": 2}
    assert search.best().numbers["compression"] == 0.2
    best = dict(line.split("\t") for line in made.command("best", "out").stdout.splitlines()[:3])
    assert (best["accuracy"], best["compression"]) == ("0.8", "0.2")
    made.command("clean", "out", "--keep", "2", "--yes")
    assert len(list(made.out.glob("trials/*/1/run"))) == 2


def test_nothing_may_fulfil_the_constraints(made: Any) -> None:
    search = made.run(grid={"x": [1]}, metric="accuracy", constraints=["compression >= 2"])
    with pytest.raises(RunError, match="no trial fulfils the constraints yet"):
        search.best()
    assert search.status().best is None


def test_a_summary_must_have_all_that_is_asked_for(made: Any) -> None:
    search = made.run(grid={"x": [1]}, metrics={"accuracy": "max", "latency": "min"})
    [result] = search.results()
    assert result.state is TrialState.FAILED
    assert str(result.reason).startswith("its summary.json has no metric 'latency'; it has")


def test_objectives_are_combined_over_seeds(made: Any) -> None:
    search = made.run(**FIELDS, seeds=3, over_seeds="worst")
    front = search.front()
    assert [result.options["x"] for result in front] == [5, 4, 2, 1]
    assert front[1].metric == 0.9
    assert front[1].numbers["model.size"] == 40.0
    assert front[1].seeds == {0: 0.9, 1: 0.901, 2: 0.902}


def test_the_front_of_random_points_is_that_of_the_definition() -> None:
    generator = random.Random(0)
    for size, dimension in itertools.product((1, 5, 40), (1, 2, 3)):
        points = [
            tuple(float(generator.randrange(6)) for _ in range(dimension)) for _ in range(size)
        ]
        expected = {
            number
            for number, point in enumerate(points)
            if not any(
                all(a <= b for a, b in zip(other, point, strict=True)) and other != point
                for other in points
            )
        }
        assert set(front_of(points)) == expected


def test_samplers_of_optuna_see_all_objectives_and_constraints(made: Any) -> None:
    optuna = pytest.importorskip(
        "optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'"
    )
    for name in ("nsga_ii", "tpe"):
        out = made.path / name
        search = made.search(
            **{**FIELDS, "sampler": name, "max_trials": 5, "constraints": ["compression <= 1"]}
        )
        search.directory = out
        search.run()
        assert search.status().done == 5
        journal = optuna.storages.journal
        storage = optuna.storages.JournalStorage(
            journal.JournalFileBackend(str(out / "optuna.log"))
        )
        study = optuna.load_study(study_name=None, storage=storage)
        assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
        values = {int(trial.params["x"]): tuple(trial.values) for trial in study.trials}
        assert values[4] == (0.9, 40.0)
        feasible = {
            int(trial.params["x"]): all(value <= 0 for value in trial.constraints.values())
            for trial in study.trials
        }
        assert feasible == {1: True, 2: True, 3: True, 4: True, 5: False}
        assert {int(trial.params["x"]) for trial in study.best_trials} == {1, 2, 4}


def test_plots_show_the_front(made: Any) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'hypnet-hpsearch[plot]'")
    made.run(**FIELDS, constraints=["compression <= 1"])
    done = made.command("plot", "out", "--format", "svg")
    assert done.returncode == 0, done.stderr
    text = (made.out / "plots" / "front.svg").read_text()
    for label in ("Pareto front", "dominated", "violates a constraint", "accuracy (maximize)"):
        assert f"<!-- {label} -->" in text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("compression <= 1", ("compression", "<=", 1.0)),
        ("a.b>=1e-3", ("a.b", ">=", 1e-3)),
        (" a b  <=  -2 ", ("a b", "<=", -2.0)),
    ],
)
def test_constraints_are_texts(text: str, found: tuple[str, str, float]) -> None:
    assert parse_constraint(text) == found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": {"a": "most"}}, "metrics: 'a' must be 'max' or 'min', is 'most'"),
        ({"metrics": {"a": "max"}, "metric": "b"}, "give either 'metric' or 'metrics', not both"),
        ({"metrics": {"a": "max"}, "constraints": ["a < 1"]}, "must have the form 'NAME <="),
        ({"metrics": {"a": "max"}, "constraints": ["a <= x"]}, "must have the form"),
        (
            {"metrics": {"a": "max", "b": "min"}, "seeds": 2, "margin": 3},
            "'margin' compares one metric, but there are several",
        ),
        (
            {"metrics": {"a": "max", "b": "min"}, "sampler": "tpe", "max_trials": 3,
             "pruner": "median"},
            "'pruner' compares one metric, but there are several",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSpec(name="x", command=["x", "{options}"], grid={"x": [1]}, **fields)
    assert message in str(caught.value)


def test_a_search_goes_on_with_its_objectives_but_not_with_others(made: Any) -> None:
    made.run(**FIELDS)
    made.run(**FIELDS)
    assert len(made.ran()) == 5
    with pytest.raises(RunError, match=r"differs in metrics\.model\.size"):
        made.run(**{**FIELDS, "metrics": {"accuracy": "max"}})
