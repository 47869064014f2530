"""Start-up time of the command against `import torch`.

Interleaved, each in a fresh process; ratio of medians.

The target is at most a third. Run with `python benchmarks/startup.py [ROUNDS]`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REFERENCE = "import torch"
COMMANDS = {
    REFERENCE: [sys.executable, "-c", "import torch"],
    "hypnet list": [sys.executable, "-m", "hypnet_core.cli.main", "list"],
    "hypnet --help": [sys.executable, "-m", "hypnet_core.cli.main", "--help"],
    "hypnet plugins": [sys.executable, "-m", "hypnet_core.cli.main", "plugins"],
    "hypnet run --help": [sys.executable, "-m", "hypnet_core.cli.main", "run", "--help"],
}
TARGET = 1 / 3


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    """Measure and print; the exit code is 1 if a target is missed."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():  # one round to warm the file cache
        seconds(command)
    for number in range(rounds):
        names = list(COMMANDS) if number % 2 == 0 else list(reversed(COMMANDS))
        for name in names:
            times[name].append(seconds(COMMANDS[name]))
    reference = statistics.median(times[REFERENCE])
    print(
        f"{'command':<20} {'median':>8} {'fastest':>8} {'slowest':>8} {'ratio':>7}   target"
        f" {TARGET:.2f}"
    )
    missed = False
    for name, taken in times.items():
        ratio = statistics.median(taken) / reference
        missed = missed or (name != REFERENCE and ratio > TARGET)
        print(
            f"{name:<20} {statistics.median(taken):>7.3f}s {min(taken):>7.3f}s {max(taken):>7.3f}s"
            f" {ratio:>7.2f}"
        )
    sys.exit(missed)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
