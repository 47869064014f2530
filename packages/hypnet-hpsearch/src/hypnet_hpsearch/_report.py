"""The report of a search: one HTML file with its status, figures and best trials."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hypnet_core.errors import RunError
from hypnet_hpsearch._tables import status_rows, table_of
from hypnet_hpsearch.execution.display import shown
from hypnet_hpsearch.results.plots import check_installed, figures_for
from hypnet_hpsearch.results.table import results_of, status_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_of"]

_MOST_ROWS = 500

_TITLES = {
    "best_so_far": "Progress",
    "front": "Pareto front",
    "importances": "Importance of options",
    "options": "Each option",
    "contour": "Two options together",
    "parallel": "All options together",
    "curves": "Intermediate results",
}

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em }
table { border-collapse: collapse; font-size: 13px } h2 { margin-top: 1.6em }
th, td { border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: left }
td { font-variant-numeric: tabular-nums; vertical-align: top } th { background: #f5f5f5 }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto }
"""


def report_of(store: Store, spec: SearchSpec) -> str:
    """The report of a search as HTML, with everything in it.

    Args:
        store: The search's directory.
        spec: The search.

    Raises:
        RunError: matplotlib is not installed.
    """
    check_installed()
    results = results_of(store, spec)
    columns, rows = table_of(spec, results[:_MOST_ROWS])
    left = len(results) - len(rows)
    fixed = [(key, shown(value)) for key, value in spec.base.items()]
    title = html.escape(spec.name)
    parts = [
        f"<h1>{title}</h1>",
        _table(("", ""), status_rows(status_of(store, spec))),
        *(["<h2>Options of all trials</h2>", _table(("", ""), fixed)] if fixed else []),
        *_figures(store, spec),
        f"<h2>Results{f' (without the last {left})' if left else ''}</h2>",
        _table(columns, rows),
    ]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(one)}</th>" for one in columns) if any(columns) else ""
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _figures(store: Store, spec: SearchSpec) -> Iterable[str]:
    try:
        figures = figures_for(store, spec)
    except RunError:  # there are no results yet
        return
    # Ignore warnings about missing glyphs, and about numbers close to overflow.
    with warnings.catch_warnings(action="ignore"):
        for number, name in enumerate(name for name in _TITLES if name in figures):
            yield f"<h2>{_TITLES[name]}</h2>\n{_svg(figures[name](), f'f{number}-')}"


def _svg(figure: Figure, prefix: str) -> str:
    """A figure as part of a page, in which no other one may have its ids."""
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", text)
