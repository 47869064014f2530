"""The documents say what is so."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]
GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "pretrained",
        "hypernetworks",
        "command",
        "recipes",
        "continual",
        "importance",
        "bayes",
    )
]
DOCUMENTS = [*READMES, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


# Those of hypnet-hpsearch need the files that they talk about:
# tests/hpsearch/test_readme.py.
@pytest.mark.parametrize(
    "path",
    [*(path for path in READMES if "hpsearch" not in str(path)), *GUIDES],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_python_examples_of_a_document_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in blocks(path, "python"):
        if block.startswith(">>>"):
            session = doctest.DocTestParser().get_doctest(block, namespace, path.name, str(path), 0)
            assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session).failed == 0
        else:
            exec(compile(block, str(path), "exec"), namespace)


def test_the_second_command_of_the_readme_is_what_ci_runs() -> None:
    second = blocks(ROOT / "README.md", "sh")[1].strip()
    assert second in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_first_command_of_the_readme_installs_every_package() -> None:
    first = blocks(ROOT / "README.md", "sh")[0]
    for package in ROOT.glob("packages/*/pyproject.toml"):
        assert f"./packages/{package.parent.name} " in first


def test_every_place_in_the_table_of_contributing_exists() -> None:
    rows = [
        line
        for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines()
        if line.startswith("| ") and "`" in line
    ]
    assert len(rows) > 8
    for row in rows:
        places = re.findall(r"`([\w.-]+/[\w./-]*)`", row)
        for place in places:
            base = next((p for p in places if p.startswith("packages/")), "")
            assert (ROOT / place).exists() or (ROOT / base / place).exists(), (
                f"{place} does not exist"
            )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_all_packages_have_one_version_and_the_licence() -> None:
    projects = {
        path.parent.name: tomllib.loads(path.read_text())["project"]
        for path in ROOT.glob("packages/*/pyproject.toml")
    }
    assert len(projects) == 4
    assert len({project["version"] for project in projects.values()}) == 1
    for name, project in projects.items():
        assert project["license"] == "Apache-2.0"
        assert (ROOT / "packages" / name / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
        assert (ROOT / "packages" / name / "src" / name.replace("-", "_") / "py.typed").exists()


def test_every_session_of_nox_says_what_it_is_for() -> None:
    text = (ROOT / "noxfile.py").read_text()
    for match in re.finditer(
        r"@nox\.session.*?\ndef (\w+)\(.*?\) -> None:\n    (\S+)", text, re.DOTALL
    ):
        assert match[2].startswith('"""'), f"session {match[1]} has no docstring"
