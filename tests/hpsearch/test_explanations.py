"""Importances, contours, learning curves, and the report in one file."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hypnet_hpsearch import SearchSpec, report, search
from hypnet_hpsearch.results.axes import Axis
from hypnet_hpsearch.results.explanations import contour_figure, curves_figure, curves_of
from hypnet_hpsearch.state.configurations import Configurations
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

pytest.importorskip("matplotlib", reason="pip install 'hypnet-hpsearch[plot]'")


def needs_optuna() -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")


def mostly_a(a: int, b: int, c: int, seed: int) -> float:
    for step in range(4):
        report(step, a / (step + 1) + seed)
    return (a - 3) ** 2 + 0.01 * b + seed / 1000


GRID = {"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3], "c": [0, 1]}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search over options of which one matters, with two seeds."""
    directory = tmp_path_factory.mktemp("explained") / "s"
    search(mostly_a, GRID, directory=directory, seeds=2, slots=2, progress=False)
    return directory


def command(in_process: Any, directory: Path, *arguments: str, code: int = 0) -> str:
    done = in_process("search", *arguments, cwd=directory.parent)
    assert done.returncode == code, done.stderr
    return str(done.stderr if code else done.stdout)


@pytest.mark.parametrize("method", ["ped_anova", "fanova"])
def test_the_option_that_matters_is_the_most_important(
    searched: Path, in_process: Any, method: str
) -> None:
    needs_optuna()
    if method == "fanova":
        pytest.importorskip("sklearn", reason="pip install scikit-learn")
    arguments = ["importances", "s", "--method", method]
    lines = [line.split("\t") for line in command(in_process, searched, *arguments).splitlines()]
    assert next(name for name, _ in lines) == "a"
    document = json.loads(command(in_process, searched, *arguments, "--json"))
    assert sum(document["importances"].values()) == pytest.approx(1.0)
    # The sum of squares over a is that of (a - 3)², that over b nearly nothing.
    assert document["importances"]["a"] > 0.7
    assert document["importances"]["c"] < 0.01


def test_too_few_results_and_wrong_methods_are_one_line(
    searched: Path, in_process: Any, tmp_path: Path
) -> None:
    needs_optuna()
    said = command(in_process, searched, "importances", "s", "--method", "shap", code=2)
    assert "--method shap: must be ped_anova or fanova" in said
    search(lambda x: x, {"x": [1]}, directory=tmp_path / "s", progress=False)
    said = command(in_process, tmp_path / "s", "importances", "s", code=1)
    assert "there are too few results, or no option has several values" in said


def test_all_plots_of_a_search(searched: Path, in_process: Any) -> None:
    needs_optuna()
    files = command(in_process, searched, "plot", "s", "--format", "svg").split()
    assert sorted(Path(file).stem for file in files) == [
        "best_so_far", "contour", "curves", "importances", "options", "parallel",
    ]  # fmt: skip
    text = (searched / "plots" / "contour.svg").read_text()
    assert "<!-- a -->" in text  # the most important option
    files = command(
        in_process, searched, "plot", "s", "--format", "svg", "--contour", "c,b"
    ).split()
    text = (searched / "plots" / "contour.svg").read_text()
    assert "<!-- c -->" in text
    assert "<!-- b -->" in text
    for contour, message in [
        ("a,z", "--contour: 'z' is no option with several values"),
        ("a", "give two options with a comma between them"),
        ("a,a", "give two options with a comma between them"),
    ]:
        assert message in command(in_process, searched, "plot", "s", "--contour", contour, code=2)


def test_curves_are_the_reports_with_a_band_over_seeds(searched: Path) -> None:
    store = Store.glimpsed(searched)
    ranked = Configurations.of(store.ledger, store.spec).ranked()
    curves = curves_of(store, store.spec, ranked)
    assert len(curves) == 36
    best = curves[0]
    assert best.label == "a=3, b=1, c=0" or best.label == "a=3, b=1, c=1"
    assert best.steps == [0, 1, 2, 3]
    assert best.lows == [3 / (step + 1) for step in range(4)]
    assert best.highs == [3 / (step + 1) + 1 for step in range(4)]
    assert best.means == pytest.approx([3 / (step + 1) + 0.5 for step in range(4)])
    panel = curves_figure(store.spec, curves).axes[0]
    assert len(panel.lines) == len(panel.collections) == 36


def spec_of(**fields: Any) -> SearchSpec:
    least: dict[str, Any] = {"name": "x", "command": ["x", "{options}"], "grid": {"x": [1]}}
    return SearchSpec(**{**least, "metric": "m", "direction": "minimize", **fields})


@pytest.mark.parametrize(
    ("x", "y", "contours"),
    [
        ([0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], True),
        ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], False),  # on a line
        ([0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0], False),  # two points
        ([1e-8, 1e-4, 1e-8, 1e-4], [1e5, 1e5, 1e9, 1e9], True),
    ],
)
def test_contours_need_points_that_span_an_area(
    x: list[float], y: list[float], contours: bool
) -> None:
    records = [TrialRecord(str(n), TrialState.DONE, metric=float(n)) for n in range(4)]
    figure = contour_figure(spec_of(), Axis("x", x), Axis("y", y), records)
    assert (len(figure.axes[0].collections) > 1) is contours


class Page(HTMLParser):
    """Checks that tags are closed, and collects what a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name in {"src", "href", "xlink:href"}:
                self.links.append(str(value))

    def handle_data(self, data: str) -> None:
        if self._tag == "h2" and data.strip():
            self.titles.append(data)


def test_the_report_is_one_file_with_everything_in_it(searched: Path, in_process: Any) -> None:
    needs_optuna()
    [file] = command(in_process, searched, "report", "s").split()
    text = (searched.parent / file).read_text()
    page = Page(text)
    assert page.titles == [
        "Progress", "Importance of options", "Each option", "Two options together",
        "All options together", "Intermediate results", "Results",
    ]  # fmt: skip
    assert len(page.ids) == len(set(page.ids))
    # Nothing is loaded from elsewhere, and each reference leads to its own figure.
    assert all(link.startswith(("#", "data:")) for link in page.links)
    used = {link[1:] for link in page.links if link.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(page.ids)
    for figure in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(figure)
    assert text.count("<tr><td>") >= 36
    assert "<script" not in text


def test_a_report_without_results_and_with_hostile_texts(tmp_path: Path, in_process: Any) -> None:
    def failing(x: str) -> float:
        raise ValueError("<b>&")

    search(failing, {"x": ["<script>alert(1)</script>"], "y<": "&"}, directory=tmp_path / "s",
           progress=False)  # fmt: skip
    command(in_process, tmp_path / "s", "report", "s", "--to", "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert Page(text).titles[-1] == "Results"
