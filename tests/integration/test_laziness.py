"""With all packages installed, listings and help import neither torch nor numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from hypnet_core.cli import main

try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
names = "torch numpy matplotlib sklearn torchvision scipy pandas"
heavy = set(names.split()) & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "list",
        "list --json",
        "plugins",
        "list --help",
        "show --help",
        "plugins --help",
        "inspect --help",
        "check --help",
        "run --help",
        "search --help",
        "search run --help",
    ],
)
def test_the_command_imports_nothing_heavy(arguments: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HYPNET_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments.split()],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["hypnet_core", "hypnet_data", "hypnet_zoo", "hypnet_hpsearch"])
def test_a_package_and_its_plugin_import_nothing_heavy(package: str) -> None:
    plugin = "" if package == "hypnet_core" else f", {package}.plugin"
    code = (
        f"import sys, {package}{plugin}; sys.exit(str({{'torch', 'numpy'}} & set(sys.modules) or"
        " '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
