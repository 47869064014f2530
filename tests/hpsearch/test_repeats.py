"""Seeds are repetitions: a configuration's value is that of all its seeds together."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_hpsearch import SearchSpec, TrialState
from hypnet_hpsearch.propose import GridProposer
from hypnet_hpsearch.state.configurations import Configurations
from hypnet_hpsearch.state.ledger import TrialRecord

NOISY = """
scores = {"1": [.9, .1, .1], "2": [.8, .8, .8], "3": [.5, .6, 1.]}
score = scores[options["x"]][int(options["seed"])]
"""
LUCKY, STEADY, WIDE = 1, 2, 3
GRID: dict[str, Any] = {"grid": {"x": [1, 2, 3]}, "seeds": 3}


def command(workshop: Any, *arguments: str) -> str:
    done = workshop.command(*arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_one_lucky_seed_does_not_win(workshop: Any) -> None:
    workshop.body(NOISY)
    search = workshop.run(**GRID)
    best = search.best()
    assert best.options == {"x": STEADY}
    assert best.seeds == {0: 0.8, 1: 0.8, 2: 0.8}
    assert best.metric == pytest.approx(0.8)
    status = search.status()
    assert status.best == best
    assert (status.total, status.done) == (9, 9)
    rows = {row.options["x"]: row for row in search.results()}
    assert list(rows) == [STEADY, WIDE, LUCKY]
    for name, values in ((LUCKY, [0.9, 0.1, 0.1]), (WIDE, [0.5, 0.6, 1.0])):
        assert rows[name].metric == pytest.approx(statistics.fmean(values))
        error = statistics.stdev(values) / math.sqrt(3)
        assert rows[name].error == pytest.approx(error)


@pytest.mark.parametrize(
    ("how", "order"),
    [
        ("mean", [STEADY, WIDE, LUCKY]),
        ("median", [STEADY, WIDE, LUCKY]),
        ("worst", [STEADY, WIDE, LUCKY]),
    ],
)
def test_the_value_over_seeds_is_an_option(workshop: Any, how: str, order: list[int]) -> None:
    workshop.body(NOISY)
    search = workshop.run(**GRID, over_seeds=how)
    rows = {row.options["x"]: row.metric for row in search.results()}
    functions: dict[str, Callable[[list[float]], float]] = {
        "mean": statistics.fmean,
        "median": statistics.median,
        "worst": min,
    }
    values = {LUCKY: [0.9, 0.1, 0.1], STEADY: [0.8, 0.8, 0.8], WIDE: [0.5, 0.6, 1.0]}
    assert list(rows) == order
    assert rows == pytest.approx({name: functions[how](some) for name, some in values.items()})


def test_a_large_metric_is_the_worst_if_small_is_good() -> None:
    spec = SearchSpec(
        name="x",
        command=["x", "{options}"],
        grid={"a": [1]},
        seeds=2,
        metric="m",
        direction="minimize",
        over_seeds="worst",
    )
    records = [
        TrialRecord(str(seed), TrialState.DONE, options={"a": 1, "seed": seed}, metric=value)
        for seed, value in enumerate([0.25, 0.75])
    ]
    found = Configurations(spec)
    for record in records:
        found.add(record)
    assert found.best is not None
    assert found.best.value(spec) == 0.75


def test_the_table_has_a_line_for_each_configuration(workshop: Any) -> None:
    workshop.body(NOISY)
    workshop.run(**GRID)
    header, *lines = [line.split("\t") for line in command(workshop, "table", "out").splitlines()]
    assert header == ["trial", "state", "seeds", "score", "x", "seconds", "reason"]
    assert [(line[1], line[2], line[3], line[4]) for line in lines] == [
        ("done", "3/3", "0.8 ± 0", "2"),
        ("done", "3/3", "0.7 ± 0.15", "3"),
        ("done", "3/3", "0.366667 ± 0.27", "1"),
    ]
    trials = command(workshop, "table", "out", "--trials").splitlines()
    assert (len(trials), trials[0].split("\t")[3:5]) == (10, ["x", "seed"])
    document = json.loads(command(workshop, "table", "out", "--json"))
    assert (len(document["trials"]), len(document["configurations"])) == (9, 3)
    best = command(workshop, "best", "out").splitlines()
    assert best[1:3] == ["seeds\t3/3", "x\t2"]
    assert sum(Path(line, "summary.json").exists() for line in best) == 3
    assert sum(1 for _ in csv.DictReader(command(workshop, "export", "out").splitlines())) == 9
    assert "x: 2" in command(workshop, "export", "out", "--trial", "best")


def test_incomplete_configurations_come_after_complete_ones(workshop: Any) -> None:
    workshop.body(NOISY + "\nif options['x'] == '2' and options['seed'] == '2': sys.exit(1)")
    search = workshop.run(**GRID)
    rows = search.results()
    assert [row.options["x"] for row in rows] == [WIDE, LUCKY, STEADY]
    assert (rows[2].state, rows[2].seeds) == (TrialState.FAILED, {0: 0.8, 1: 0.8, 2: None})
    assert str(rows[2].reason).startswith("exit code 1")
    assert str(rows[2].errors).endswith("errors.txt")
    assert search.best().options == {"x": WIDE}


def test_one_seed_without_a_number_spoils_its_configuration(workshop: Any) -> None:
    workshop.body(
        NOISY + "\nif options['x'] == '2' and options['seed'] == '1': score = float('nan')"
    )
    search = workshop.run(**GRID)
    assert search.best().options == {"x": WIDE}
    assert math.isnan(search.results()[-1].metric or 0.0)


def test_clean_keeps_whole_configurations(workshop: Any) -> None:
    workshop.body(NOISY)
    search = workshop.run(**GRID)
    command(workshop, "clean", "out", "--keep", "1", "--yes")
    kept = {
        trial.options["x"]
        for trial in search.results()
        if Path(trial.directory, "summary.json").exists()
    }
    assert kept == {STEADY}
    assert len(list(workshop.out.glob("trials/*/1/run"))) == 3


RACE = """
score = float(options["x"]) + (int(options["seed"]) - 1) / 100
time.sleep(0.15)
"""


def test_a_hopeless_configuration_stops_after_its_first_seed(workshop: Any) -> None:
    workshop.body(RACE)
    fields: dict[str, Any] = {"grid": {"x": [5, 4.99, 4.98, 1, 2]}, "seeds": 3, "margin": 4}
    search = workshop.run(**fields, scheduler={"name": "local", "slots": 1})
    ran = Counter(trial["x"] for trial in workshop.ran())
    # The spread over seeds is known after two seeds of two of the good ones.
    assert (ran["5"], ran["4.99"], ran["4.98"]) == (3, 3, 3)
    assert ran["1"] == ran["2"] == 1
    status = search.status()
    assert status.done + status.pruned == status.total == 15
    assert (status.missing, status.cancelled, status.failed) == (0, 0, 0)
    rows = {row.options["x"]: row for row in search.results()}
    assert rows[1].state is TrialState.PRUNED
    assert str(rows[1].reason).startswith("hopeless after ")
    assert "the best configuration has " in str(rows[1].reason)
    assert search.best().options == {"x": 5}
    before = len(workshop.ran())
    (workshop.out / "journal.jsonl").unlink()  # all of that is on disk, too
    again = workshop.run(**fields)
    assert len(workshop.ran()) == before
    assert again.status().pruned == status.pruned


def test_the_rule_for_hopeless_configurations() -> None:
    spec = SearchSpec(
        name="x",
        command=["x", "{options}"],
        grid={"a": [1]},
        seeds=2,
        metric="m",
        direction="maximize",
        margin=2.0,
    )
    found = Configurations(spec)

    def add(a: int, seed: int, value: float) -> str:
        options = {"a": a, "seed": seed}
        name = f"{a}-{seed}"
        return found.add(TrialRecord(name, TrialState.DONE, options=options, metric=value)).id

    for a, values in ((0, (1.0, 1.2)), (1, (0.5, 0.7))):
        for seed, value in enumerate(values):
            add(a, seed, value)
    deviation = math.sqrt(0.02)  # of each pair, and so of both together
    error = deviation * math.sqrt(1 + 1 / 2)
    assert found.hopeless(add(2, 0, 1.1 - 1.99 * error)) is None
    assert found.hopeless(add(3, 0, 1.1 - 2.01 * error)) is not None
    assert found.hopeless(add(0, 0, 1.0)) is None


def test_with_a_margin_all_first_seeds_come_first() -> None:
    spec = SearchSpec(
        name="x",
        command=["x", "{options}"],
        grid={"a": [1, 2]},
        seeds=2,
        metric="m",
        direction="minimize",
        margin=3,
    )
    proposer = GridProposer(spec)
    options = [proposer.trial(number).options for number in proposer.order()]
    assert [(one["a"], one["seed"]) for one in options] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert [trial for _, trial in proposer.ids()] == [
        proposer.trial(number).id for number in proposer.order()
    ]


def test_a_margin_needs_seeds() -> None:
    with pytest.raises(ConfigError, match="'margin' compares configurations over several seeds"):
        SearchSpec(
            name="x",
            command=["x", "{options}"],
            grid={"a": [1]},
            metric="m",
            direction="minimize",
            margin=3,
        )


def optuna() -> Any:
    return pytest.importorskip(
        "optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'"
    )


def test_samplers_of_optuna_see_configurations(workshop: Any) -> None:
    optuna()
    workshop.body("score = (float(options['x']) - 1) ** 2 + int(options['seed'])")
    fields: dict[str, Any] = {
        "ranges": {"x": {"low": -4.0, "high": 4.0}},
        "sampler": "tpe",
        "seeds": 3,
        "max_trials": 15,
        "direction": "minimize",
    }
    search = workshop.run(**fields)
    assert (search.status().done, len(workshop.ran())) == (15, 15)
    assert set(Counter(ran["x"] for ran in workshop.ran()).values()) == {3}
    journal = optuna().storages.journal
    storage = optuna().storages.JournalStorage(
        journal.JournalFileBackend(str(workshop.out / "optuna.log"))
    )
    study = optuna().load_study(study_name=None, storage=storage)
    values = {trial.params["x"]: trial.value for trial in study.trials}
    assert len(values) == 5
    assert values == pytest.approx({x: (x - 1) ** 2 + 1 for x in values})
    # Started again with a larger limit, it carries on, and repeats nothing.
    assert workshop.run(**{**fields, "max_trials": 18}).status().done == 18
    assert len(workshop.ran()) == 18
    assert set(Counter(ran["x"] for ran in workshop.ran()).values()) == {3}


def test_an_interrupted_configuration_gets_its_other_seeds(workshop: Any) -> None:
    optuna()
    fields: dict[str, Any] = {
        "ranges": {"x": {"low": -4.0, "high": 4.0}},
        "sampler": "tpe",
        "seeds": 3,
        "scheduler": {"name": "local", "slots": 1},
    }
    workshop.run(**fields, max_trials=4)
    workshop.run(**fields, max_trials=9)
    assert set(Counter(ran["x"] for ran in workshop.ran()).values()) == {3}
    assert len(workshop.ran()) == 9


def test_a_pruned_seed_ends_its_configuration(workshop: Any) -> None:
    optuna()
    workshop.body(
        "with open(os.path.join(out, 'reports.jsonl'), 'a') as file:\n"
        "    file.write(json.dumps({'step': 0, 'value': score}) + '\\n')\n"
        "time.sleep(20 if score > 0 else 0)"
    )
    search = workshop.run(
        ranges={"x": {"low": -4.0, "high": 4.0}},
        sampler={"name": "random_sampler", "seed": 1},
        pruner={"name": "ThresholdPruner", "upper": 0.0},
        seeds=2,
        max_trials=12,
        direction="minimize",
    )
    ran = Counter(trial["x"] for trial in workshop.ran())
    assert {count for x, count in ran.items() if float(x) > 0} == {1}
    assert {count for x, count in ran.items() if float(x) <= 0} == {2}
    status = search.status()
    assert status.done + status.pruned == 12
    assert status.pruned == 2 * sum(float(x) > 0 for x in ran)


def test_plots_show_configurations(workshop: Any) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'hypnet-hpsearch[plot]'")
    workshop.body(NOISY)
    workshop.run(**GRID)
    command(workshop, "plot", "out", "--format", "svg")
    text = (workshop.out / "plots" / "best_so_far.svg").read_text()
    assert "x: 3 configurations" in text
