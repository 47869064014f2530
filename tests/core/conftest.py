"""Plugins of strangers, installed for one test, and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hypnet_core.plugins.registry import Registry, registry

Install = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of installed distributions, for one test."""
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


@pytest.fixture
def install(site: Path) -> Install:
    """Installs a distribution with one entry point, as pip would."""

    def write(
        plugin: str, code: str, *, distribution: str = "", module: str = "", entry_points: str = ""
    ) -> Path:
        module = module or f"stranger_{plugin}"
        distribution = distribution or f"dist-{plugin}"
        (site / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
        )
        text = entry_points or f"[hypnet]\n{plugin} = {module}\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        return info

    return write


@pytest.fixture
def hypnet(site: Path, tmp_path: Path, in_process: Command) -> Command:
    """Runs the command inside this process, with the plugins that the test installed.

    `plugins=None` loads all plugins, others are named by it.
    """

    def run(
        *arguments: str | Path,
        plugins: str | None = "",
        cwd: Path | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        env = _variables(site, plugins) | variables
        return in_process(*arguments, cwd=cwd or tmp_path, path=[site], **env)

    return run


@pytest.fixture
def hypnet_process(site: Path, tmp_path: Path) -> Command:
    """Runs the command in a process of its own, otherwise like `hypnet`."""

    def run(
        *arguments: str | Path,
        plugins: str | None = "",
        cwd: Path | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HYPNET_")}
        env |= {"PYTHONPATH": str(site), **_variables(site, plugins), **variables}
        script = Path(sys.executable).with_name("hypnet")
        return subprocess.run(
            [str(part) for part in (script, *arguments)],
            env=env,
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def _variables(site: Path, plugins: str | None) -> dict[str, str]:
    chosen = (
        {} if plugins is None else {"HYPNET_PLUGINS": plugins or ",".join(_names_of_plugins(site))}
    )
    # A cache of its own: other tests have components of the same names.
    cache = str(site.with_name("cache"))
    return {"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", "XDG_CACHE_HOME": cache, **chosen}


def _names_of_plugins(site: Path) -> list[str]:
    """The names of the entry points in a directory of distributions."""
    lines = [
        line
        for path in site.glob("*.dist-info/entry_points.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [line.partition("=")[0].strip() for line in lines if "=" in line]


@pytest.fixture
def register(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Registry]]:
    """Installs plugins for this process; the value is a registry of them alone."""
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def add(**plugins: str) -> Registry:
        for name, code in plugins.items():
            install(name, code)
            modules.append(f"stranger_{name}")
        monkeypatch.setenv("HYPNET_PLUGINS", ",".join(_names_of_plugins(site)))
        registry.cache_clear()
        return registry()

    yield add
    registry.cache_clear()
    for name in modules:
        sys.modules.pop(name, None)
