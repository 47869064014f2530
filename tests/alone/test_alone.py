"""Tests of a distribution that is installed beside hypnet-core alone.

They hold for all four together as well."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from hypnet_core.plugins import Entry, registry

NAMES = ["hypnet-core", "hypnet-data", "hypnet-zoo", "hypnet-hpsearch"]
ALONE = os.environ.get("HYPNET_ALONE")
INSTALLED = [name for name in NAMES if importlib.util.find_spec(name.replace("-", "_")) is not None]
ENTRIES = registry().entries()


def hypnet(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hypnet_core.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def modules() -> list[str]:
    found = []
    for name in INSTALLED:
        package = importlib.import_module(name.replace("-", "_"))
        found += [
            package.__name__,
            *(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")),
        ]
    return [name for name in found if not name.endswith("__main__")]


@pytest.mark.skipif(
    ALONE is None, reason="all distributions are installed; `nox -s alone` runs this with one"
)
def test_only_the_distribution_and_the_core_are_installed() -> None:
    assert set(INSTALLED) == {"hypnet-core", ALONE}


@pytest.mark.parametrize("name", modules())
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", INSTALLED)
def test_the_metadata_is_complete(name: str) -> None:
    metadata = importlib.metadata.metadata(name)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (
        importlib.metadata.version(name)
        == importlib.import_module(name.replace("-", "_")).__version__
    )


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.full_name)
def test_every_component_loads_and_tells_its_options(entry: Entry) -> None:
    entry.load()
    entry.options().model_json_schema()


def test_the_command_lists_what_is_installed(tmp_path: Path) -> None:
    done = hypnet("list", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {component["full_name"] for component in json.loads(done.stdout)["components"]} == {
        entry.full_name for entry in ENTRIES
    }


@pytest.mark.skipif(
    "hypnet-zoo" not in INSTALLED or "hypnet-data" in INSTALLED,
    reason="it is about hypnet-zoo without hypnet-data",
)
def test_a_missing_dataset_is_an_error_that_names_the_package(tmp_path: Path) -> None:
    done = hypnet("run", "hypercl", cwd=tmp_path)
    assert done.returncode == 2
    assert "split_digits" in done.stderr
    assert "hypnet-data" in done.stderr
    assert "Traceback" not in done.stderr
