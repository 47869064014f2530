"""Runs recipes with their seeds, and writes what they measured into docs/recipes.md.

    python benchmarks/recipes.py [NAME ...]   # all by default, which takes weeks
    python benchmarks/recipes.py --render     # the page alone, from docs/recipes.json
    python benchmarks/recipes.py --compare    # exit 1 if the page is out of date

Runs stay in build/recipes: those that have finished are not repeated. The measurements
stand in docs/recipes.json, from which the page is made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hypnet_core.plugins import Recipe, registry
from hypnet_core.recipes import Figure, measured_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"
MEASURED = ROOT / "docs" / "recipes.json"
MARK = "<!-- Made by benchmarks/recipes.py from here on. -->\n"
COLUMNS = ("figure", "expected", "measured", "seeds", "verdict", "source")


def check(name: str) -> dict[str, Any] | None:
    """Run a recipe with its seeds; `None` if it cannot be run here."""
    command = [sys.executable, "-m", "hypnet_core.cli.main", "check", name, "--kind", "recipe"]
    command += ["--seeds", "own", "--json", "--out", str(ROOT / "build" / "recipes")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:  # the reason stands on stderr
        return None
    document = json.loads(done.stdout)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("hypnet-core", "torch")},
        "seeds": document["seeds"],
        "figures": document["figures"],
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
