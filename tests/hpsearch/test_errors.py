"""Where a trial's errors are: in the failure's line, in the table, and in `errors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOISY = """
print("\\n".join(f"line {number}" for number in range(30)), file=sys.stderr)
if options["x"] == "2": sys.exit("it broke")
"""


def command(workshop: Any, *arguments: str, code: int = 0) -> tuple[list[str], str]:
    done = workshop.command(*arguments)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_the_failure_and_the_table_name_the_file(workshop: Any) -> None:
    workshop.body(NOISY)
    file = workshop.file(grid={"x": [1, 2]})
    _, errors = command(workshop, "run", file, "--out", "out", code=1)
    [line] = [line for line in errors.splitlines() if "it broke" in line]
    path = line.rpartition("  ")[2]
    assert not Path(path).is_absolute()
    assert (workshop.path / path).read_text().splitlines()[-1] == "it broke"
    table = [line.split("\t") for line in command(workshop, "table", "out")[0]]
    assert table[0][-2:] == ["reason", "errors"]
    assert [row[-1] for row in table[1:]] == ["", path]
    document = json.loads("\n".join(command(workshop, "table", "out", "--json")[0]))
    named = [trial["errors"] for trial in document["trials"]]
    assert named == [None, str(workshop.path / path)]


def test_the_errors_of_trials_are_shown(workshop: Any) -> None:
    workshop.body(NOISY)
    search = workshop.run(grid={"x": [1, 2]})
    trials = {result.options["x"]: result for result in search.results()}
    lines, _ = command(workshop, "errors", "out")
    name = trials[2].trial
    assert lines[0] == (f"{name} failed: exit code 1: it broke  (out/trials/{name}/1/errors.txt)")
    assert lines[1:] == ["    …", *(f"    line {n}" for n in range(11, 30)), "    it broke"]
    assert len(command(workshop, "errors", "out", "-n", "0")[0]) == 1 + 31
    lines, _ = command(workshop, "errors", "out", trials[1].trial[:8], "-n", "1")
    assert lines[1:] == ["    …", "    line 29"]
    assert lines[0].startswith(f"{trials[1].trial} done  (out/")
    document = json.loads("\n".join(command(workshop, "errors", "out", "--json")[0]))
    assert document["schema"] == "hypnet.search.errors/1"
    [one] = document["trials"]
    assert (one["trial"], one["lines"][-1], one["more"]) == (name, "it broke", True)


def test_a_trial_without_any_error_output(workshop: Any) -> None:
    search = workshop.run(grid={"x": [1]}, metric="other")
    [result] = search.results()
    [line], _ = command(workshop, "errors", "out")
    assert line.startswith(f"{result.trial} failed: its summary.json has no metric 'other'; it has")
    assert line.endswith("  (no error output)")
    assert workshop.command("errors", "out", "zzz").stderr.startswith("hypnet: ")
