"""Selection: by validation scores, and by reports that a pruner can see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hypnet_hpsearch import SearchSpec, TrialState
from hypnet_hpsearch.propose.choose import proposer_of
from hypnet_hpsearch.spec.metrics import counterparts, validation_of
from hypnet_hpsearch.spec.ranges import RangeSpec

BOTH = """
json.dump({"accuracy": -score, "validation_accuracy": score, "n": {"val_loss": 1, "loss": 2}},
          open(os.path.join(out, "summary.json"), "w"))
sys.exit()
"""


def said(workshop: Any, *arguments: str) -> tuple[str, str]:
    done = workshop.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("metric", "warning"),
    [
        ("accuracy", "selects by 'accuracy' although trials report 'validation_accuracy'"),
        ("n.loss", "selects by 'n.loss' although trials report 'n.val_loss'"),
        ("validation_accuracy", None),
        ("n.val_loss", None),
    ],
)
def test_selecting_by_a_test_score_works_and_warns(
    workshop: Any, metric: str, warning: str | None
) -> None:
    workshop.body(BOTH)
    file = workshop.file(grid={"x": [1, 2, 3]}, metric=metric)
    _, errors = said(workshop, "run", file, "--out", "out")
    assert errors.count("selects by") == (warning is not None)
    assert (warning or "") in errors
    # Once more at the next start, from the results on disk.
    _, errors = said(workshop, "run", file, "--out", "out")
    assert errors.count("selects by") == (warning is not None)


def test_a_name_that_says_test_is_warned_about_before_any_trial(workshop: Any) -> None:
    workshop.body(
        'open(os.path.join(out, "summary.json"), "w").write(\'{"test_f1": 1}\'); sys.exit()'
    )
    file = workshop.file(grid={"x": [1]}, metric="test_f1")
    _, errors = said(workshop, "run", file, "--out", "out")
    lines = errors.splitlines()
    assert "selects by 'test_f1', which is measured on test data" in lines[1]
    assert "done: 1" in lines[2]


def test_tables_show_both_scores(workshop: Any) -> None:
    workshop.body(BOTH)
    search = workshop.run(grid={"x": [1, 2, 3]}, metric="validation_accuracy")
    assert search.best().options == {"x": 3}
    assert search.best().numbers == {"accuracy": -3.0}
    table = [line.split("\t") for line in said(workshop, "table", "out")[0].splitlines()]
    assert table[0][2:5] == ["validation_accuracy", "accuracy", "x"]
    assert [line[2:5] for line in table[1:]] == [
        ["3", "-3", "3"],
        ["2", "-2", "2"],
        ["1", "-1", "1"],
    ]
    best = said(workshop, "best", "out")[0].splitlines()
    assert best[:3] == ["validation_accuracy\t3.0", "accuracy\t-3.0", "x\t3"]
    document = json.loads(said(workshop, "best", "out", "--json")[0])
    assert document["trial"]["numbers"] == {"accuracy": -3.0}
    export = said(workshop, "export", "out")[0].splitlines()
    assert export[0].startswith("trial,state,metric,accuracy,x,")
    assert export[1].split(",")[1:5] == ["done", "3.0", "-3.0", "3"]
    assert (workshop.out / "results.csv").read_text().splitlines() == export
    # Without the journal, the same comes from the trials' directories.
    (workshop.out / "journal.jsonl").unlink()
    assert search.best().numbers == {"accuracy": -3.0}


def test_the_mean_of_the_other_score_is_shown_over_seeds(workshop: Any) -> None:
    workshop.body("score += int(options['seed'])\n" + BOTH)
    search = workshop.run(grid={"x": [1, 2]}, seeds=3, metric="validation_accuracy")
    assert search.best().numbers == {"accuracy": -3.0}


def test_numbers_that_are_shown_are_kept_however_long_the_summary_is(workshop: Any) -> None:
    workshop.body(
        "many = {f'a{number}': number for number in range(300)}\n"
        "many |= {'val_x': score, 'x': 7}\n"
        "json.dump(many, open(os.path.join(out, 'summary.json'), 'w'))\nsys.exit()"
    )
    search = workshop.run(grid={"x": [1]}, metric="val_x")
    assert search.best().numbers == {"x": 7.0}


def test_counterparts_of_names() -> None:
    for validation, test in [
        ("validation_mse", "mse"),
        ("val_mse", "test_mse"),
        ("a.b.validation_mse", "a.b.mse"),
    ]:
        assert test in counterparts(validation)
        assert validation in counterparts(test)
        assert validation_of(test, {validation}) == validation
        assert validation_of(validation, {test}) is None
    assert validation_of("mse", {"a.validation_mse"}) is None


def pruned(**fields: Any) -> dict[str, Any]:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")
    return {
        "ranges": {"x": {"low": 0.0, "high": 1.0}},
        "sampler": "random_sampler",
        "pruner": "median",
        "max_trials": 3,
        **fields,
    }


def test_a_pruner_without_reports_says_so(workshop: Any) -> None:
    file = workshop.file(**pruned())
    _, errors = said(workshop, "run", file, "--out", "out")
    [line] = [line for line in errors.splitlines() if "the pruner sees nothing" in line]
    assert "there is no report in reports.jsonl of the trial " in line
    assert str(workshop.out / "trials") in line
    assert "call hypnet_hpsearch.report(step, value)" in line


EXPERIMENT = """
import json
from pydantic import BaseModel, ConfigDict
from hypnet_core import Component, hookimpl


class Measured:
    \"\"\"Logs an accuracy of each step.\"\"\"

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        x: float = 1.0

    def run(self, config, run):
        for step in range(3):
            run.log(step, **{"val/accuracy": config.x, "loss": 1.0})
        return {"accuracy": config.x, "validation_accuracy": config.x}


@hookimpl
def hypnet_components():
    return [Component.experiment("measured", "measured:Measured", "Logs accuracies.")]
"""


def test_a_pruner_over_an_experiment_names_what_is_reported(
    tmp_path: Path, in_process: Any
) -> None:
    (tmp_path / "measured.py").write_text(EXPERIMENT)
    info = tmp_path / "measured-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: measured\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hypnet]\nmeasured = measured\n")
    fields = pruned(experiment="measured", metric="validation_accuracy", direction="maximize")
    fields["ranges"] = {"x": {"low": 0.0, "high": 1.0}}
    environment = {"PYTHONPATH": str(tmp_path)}

    def run(out: str, **more: Any) -> str:
        (tmp_path / "search.yaml").write_text(json.dumps({**fields, **more, "max_trials": 1}))
        arguments = ("search", "run", "search.yaml", "--out", out)
        done = in_process(*arguments, cwd=tmp_path, path=[tmp_path], **environment)
        assert done.returncode == 0, done.stderr
        return str(done.stderr)

    errors = run("one")
    assert "checking the options of the first trial with measured" in errors.splitlines()[0]
    assert (
        "has no 'validation_accuracy', but 'loss' and 'val/accuracy'; name one of them as 'report'"
    ) in errors.replace(", 'val/accuracy'", " and 'val/accuracy'")
    assert "sees nothing" not in run("two", report="val/accuracy")


def test_the_last_report_of_a_pruned_trial_is_no_metric(workshop: Any) -> None:
    workshop.body(
        "with open(os.path.join(out, 'reports.jsonl'), 'a') as file:\n"
        "    file.write(json.dumps({'step': 4, 'value': score}) + '\\n')\n"
        "time.sleep(20 if score > .5 else 0)"
    )
    fields = pruned(pruner={"name": "ThresholdPruner", "upper": 0.5}, max_trials=8)
    search = workshop.run(**fields, direction="minimize")
    rows = [row for row in search.results() if row.state is TrialState.PRUNED]
    assert rows
    assert all((row.metric, row.reported) == (None, row.options["x"]) for row in rows)
    table = [line.split("\t") for line in said(workshop, "table", "out")[0].splitlines()]
    assert table[0][2:5] == ["score", "last report", "x"]
    for line in table[1:]:
        assert (line[2] == "") == (line[1] == "pruned") == (line[3] != "")
    (workshop.out / "journal.jsonl").unlink()
    assert [row for row in search.results() if row.state is TrialState.PRUNED] == rows


@pytest.mark.parametrize("sampler", ["random", "tpe", "QMCSampler", "BruteForceSampler"])
def test_ranges_with_steps_give_all_samplers_the_same_values_and_ids(sampler: str) -> None:
    if sampler != "random":
        pruned()
    if sampler == "QMCSampler":
        pytest.importorskip("scipy", reason="pip install 'hypnet-hpsearch[optuna]'")
    ids: dict[float, str] = {}
    for seed in range(30):
        spec = SearchSpec(
            name="x",
            command=["x", "{options}"],
            ranges={"m": {"low": 0.0, "high": 0.9, "step": 0.3}},
            sampler={"name": sampler, "seed": seed},
            max_trials=1,
            metric="m",
            direction="minimize",
        )
        trial = proposer_of(spec).first()
        ids[trial.options["m"]] = trial.id
    assert ids.keys() <= {0.0, 0.3, 0.6, 0.9}
    grid = SearchSpec(
        name="x",
        command=["x", "{options}"],
        grid={"m": [0.0, 0.3, 0.6, 0.9]},
        metric="m",
        direction="minimize",
    )
    proposer = proposer_of(grid)
    known = {trial.options["m"]: trial.id for trial in map(proposer.trial, proposer.order())}
    assert len(ids) > 1
    assert all(known[value] == name for value, name in ids.items())


@pytest.mark.parametrize("step", [0.1, 0.3, 1e-3, 0.7])
def test_the_nearest_number_is_one_of_the_range(step: float) -> None:
    range_ = RangeSpec(low=-0.5, high=2.3, step=step)
    count = range_.count or 0
    numbers = [range_.at(place / count + 1e-9) for place in range(count)]
    drifted = [-0.5 + sum([step] * place) for place in range(count)]
    assert [range_.nearest(number) for number in drifted] == numbers
    assert range_.nearest(1000.0) == numbers[-1]
