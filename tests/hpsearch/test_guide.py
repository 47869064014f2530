"""The files of docs/search.md are written and its commands run, in their order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hypnet_hpsearch import load_spec
from hypnet_hpsearch.cli import schemas as documents

GUIDE = Path(__file__).parents[2] / "docs" / "search.md"


def test_the_guide_is_true(tmp_path: Path) -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")
    pytest.importorskip("matplotlib", reason="pip install 'hypnet-hpsearch[plot]'")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    ran = 0
    for language, block in re.findall(
        r"```(\w+)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    ):
        if language in {"python", "toml"}:
            tmp_path.joinpath(block.splitlines()[0].removeprefix("# ")).write_text(block)
            continue
        for line in block.splitlines():
            command = shlex.split(line.removeprefix("$ "))
            found = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert found.returncode == 0, f"{line}\n{found.stderr}"
            ran += 1
    assert ran >= 10
    script = [sys.executable, "script.py"]
    shown = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert shown == "4\nTrue\n"
    assert {path.name for path in tmp_path.iterdir()} >= {
        "results.csv",
        "best.yaml",
        "seeds",
        "tpe",
    }
    assert (tmp_path / "tpe" / "optuna.log").exists()
    for file in tmp_path.glob("*.toml"):
        assert load_spec(file).metric == "loss"


def test_every_document_is_in_the_table() -> None:
    named = set(re.findall(r"`(hypnet\.search\.\w+/1)`", GUIDE.read_text(encoding="utf-8")))
    models = [getattr(documents, name) for name in documents.__all__]
    assert named == {
        model.model_fields["schema_"].default for model in models if "schema_" in model.model_fields
    }
