"""Public names: what users import, from where, and that it changes deliberately.

`python tests/house/test_public_names.py` prints the names as they are now; a change of
`public_names.txt` belongs into the change log.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_name("public_names.txt")
PACKAGES = {path.name: path for path in sorted(ROOT.glob("packages/*/src/*")) if path.is_dir()}
FLAT = ("errors", "import_strings", "jobs", "protocols", "specs")
"""Modules of the core that are public as files: data and protocols for everybody."""


def public_rooms() -> list[str]:
    """Packages and rooms with public names, and the flat modules of the core."""
    rooms = [
        ".".join(stub.parent.relative_to(source.parent).parts)
        for source in PACKAGES.values()
        for stub in source.rglob("__init__.pyi")
    ]
    flat = [f"hypnet_core.{name}" for name in FLAT]
    return sorted([*rooms, *flat])


def names_of(room: str) -> list[str]:
    module = importlib.import_module(room)
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == room
    )


def public_names() -> list[str]:
    return [f"{room}.{name}" for room in public_rooms() for name in names_of(room)]


def imports(code: str) -> Iterator[tuple[str, str]]:
    """Imports in some code: module and name, which is empty for `import x`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def code_in(path: Path) -> Iterator[str]:
    """The code of a Python file, or of the Python blocks of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text
        return
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if ">>>" in block:
            yield "".join(example.source for example in doctest.DocTestParser().get_examples(block))
        else:
            yield block


def readers() -> list[Path]:
    """Files that users copy from: documents, benchmarks, the third-party example."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("packages/*/README.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("benchmarks/*.py")),
        *sorted(ROOT.glob("tests/integration/third_party/**/*.py")),
    ]


def is_public(module: str, name: str) -> bool:
    rooms = public_rooms()
    if not name or f"{module}.{name}" in rooms:
        return module in rooms or f"{module}.{name}" in rooms
    return module in rooms and (name in names_of(module) or name == "__version__")


def foreign(path: Path) -> Iterator[tuple[str, str]]:
    """Imports of our packages from outside of them."""
    own = path.relative_to(ROOT).parts
    package = own[3] if own[0] == "packages" and len(own) > 4 else ""
    for code in code_in(path):
        for module, name in imports(code):
            top = module.partition(".")[0]
            if top in PACKAGES and top != package:
                yield module, name


@pytest.mark.parametrize("path", readers(), ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_and_examples_import_public_names_alone(path: Path) -> None:
    private = [f"{module}: {name}" for module, name in foreign(path) if not is_public(module, name)]
    assert not private


@pytest.mark.parametrize("package", PACKAGES)
def test_our_packages_use_each_other_by_public_names(package: str) -> None:
    private = [
        f"{path.relative_to(PACKAGES[package])}: {module}.{name}"
        for path in PACKAGES[package].rglob("*.py")
        for module, name in foreign(path)
        if not is_public(module, name)
    ]
    assert not private


@pytest.mark.parametrize("package", PACKAGES)
def test_plugin_tables_refer_to_public_names(package: str) -> None:
    path = PACKAGES[package] / "plugin.py"
    if not path.exists():
        pytest.skip("this package registers no components")
    targets = re.findall(rf'"({package}[\w.]*):(\w+)"', path.read_text(encoding="utf-8"))
    assert targets
    assert not [f"{room}:{name}" for room, name in targets if not is_public(room, name)]


def test_every_public_name_can_be_imported() -> None:
    for full in public_names():
        module, _, name = full.rpartition(".")
        assert getattr(importlib.import_module(module), name) is not None, full


def test_the_public_names_are_those_on_the_list() -> None:
    stored, now = set(STORED.read_text(encoding="utf-8").split()), set(public_names())
    assert now == stored, (
        f"new: {sorted(now - stored)}; gone: {sorted(stored - now)}. If that is intended, run"
        " python tests/house/test_public_names.py > tests/house/public_names.txt and say so in"
        " CHANGELOG.md"
    )


if __name__ == "__main__":
    print("\n".join(public_names()))  # noqa: T201  the list is this script's output
