"""Searches with samplers of Optuna: the journal decides, whatever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError, RunError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_hpsearch import Search, SearchSpec, TrialState
from hypnet_hpsearch.execution.driver import Driver
from hypnet_hpsearch.execution.observers import Watcher
from hypnet_hpsearch.propose import AdaptiveProposer
from hypnet_hpsearch.propose.optuna.dashboard import StudyFile
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.spec.trials import TrialMaker
from hypnet_hpsearch.state import Event, claim_event, end_event
from hypnet_hpsearch.state.attempts import attempt_record
from hypnet_hpsearch.state.store import Store

optuna = pytest.importorskip(
    "optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'"
)

RANGE = {"x": {"low": -4.0, "high": 4.0}}
SETTINGS: dict[str, Any] = {
    "ranges": RANGE,
    "sampler": "tpe",
    "max_trials": 12,
    "direction": "minimize",
}
SQUARE = "score = score ** 2"

REPORTING = """
from pathlib import Path
for step in range(6):
    with open(os.path.join(out, "reports.jsonl"), "a") as file:
        file.write(json.dumps({"step": step, "value": score}) + "\\n")
    time.sleep(0.02 if step < 5 or score <= 0 else 20)
"""


def study_of(workshop: Any) -> Any:
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(
        journal.JournalFileBackend(str(workshop.out / "optuna.log"))
    )
    return optuna.load_study(study_name=None, storage=storage)


def test_as_many_different_trials_as_asked_for(workshop: Any) -> None:
    workshop.body(SQUARE)
    search = workshop.run(**SETTINGS)
    status = search.status()
    assert (status.total, status.done, status.missing) == (12, 12, 0)
    assert len({ran["x"] for ran in workshop.ran()}) == 12
    assert search.best().metric == min(float(ran["x"]) ** 2 for ran in workshop.ran())


def test_one_after_the_other_they_are_what_optuna_alone_would_try(workshop: Any) -> None:
    workshop.body(SQUARE)
    workshop.run(**{**SETTINGS, "max_trials": 25, "scheduler": {"name": "local", "slots": 1}})
    seed = random.Random("0:0").getrandbits(31)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: trial.suggest_float("x", -4.0, 4.0) ** 2, n_trials=25)
    assert [float(ran["x"]) for ran in workshop.ran()] == [
        trial.params["x"] for trial in study.trials
    ]


def test_a_search_that_goes_on_proposes_something_new(workshop: Any) -> None:
    workshop.run(**{**SETTINGS, "max_trials": 5})
    search = workshop.run(**SETTINGS)
    assert search.status().done == 12
    assert len({ran["x"] for ran in workshop.ran()}) == len(workshop.ran()) == 12


def test_nothing_is_run_again(workshop: Any) -> None:
    workshop.run(**SETTINGS)
    workshop.run(**SETTINGS)
    assert len(workshop.ran()) == 12


def test_a_failed_trial_is_tried_again_and_the_study_shows_both(workshop: Any) -> None:
    workshop.body(
        "if not os.path.exists('t' + options['x']):\n    open('t' + options['x'], 'w').close();"
        " sys.exit('not yet')"
    )
    search = workshop.run(**{**SETTINGS, "max_trials": 3, "attempts": 2})
    assert search.status().done == 3
    trials = study_of(workshop).trials
    assert Counter(trial.state.name for trial in trials) == {"FAIL": 3, "COMPLETE": 3}
    assert {trial.user_attrs["attempt"] for trial in trials if trial.state.name == "COMPLETE"} == {
        2
    }


def test_what_failed_is_tried_again_by_the_next_start(workshop: Any) -> None:
    workshop.body("if not os.path.exists('fixed'): sys.exit('not yet')")
    assert workshop.run(**{**SETTINGS, "max_trials": 4}).status().failed == 4
    (workshop.path / "fixed").touch()
    assert workshop.run(**{**SETTINGS, "max_trials": 4}).status().done == 4
    assert len({ran["x"] for ran in workshop.ran()}) == 4


def test_a_small_space_is_searched_whole_and_no_further(workshop: Any) -> None:
    search = workshop.run(grid={"x": [1, 2, 3], "y": ["a", "b"]}, sampler="tpe", max_trials=50)
    status = search.status()
    assert (status.total, status.done, status.missing) == (6, 6, 0)
    assert len(workshop.ran()) == 6


@pytest.mark.parametrize(
    "name", ["GridSampler", "BruteForceSampler", "RandomSampler", "QMCSampler", "nsga_ii", "optuna"]
)
def test_any_sampler_will_do(workshop: Any, name: str) -> None:
    pytest.importorskip("scipy") if name == "QMCSampler" else None
    search = workshop.run(grid={"x": [1, 2, 3]}, sampler=name, max_trials=3)
    assert search.status().done == 3
    assert workshop.run(grid={"x": [1, 2, 3]}, sampler=name, max_trials=3).status().done == 3
    assert len(workshop.ran()) == 3


def test_samplers_that_need_other_packages(workshop: Any) -> None:
    pytest.importorskip("cmaes", reason="pip install 'hypnet-hpsearch[optuna]'")
    search = workshop.run(
        **{**SETTINGS, "ranges": {**RANGE, "y": {"low": 0.0, "high": 1.0}}, "sampler": "cmaes"}
    )
    assert search.status().done == 12


def test_options_reach_the_sampler_and_samplers_may_be_nested(workshop: Any) -> None:
    sampler = {
        "name": "PartialFixedSampler",
        "fixed_params": {"y": 2.5},
        "base_sampler": {"name": "random"},
    }
    workshop.run(
        **{
            **SETTINGS,
            "ranges": {**RANGE, "y": {"low": 0.0, "high": 5.0}},
            "sampler": sampler,
            "max_trials": 4,
        }
    )
    assert {ran["y"] for ran in workshop.ran()} == {"2.5"}


def test_values_arrive_as_they_were_written(workshop: Any) -> None:
    texts = ["a b", "$(touch x)", "-v", "ü", "'\"", "../..", "x" * 10_000, "1", "true"]
    search = workshop.run(
        grid={"x": [0], "y": [*texts, 1, True, None, 2.5]},
        sampler="BruteForceSampler",
        max_trials=30,
    )
    assert search.status().done == len(texts) + 4
    assert Counter(ran["y"] for ran in workshop.ran()) == Counter(
        [*texts, "1", "true", "null", "2.5"]
    )


def test_conditions_apply_to_proposals(workshop: Any) -> None:
    conditions = [{"when": {"opt": "sgd"}, "then": {"beta": 0, "x": [1.0, 2.0]}}]
    fields = {
        **SETTINGS,
        "grid": {"opt": ["sgd", "adam"], "beta": [1, 2]},
        "conditions": conditions,
        "max_trials": 20,
    }
    workshop.run(**fields)
    for ran in workshop.ran():
        assert (ran["beta"] == "0" and ran["x"] in {"1.0", "2.0"}) == (ran["opt"] == "sgd")
    parameters = [set(trial.params) for trial in study_of(workshop).trials]
    assert {"opt", "x (condition 1)"} in parameters
    assert {"opt", "beta", "x"} in parameters


def test_the_study_is_rebuilt_from_the_ledger(workshop: Any) -> None:
    workshop.body(SQUARE)
    search = workshop.run(**SETTINGS)
    expected = sorted((result.options["x"], result.metric) for result in search.results())
    (workshop.out / "optuna.log").unlink()
    workshop.run(**SETTINGS)
    assert (
        sorted((trial.params["x"], trial.value) for trial in study_of(workshop).trials) == expected
    )


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"op_code": 4, "half', b"\xff\xff\n", b'{"op_code": 99}\n', b"[]\n"]
)
def test_a_damaged_study_is_mended(workshop: Any, damage: bytes) -> None:
    workshop.run(**{**SETTINGS, "max_trials": 4})
    path = workshop.out / "optuna.log"
    path.write_bytes(path.read_bytes() + damage)
    workshop.run(**{**SETTINGS, "max_trials": 6})
    assert Counter(trial.state.name for trial in study_of(workshop).trials) == {"COMPLETE": 6}
    assert len({trial.user_attrs["trial"] for trial in study_of(workshop).trials}) == 6


def test_a_study_that_cannot_be_written_stops_nothing(workshop: Any) -> None:
    workshop.run(**{**SETTINGS, "max_trials": 2})
    (workshop.out / "optuna.log").unlink()
    (workshop.out / "optuna.log").mkdir()
    assert workshop.run(**{**SETTINGS, "max_trials": 4}).status().done == 4


def test_a_metric_that_is_no_number_is_a_result_but_not_for_the_sampler(workshop: Any) -> None:
    workshop.body("if score < 0: score = float('nan')")
    search = workshop.run(**SETTINGS)
    status = search.status()
    assert status.done == 12
    assert 0 < status.without_number < 12
    states = Counter(trial.state.name for trial in study_of(workshop).trials)
    assert states == {"FAIL": status.without_number, "COMPLETE": 12 - status.without_number}


def test_a_pruned_trial_is_accepted_and_never_run_again(workshop: Any) -> None:
    workshop.body(REPORTING)
    fields = {**SETTINGS, "pruner": {"name": "ThresholdPruner", "upper": 0.0}, "max_trials": 8}
    search = workshop.run(**fields)
    status = search.status()
    assert status.pruned > 0
    assert status.done + status.pruned == 8
    assert (status.failed, status.missing, status.cancelled) == (0, 0, 0)
    for result in search.results():
        assert (result.state is TrialState.PRUNED) == (result.options["x"] > 0)
        shown = result.metric if result.state is TrialState.DONE else result.reported
        assert shown == result.options["x"]
        assert (result.metric is None) == (result.state is TrialState.PRUNED)
        assert result.state is TrialState.DONE or str(result.reason).startswith("pruned at step ")
    assert status.best is not None
    assert status.best.state is TrialState.DONE
    workshop.run(**fields)
    (workshop.out / "journal.jsonl").unlink()
    again = workshop.run(**fields)
    assert (again.status().pruned, again.status().done) == (status.pruned, status.done)
    assert len(workshop.ran()) == 8
    states = Counter(trial.state.name for trial in study_of(workshop).trials)
    assert states == {"PRUNED": status.pruned, "COMPLETE": status.done}


def test_hostile_reports_harm_nothing(workshop: Any) -> None:
    workshop.body(
        "with open(os.path.join(out, 'reports.jsonl'), 'wb') as f:\n   "
        ' f.write(b\'\\xff{}\\n[]\\n{"step": 1, "value": "x"}\\n{"step": 2, "value":'
        ' NaN}\\n{"step": 3\')\ntime.sleep(0.3)'
    )
    search = workshop.run(**{**SETTINGS, "pruner": "median", "max_trials": 3})
    assert search.status().done == 3


DRIVER = """
import json, sys
from hypnet_hpsearch import Search
from hypnet_hpsearch import SearchSpec
Search(SearchSpec(**json.loads(sys.argv[1])), sys.argv[2]).run()
"""


def wait_until(happened: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def more_ran(workshop: Any, count: int) -> bool:
    return len(workshop.ran()) > count


def drive(workshop: Any, fields: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(workshop.fields(**fields)), str(workshop.out)]
    )


def test_killed_drivers_lose_no_trial_and_repeat_none(workshop: Any) -> None:
    workshop.body("time.sleep(0.15)")
    fields = {**SETTINGS, "max_trials": 20}
    for _ in range(4):
        before, driver = len(workshop.ran()), drive(workshop, fields)
        wait_until(partial(more_ran, workshop, before + 2))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert drive(workshop, fields).wait(60) == 0
    search = workshop.search(**fields)
    assert Counter(result.state for result in search.results()) == {TrialState.DONE: 20}
    assert len(workshop.ran()) == 20


def test_two_drivers_share_one_search(workshop: Any) -> None:
    workshop.body("time.sleep(0.1)")
    fields = {**SETTINGS, "max_trials": 20}
    drivers = [drive(workshop, fields) for _ in range(2)]
    assert [driver.wait(60) for driver in drivers] == [0, 0]
    assert workshop.search(**fields).status().done == 20
    assert len({ran["x"] for ran in workshop.ran()}) == len(workshop.ran()) == 20
    assert {record["driver"] for record in claims(workshop)} >= {claims(workshop)[0]["driver"]}


def claims(workshop: Any) -> list[dict[str, Any]]:
    events = [
        json.loads(line) for line in (workshop.out / "journal.jsonl").read_text().splitlines()
    ]
    return [event for event in events if event["event"] == "claim"]


def spec(**fields: Any) -> SearchSpec:
    least = {"name": "x", "command": ["sim", "{options}"], "metric": "m", **SETTINGS}
    return SearchSpec(**{**least, **fields})


def test_the_sampler_may_change_but_not_to_one_that_does_not_learn() -> None:
    assert (
        spec().fingerprint()
        == spec(sampler="cmaes").fingerprint()
        == spec(sampler={"name": "tpe", "seed": 3}).fingerprint()
    )
    assert spec().fingerprint() != spec(sampler="random").fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "tpee"}, "there is no sampler 'tpee'; did you mean"),
        ({"sampler": "TPESamplr"}, "did you mean 'TPESampler'"),
        (
            {"sampler": {"name": "tpe", "n_startup": 3}},
            "TPESampler has no option 'n_startup'; did you mean 'n_startup_trials'",
        ),
        ({"sampler": {"name": "QMCSampler", "qmc_type": "x"}}, "QMCSampler refuses its options"),
        ({"sampler": "PartialFixedSampler"}, "PartialFixedSampler needs the option 'fixed_params'"),
        ({"pruner": "medain"}, "there is no pruner 'medain'; did you mean"),
        (
            {"pruner": {"name": "median", "warmup": 1}},
            "MedianPruner has no option 'warmup'; did you mean",
        ),
        (
            {"pruner": {"name": "PercentilePruner"}},
            "PercentilePruner needs the option 'percentile'",
        ),
        ({"pruner": {"name": "threshold"}}, "ThresholdPruner refuses its options"),
        ({"pruner": {"warmup": 1}}, "'pruner' has no 'name'"),
        ({"max_trials": None}, "the sampler 'tpe' needs 'max_trials'"),
        ({"report": "loss"}, "'report' is for experiments"),
        ({"order": "shuffled"}, "the sampler determines the order of trials"),
        ({"conditions": [{"when": {"x": 1}, "then": {"x": 2}}]}, "'x' is a range of real numbers"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, RunError)) as caught:
        Search(spec(**change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sampler_that_cannot_cope_is_one_line(workshop: Any) -> None:
    conditions = [{"when": {"x": 1}, "then": {"y": [3, 4]}}]
    with pytest.raises(
        RunError,
        match=(
            r"^the sampler 'GridSampler' cannot propose a trial: The parameter name, y"
            r" \(condition 1\)"
        ),
    ):
        workshop.run(
            grid={"x": [1], "y": [1, 2]}, conditions=conditions, sampler="GridSampler", max_trials=3
        )
    assert workshop.ran() == []


def test_one_seed_is_an_option(workshop: Any) -> None:
    workshop.run(**{**SETTINGS, "seeds": [7], "max_trials": 2})
    assert {ran["seed"] for ran in workshop.ran()} == {"7"}


def test_without_optuna_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError('no')")
    (tmp_path / "s.yaml").write_text(
        json.dumps({"command": ["sim", "{options}"], "metric": "m", **SETTINGS, "ranges": RANGE}),
    )
    command = [sys.executable, "-P", "-m", "hypnet_core.cli.main", "search", "run", "s.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "pip install 'hypnet-hpsearch[optuna]'" in found.stderr


class Busy:
    """A scheduler without slots, which runs as many jobs at once as it is given."""

    poll_interval = 0.05

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.jobs: list[str] = []

    def submit(self, job: JobSpec) -> str:
        self.jobs.append(job.name)
        return job.name

    def poll(self, ids: Iterable[str]) -> dict[str, JobState]:
        return {
            job: JobState.RUNNING if self.jobs.index(job) < self.at_once else JobState.QUEUED
            for job in ids
        }

    def cancel(self, ids: Iterable[str]) -> None: ...


@pytest.mark.parametrize(("at_once", "proposed"), [(0, 4), (3, 7)])
def test_few_proposals_wait_in_a_queue(workshop: Any, at_once: int, proposed: int) -> None:
    search = workshop.search(ranges={"x": {"low": 0.0, "high": 1.0}}, sampler="tpe", max_trials=30)
    scheduler = Busy(at_once)
    store = Store.create(search.directory, search.spec, 30)
    driver = Driver(store, search.proposer, search.spec, scheduler=scheduler, observer=Watcher())
    driver._begin()
    for _ in range(12):
        driver._work()
    assert len(scheduler.jobs) == proposed


def counting(function: Callable[..., None], calls: list[int]) -> Callable[..., None]:
    """The function, which notes its calls."""

    def counted(*arguments: Any) -> None:
        calls.append(1)
        function(*arguments)

    return counted


def finished_store(path: Path, count: int) -> tuple[Search, Store]:
    """A search of which so many trials are done, according to its journal."""
    spec = SearchSpec(
        name="many",
        command=["true", "{options}"],
        ranges={"x": {"low": 0.0, "high": 1.0}},
        sampler="RandomSampler",
        max_trials=10 * count,
        metric="m",
        direction="minimize",
    )
    search = Search(spec, path)
    store = Store.create(path, spec, 10 * count)
    maker = TrialMaker(spec, ("x",))
    events: list[Event] = []
    for number in range(count):
        trial = maker.trial((repr(number / count),))
        attempt = store.attempt(trial.id, 1)
        result: Any = {"state": "done", "metric": number / 7}
        events += [claim_event(attempt, "x", trial.options), end_event(attempt, result)]
    with store.locked():
        store.write(events)
    return search, store


def test_a_proposal_costs_the_same_however_many_trials_have_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    follow = Study._follow
    monkeypatch.setattr(Study, "_follow", counting(follow, looked))
    for count in (10, 1000):
        search, store = finished_store(tmp_path / str(count), count)
        proposer = search.proposer
        assert isinstance(proposer, AdaptiveProposer)
        assert len(proposer.follow(store)) == count
        looked.clear()
        for number in range(20):
            trial = proposer.propose(store)
            assert trial is not None
            events, attempt = store.begin(trial, "x", partial(attempt_record, search.spec, {}))
            assert attempt is not None
            result: Any = {"state": "done", "metric": float(number)}
            with store.locked():
                store.write([*events, end_event(attempt, result)])
        assert len(looked) <= 20


def test_the_dashboards_file_never_holds_the_driver_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, store = finished_store(tmp_path / "s", 300)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    looked: list[int] = []
    follow = Study._follow
    monkeypatch.setattr(Study, "_follow", counting(follow, looked))
    file = StudyFile(store, search.spec)
    file.update()
    assert 0 < len(looked) <= 100
    file.write()
    file.close()
    assert (flushed, len(looked)) == ([], 300)
    journal = optuna.storages.journal
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(file.path)))
    study = optuna.load_study(study_name="many", storage=storage)
    assert [trial.value for trial in study.trials] == [number / 7 for number in range(300)]
