"""Runs recipes with their seeds, and writes what they measured into docs/recipes.md.

    python benchmarks/recipes.py [NAME ...]   # all by default, which takes weeks
    python benchmarks/recipes.py --render     # the page alone, from docs/recipes.json
    python benchmarks/recipes.py --compare    # exit 1 if the page is out of date

Runs stay in build/recipes: those that have finished are not repeated. The measurements
stand in docs/recipes.json, from which the page is made.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hypnet_core.plugins import Recipe, registry
from hypnet_core.recipes import Figure, interval, measured_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"
RUNS = ROOT / "build" / "recipes"
MEASURED = ROOT / "docs" / "recipes.json"
MARK = "<!-- Made by benchmarks/recipes.py from here on. -->\n"
COLUMNS = ("figure", "expected", "measured", "seeds", "verdict", "source")


def check(name: str) -> dict[str, Any] | None:
    """Run a recipe with its seeds; `None` if it cannot be run here."""
    command = [sys.executable, "-m", "hypnet_core.cli.main", "check", name, "--kind", "recipe"]
    command += ["--seeds", "own", "--json", "--out", str(RUNS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:  # the reason stands on stderr
        return None
    document = json.loads(done.stdout)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("hypnet-core", "torch")},
        "seeds": document["seeds"],
        "figures": document["figures"],
    }
    methods = by_method(
        [
            json.loads((RUNS / name / f"seed-{seed}" / "summary.json").read_text(encoding="utf-8"))
            for seed in document["seeds"]
        ]
    )
    return {**found, "methods": methods} if methods else found


def by_method(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """The numbers of each seed by method and measure, for runs of `compare`."""
    metric = str(summaries[0].get("metric"))
    if not isinstance(summaries[0].get(metric), dict):
        return {}
    measures = (metric, f"{metric}_during", "forgetting", "inferred")
    return {
        method: {
            measure: [summary[measure][method] for summary in summaries]
            for measure in measures
            if summaries[0][measure][method] is not None
        }
        for method in summaries[0][metric]
    }


def page(measured: dict[str, Any]) -> str:
    """The page: its own words, then the tables."""
    words = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    entries = registry().entries("recipe")
    parts = [
        line
        for entry in entries
        for line in section(
            registry().shortest_name(entry), entry.build(), measured.get(entry.name)
        )
    ]
    return "\n".join([words + MARK, *parts])


def section(name: str, recipe: Recipe, measured: dict[str, Any] | None) -> Iterator[str]:
    """The lines about one recipe."""
    yield from (f"### `{name}`", "", f"{recipe.summary} {recipe.source}", "")
    if recipe.counts is not None:
        numbers = (f"{key} {number:,}" for key, number in recipe.counts.expected.items())
        yield from (f"Exact counts: {', '.join(numbers)}.", "")
    if measured is not None:
        versions = ", ".join(f"{key} {number}" for key, number in measured["versions"].items())
        yield from (f"Measured on {measured['date']} with {versions}.", "")
    if recipe.expected:
        yield row(COLUMNS)
        yield row(["---"] * len(COLUMNS))
        known = [Figure.model_validate(found) for found in (measured or {}).get("figures", [])]
        for expected in recipe.expected:
            names = (expected.label, expected.range)
            found = next((one for one in known if (one.figure, one.expected) == names), None)
            yield row(
                [
                    *names,
                    "not run yet" if found is None else measured_text(found),
                    "" if found is None else str(len(found.values)),
                    "" if found is None else found.verdict,
                    expected.source,
                ]
            )
        yield ""
    yield from methods_table((measured or {}).get("methods", {}))


def methods_table(methods: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    """One row for each method: means with half the width of their intervals."""
    if not methods:
        return
    columns = list(dict.fromkeys(measure for one in methods.values() for measure in one))
    yield row(["method", *(column.replace("_", " ") for column in columns)])
    yield row(["---"] * (len(columns) + 1))
    for method, one in methods.items():
        cells = [spread(one[column]) if column in one else "" for column in columns]
        yield row([f"`{method}`", *cells])
    yield ""


def spread(numbers: Sequence[float]) -> str:
    """A mean with half the width of its confidence interval."""
    ends = interval(numbers)
    mean = statistics.fmean(numbers)
    return f"{mean:.2f}" if ends is None else f"{mean:.2f} ± {(ends[1] - ends[0]) / 2:.2f}"


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(arguments: Sequence[str]) -> None:
    """Run, and write the page; the exit code is 1 if a recipe could not be run."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    if arguments == ["--compare"]:
        sys.exit(page(measured) != PAGE.read_text(encoding="utf-8"))
    names = [entry.name for entry in registry().entries("recipe")]
    chosen = [] if arguments == ["--render"] else arguments or names
    failed = []
    for name in chosen:
        found = check(name)
        if found is None:
            failed.append(name)
            continue
        measured[name] = found
        # After each one: the next may take days.
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(measured), encoding="utf-8")
    PAGE.write_text(page(measured), encoding="utf-8")
    sys.exit(f"could not be run: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
