"""Growth of a search's costs with the number of its finished trials.

Wanted: proposals and claims of a driver that do not depend on the number of finished
trials, up to what the sampler of Optuna itself needs; and `status`, `table` and
`export` in at most 4, 8 and 8 times the time of `hypnet --help`.

Measured for each size: a driver's start (reading the journal, building the study), one
proposal after that with a sampler that does not look at results (`RandomSampler`), the
same proposal by Optuna alone, the whole file `optuna.log`, and the longest time that
writing it holds the driver up; and the commands.

On two cores of a virtual machine, from 100 to 4,000 finished trials: a proposal of
`RandomSampler` 0.1 ms and 0.1 ms, of `TPESampler` 1.5 ms and 32 ms (Optuna alone: 1.3
ms and 33 ms); `optuna.log` 0.3 ms per trial, with pauses of 5 ms to 14 ms.

Run it with `python benchmarks/search_growth.py [--sizes N ...] [--sampler NAME]
[--commands-only]`.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypnet_hpsearch import Search
    from hypnet_hpsearch.state import Event, Store

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]
_PROPOSALS = 20


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def searched(directory: Path, size: int, sampler: str) -> tuple[Search, Store]:
    """A search with so many finished trials, as its journal and directories hold it."""
    from hypnet_hpsearch import Search, SearchSpec
    from hypnet_hpsearch.state import Store, claim_event, end_event, job_event

    fields: dict[str, Any] = {
        "name": "growth",
        "command": ["true", "{options}"],
        "ranges": {"lr": {"low": 1e-5, "high": 1.0, "log": True}, "x": {"low": 0.0, "high": 1.0}},
        "metric": "m",
        "direction": "minimize",
    }
    search = Search(SearchSpec(**fields, sampler=sampler, max_trials=10 * size), directory)
    store = Store.create(directory, search.spec, 10 * size)
    drawn = Search(SearchSpec(**fields, sampler="random", max_trials=size)).proposer
    events: list[Event] = []
    for trial in map(drawn.trial, drawn.order()):
        attempt = store.attempt(trial.id, 1)
        attempt.path.mkdir(parents=True)
        events.append(claim_event(attempt, "x", trial.options))
        events.append(job_event(attempt, "host:boot:1:0:1"))
        result: Any = {"state": "done", "metric": trial.options["x"], "started": 0.0, "ended": 1.0}
        events.append(end_event(attempt, result))
    with store.locked():
        store.write(events)
    return search, Store(directory)


def driver_costs(search: Search, store: Store) -> dict[str, float]:
    """Seconds that a driver needs at its start, and for a proposal."""
    import optuna

    from hypnet_hpsearch.propose import AdaptiveProposer, StudyFile

    proposer = search.proposer
    assert isinstance(proposer, AdaptiveProposer)

    def start_of_driver() -> None:
        store.refresh()
        proposer.follow(store)

    start = seconds(start_of_driver)
    ours = [seconds(lambda: proposer.propose(store)) for _ in range(_PROPOSALS)]
    alone = optuna.create_study(sampler=getattr(optuna.samplers, search.spec.sampler_name)())
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True),
        "x": optuna.distributions.FloatDistribution(0.0, 1.0),
    }
    for record in store.ledger.trials.values():
        alone.add_trial(
            optuna.trial.create_trial(
                params=record.options, distributions=distributions, value=record.metric
            )
        )

    def ask() -> None:
        trial = alone.ask()
        trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.suggest_float("x", 0.0, 1.0)

    theirs = [seconds(ask) for _ in range(_PROPOSALS)]
    file = StudyFile(store, search.spec)
    first = seconds(lambda: file.write(50))
    rest = seconds(file.write)
    file.close()
    return {
        "start": start,
        "proposal": statistics.median(ours),
        "Optuna alone": statistics.median(theirs),
        "optuna.log": first + rest,
        "longest pause": first,
    }


def command_costs(directory: Path) -> dict[str, float]:
    """Seconds of the commands, and their peak memory in MiB."""

    def command(*arguments: str) -> float:
        return statistics.median(
            seconds(
                lambda: subprocess.run([*HYPNET, *arguments], check=True, stdout=subprocess.DEVNULL)
            )
            for _ in range(3)
        )

    place = str(directory)
    found = {"help": command("--help")}
    for name in ("status", "table", "export"):
        found[name] = command("search", name, place)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {**found, "peak memory (MiB)": peak}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 4000])
    parser.add_argument("--sampler", default="RandomSampler", help="or TPESampler")
    parser.add_argument("--commands-only", action="store_true", help="Leave the driver out.")
    options = parser.parse_args()
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name) / "search"
            search, store = searched(directory, size, options.sampler)
            costs = {} if options.commands_only else driver_costs(search, store)
            costs |= command_costs(directory)
        shown = ", ".join(
            f"{key} {value:.0f}" if "MiB" in key else f"{key} {1000 * value:.1f} ms"
            for key, value in costs.items()
        )
        print(f"{size:,} finished trials: {shown}", flush=True)


if __name__ == "__main__":
    main()
