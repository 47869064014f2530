"""The overhead of a search over that of its trials.

`hypnet search run` of 100 trivial trials is compared with starting the same 100
processes.

A trivial trial is a small Python program that parses its options and writes its
summary. The bare cost is that of the same command lines, started one after the other,
or as many at once as the search has slots. Both are measured in turn; the ratio is that
of the medians. Wanted: below 1.3, and less than a second until the first trial starts.

On two cores of a virtual machine: 1.13 to 1.2 for one trial at a time, and about 1.5
for two (1.26 to 1.36 in memory, with TMPDIR=/dev/shm). There the trials keep both cores
busy, so that the search's own start (0.4 s) and the 7 to 11 ms of processor time that
each trial costs it have nowhere to hide: forking the process around the trial, seven
new files and directories, flushing its result to disk.

Also measured: opening, hashing and resuming a grid of a million cells (wanted: below 10
s and 1 GiB), and `hypnet search status` of 10,000 finished trials (wanted: below 2 s).

Run it with `python benchmarks/search_overhead.py [--rounds N] [--slots N ...]`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypnet_hpsearch import Search
    from hypnet_hpsearch.state import Event, ResultRecord, Store

TRIAL = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--steps", type=int)
parser.add_argument("--out", type=pathlib.Path)
options = parser.parse_args()
options.out.joinpath("summary.json").write_text(json.dumps({"score": options.lr * options.steps}))
"""

SEARCH = """
command = [{python}, "trial.py", "{{options}}", "--out={{out}}"]
metric = "score"
direction = "maximize"
[grid]
lr = {rates}
steps = {steps}
"""

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


def write_search(directory: Path, rates: int, steps: int) -> Path:
    """A search file with `rates` times `steps` trials."""
    directory.joinpath("trial.py").write_text(TRIAL)
    file = directory / "search.toml"
    numbers = [round(0.01 * number, 2) for number in range(1, rates + 1)]
    file.write_text(
        SEARCH.format(
            python=json.dumps(sys.executable), rates=numbers, steps=list(range(1, steps + 1))
        )
    )
    return file


def bare(directory: Path, slots: int, rates: int, steps: int) -> float:
    """Seconds to start the trials' processes, `slots` at a time, and wait for them."""
    out = directory / "bare"
    out.mkdir(exist_ok=True)
    commands = [
        [
            sys.executable,
            "trial.py",
            f"--lr={0.01 * (rate + 1)}",
            f"--steps={step + 1}",
            f"--out={out}",
        ]
        for rate in range(rates)
        for step in range(steps)
    ]
    started = time.perf_counter()
    running: dict[int, subprocess.Popen[bytes]] = {}
    for command in commands:
        if len(running) == slots:
            pid, _ = os.wait()
            running.pop(pid).returncode = 0
        process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL)
        running[process.pid] = process
    for process in running.values():
        process.wait()
    return time.perf_counter() - started


def searched(file: Path, slots: int) -> tuple[float, float]:
    """Seconds that the search takes, and seconds until its first trial starts."""
    out = (
        Path(tempfile.mkdtemp(dir=file.parent)) / "out"
    )  # a new one: ext4 is slow to make files where many were deleted just now
    began, started = time.time(), time.perf_counter()
    subprocess.run(
        [*HYPNET, "search", "run", str(file), "--out", str(out), "--slots", str(slots), "-q"],
        check=True,
        stdout=-3,
    )
    seconds = time.perf_counter() - started
    results = [json.loads(path.read_text()) for path in out.glob("trials/*/1/result.json")]
    assert len(results) == 100, len(results)
    return seconds, min(result["started"] for result in results) - began


def compare(directory: Path, slots: int, rounds: int) -> None:
    """Print the ratio for a number of slots."""
    file = write_search(directory, 10, 10)
    ours: list[float] = []
    theirs: list[float] = []
    first: list[float] = []
    for number in range(rounds):
        for side in ("bare", "search") if number % 2 else ("search", "bare"):
            if side == "bare":
                theirs.append(bare(directory, slots, 10, 10))
            else:
                seconds, until_first = searched(file, slots)
                ours.append(seconds)
                first.append(until_first)
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"100 trials, {slots} at once: bare {statistics.median(theirs):.2f} s, search"
        f" {statistics.median(ours):.2f} s, ratio {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f};"
        f" wanted below 1.3); first trial after {statistics.median(first):.2f} s (wanted below 1)"
    )


def in_child(work: Callable[[], Iterable[str]]) -> None:
    """Run in a forked process, so that the peak memory is that of the work alone."""
    pid = os.fork()
    if pid == 0:
        started = time.perf_counter()
        text = " ".join(work())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{text}: {time.perf_counter() - started:.2f} s, peak memory {peak:.0f} MiB", flush=True
        )
        os._exit(0)
    os.waitpid(pid, 0)


def million(directory: Path) -> Iterable[str]:
    """Open, hash and resume a grid of a million cells, of which 20,000 are done."""
    from hypnet_hpsearch import Search, SearchSpec
    from hypnet_hpsearch.state import Store

    grid = {name: list(range(10)) for name in "abcdef"}
    spec = SearchSpec(
        name="million", command=["true", "{options}"], metric="m", direction="minimize", grid=grid
    )
    search = Search(spec, directory)
    if not directory.exists():
        finish(Store.create(directory, spec, len(search.proposer)), search, 20_000)
    store = Store(directory)
    store.glimpse()
    todo = sum(trial not in store.ledger.trials for _, trial in search.proposer.ids())
    yield f"a grid of {len(search.proposer):,} cells opened, hashed and resumed ({todo:,} to run)"


def finish(store: Store, search: Search, count: int) -> None:
    """Write the journal of a search of which `count` trials are done."""
    from hypnet_hpsearch.state import claim_event, end_event, job_event

    events: list[Event] = []
    for number, trial in islice(search.proposer.ids(), count):
        attempt = store.attempt(trial, 1)
        events.append(claim_event(attempt, "x", search.proposer.trial(number).options))
        events.append(job_event(attempt, f"host:boot:{number}:0:1"))
        result: ResultRecord = {
            "trial": trial,
            "attempt": 1,
            "state": "done",
            "metric": number / 7,
            "reason": None,
        }
        events.append(end_event(attempt, result))
    with store.locked():
        store.write(events)


def status_of_many(directory: Path) -> None:
    """Time `hypnet search status` of 10,000 finished trials."""
    from hypnet_hpsearch import Search, SearchSpec
    from hypnet_hpsearch.state import Store

    grid = {name: list(range(10)) for name in "abcd"}
    spec = SearchSpec(
        name="many", command=["true", "{options}"], metric="m", direction="minimize", grid=grid
    )
    search = Search(spec, directory)
    store = Store.create(directory, spec, len(search.proposer))
    finish(store, search, 10_000)
    for trial in store.ledger.trials:
        store.attempt(trial, 1).path.mkdir(parents=True)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([*HYPNET, "search", "status", str(directory)], check=True, stdout=-3)
        seconds.append(time.perf_counter() - started)
    print(f"status of 10,000 finished trials: {statistics.median(seconds):.2f} s (wanted below 2)")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for slots in options.slots:
            compare(directory, slots, options.rounds)
        in_child(lambda: million(directory / "million"))
        in_child(lambda: million(directory / "million"))
        status_of_many(directory / "many")


if __name__ == "__main__":
    main()
