"""The main job: five tasks of real digits, defaults, several seeds.

    python benchmarks/split_digits.py [SEEDS]

Goals: mean final accuracy at least 98.5 %, mean forgetting of the earlier tasks at most
0.3 points, and a hypernetwork no larger than 1.2 times the weights that it generates.
Without the regulariser the forgetting is visible.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from hypnet_core.runs import Run, execute, load_config
from hypnet_zoo.experiments import HyperCL


def summary_of(seed: int, *overrides: str) -> dict[str, Any]:
    """Run the experiment with its defaults and some overrides."""
    config = load_config(HyperCL.Config, overrides=[f"seed={seed}", "log=[]", *overrides])
    with tempfile.TemporaryDirectory() as directory:
        return execute(
            HyperCL(), config, Run.create(directory, experiment="hypercl", config=config)
        )


def main(seeds: int) -> None:
    """Print a line per seed, and the means."""
    print(
        f"{'':<10}{'seed':>5}{'during':>9}{'final':>9}{'forgetting':>12}{'compression':>13}{'seconds':>9}"
    )
    for label, overrides in (("defaults", ()), ("cl.beta=0", ("cl.beta=0",))):
        found = []
        for seed in range(seeds):
            start = time.perf_counter()
            one = summary_of(seed, *overrides)
            found.append(one)
            print(
                f"{label:<10}{seed:>5}{one['accuracy_during']:>9.2f}{one['accuracy']:>9.2f}{one['forgetting']:>12.2f}"
                f"{one['compression']:>13.3f}{time.perf_counter() - start:>9.1f}",
                flush=True,
            )
        means = {
            key: sum(one[key] for one in found) / len(found)
            for key in ("accuracy_during", "accuracy", "forgetting")
        }
        print(
            f"{label:<10}{'mean':>5}{means['accuracy_during']:>9.2f}{means['accuracy']:>9.2f}{means['forgetting']:>12.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
