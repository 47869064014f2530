"""Wheels and fresh environments for tests of installed packages."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MYLAB = Path(__file__).parent / "third_party" / "mylab"

# A package of its own with tests of its own; test_third_party.py installs and runs it.
collect_ignore = ["third_party"]


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    """A command that must succeed; its output is shown if it does not."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, (
        f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    result: subprocess.CompletedProcess[str] = done
    return result


@dataclass(frozen=True)
class Environment:
    """A virtual environment with wheels of our packages and others, without sources."""

    path: Path

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that lead to no other Python package."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "HYPNET_", "VIRTUAL_ENV"))
        }
        return {**own, "PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(
        self, program: str, *arguments: str | Path, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        command = [str(part) for part in (self.path / "bin" / program, *arguments)]
        return subprocess.run(
            command, cwd=cwd, env=self.variables, capture_output=True, text=True, check=False
        )


def build_wheel(project: Path, directory: Path) -> Path:
    """Build the wheel of a project, with the installed build backend."""
    output = directory / project.name
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, project])
    return next(output.glob("*.whl"))


def make_environment(path: Path, wheels: Sequence[Path]) -> Environment:
    """A fresh environment with these wheels and links to the other installed packages.

    The packages of others are linked to, one by one, because copies of torch take
    minutes; an editable installation of ours is not linked to, so what is imported is
    what the wheels hold. pip checks that nothing is missing that the wheels declare.
    """
    venv.create(path, symlinks=True, with_pip=True)
    environment = Environment(path)
    python = path / "bin" / "python"
    # Some Pythons put an old setuptools beside pip, which would hide the one that torch
    # asks for.
    run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"],
        env=environment.variables,
    )
    packages = Path(
        run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip()
    )
    others = path / "others"
    others.mkdir()
    for directory in map(Path, site.getsitepackages()):
        for entry in directory.iterdir():
            ours = (
                entry.name.lower()
                .replace("-", "_")
                .lstrip("_")
                .startswith(("hypnet_", "editable___hypnet", "mylab"))
            )
            if (
                not ours
                and entry.suffix != ".pth"
                and entry.name != "__pycache__"
                and not (others / entry.name).exists()
            ):
                (others / entry.name).symlink_to(entry)
    (packages / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", *wheels],
        env=environment.variables,
    )
    return environment


@pytest.fixture(scope="session")
def core_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of hypnet-core."""
    return build_wheel(ROOT / "packages" / "hypnet-core", tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, core_wheel: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs programs of an environment with wheels of hypnet-core and of mylab alone."""
    directory = tmp_path_factory.mktemp("mylab")
    shutil.copytree(MYLAB, directory / "source")
    wheel = build_wheel(directory / "source", directory)
    return make_environment(directory / "env", [core_wheel, wheel]).run
