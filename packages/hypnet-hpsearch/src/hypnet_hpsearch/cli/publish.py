"""`hypnet search export`, `plot`, `importances` and `report`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import Json, print_json, print_lines
from hypnet_core.errors import UsageError
from hypnet_hpsearch.cli.options import Directory
from hypnet_hpsearch.cli.output import opened, print_pairs

if TYPE_CHECKING:
    from hypnet_hpsearch.spec.spec import SearchSpec
    from hypnet_hpsearch.state.store import Store

__all__ = ["export", "importances", "plot", "report"]

_logger = logging.getLogger("hypnet.search")


def export(
    directory: Directory,
    *,
    trial: Annotated[
        str | None,
        typer.Option(
            help="Export the configuration of this trial, by its id, or of the 'best' one.",
            metavar="TRIAL",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="File to write; stdout by default.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export the results as CSV or JSON, or the configuration of one trial as YAML.

    The configuration of an experiment is resolved, and can be passed to `hypnet run
    EXPERIMENT --config FILE`.
    """
    store, spec = opened(directory)
    kind = _kind(to, of_trial=trial is not None, as_json=as_json)
    text = _exported(store, spec, trial, kind)
    if to is None:
        typer.echo(text, nl=False)
        return
    from hypnet_core.runs import write_atomic

    write_atomic(to, text)
    if trial and spec.experiment:
        _logger.info("to run it: hypnet run %s --config %s", spec.experiment, to)
    print_lines([str(to)])


def _kind(to: Path | None, *, of_trial: bool, as_json: bool) -> str:
    """The format of an export: the file's ending decides, unless `--json` does."""
    if as_json:
        kind = "json"
    elif to is not None:
        kind = to.suffix.removeprefix(".")
    else:
        kind = "yaml" if of_trial else "csv"
    kinds = ("yaml", "yml", "json") if of_trial else ("csv", "json")
    if kind not in kinds:
        raise UsageError(f"--to {to}: the file's name must end with .{' or .'.join(kinds)}")
    return kind


def _exported(store: Store, spec: SearchSpec, trial: str | None, kind: str) -> str:
    from hypnet_hpsearch.results.export import configuration
    from hypnet_hpsearch.results.table import csv_of

    if trial:
        return configuration(store, spec, trial, kind)
    if kind == "csv":
        return csv_of(store, spec)
    from hypnet_hpsearch.cli.schemas import TableDocument

    document = TableDocument.of(store, spec)
    return document.model_dump_json(indent=2, by_alias=True) + "\n"


def plot(
    directory: Directory,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for the files; DIR/plots by default.", metavar="DIR"),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--format", help="png or svg; both by default.", metavar="FORMAT"),
    ] = None,
    contour: Annotated[
        str | None,
        typer.Option(
            help="Two options for the contours; the most important ones by default.",
            metavar="OPTION,OPTION",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Plot a search, as far as there is something to see.

    Drawn are the metric against each option, parallel coordinates, contours of two
    options, the importance of options, the progress, learning curves, and the Pareto
    front.
    """
    for one in kind or ():
        if one not in {"png", "svg"}:
            raise UsageError(f"--format {one}: must be png or svg")
    pair = [] if contour is None else contour.split(",")
    if contour is not None and len(set(pair)) != 2:
        raise UsageError(f"--contour {contour}: give two options with a comma between them")
    store, spec = opened(directory)
    from hypnet_hpsearch.results.plots import save_plots

    files = save_plots(
        store,
        spec,
        directory / "plots" if out is None else out,
        tuple(dict.fromkeys(kind or ("png", "svg"))),
        pair,
    )
    if as_json:
        from hypnet_hpsearch.cli.schemas import PlotDocument

        print_json(PlotDocument(files=[str(file) for file in files]))
        return
    print_lines(map(str, files))


def importances(
    directory: Directory,
    *,
    method: Annotated[
        str,
        typer.Option(
            help="ped_anova, which looks at the best tenth of the trials, or fanova.",
            metavar="METHOD",
        ),
    ] = "ped_anova",
    as_json: Json = False,
) -> None:
    """Show how much each option matters for the metric; needs Optuna."""
    store, spec = opened(directory)
    from hypnet_hpsearch.results.importances import METHODS, importances_of

    if method not in METHODS:
        raise UsageError(f"--method {method}: must be {' or '.join(METHODS)}")
    found = importances_of(store, spec, method)
    if as_json:
        from hypnet_hpsearch.cli.schemas import ImportancesDocument

        print_json(ImportancesDocument(metric=spec.metric, method=method, importances=found))
        return
    print_pairs([(name, f"{value:.3f}") for name, value in found.items()])


def report(
    directory: Directory,
    *,
    to: Annotated[
        Path | None, typer.Option(help="File to write; DIR/report.html by default.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report as one HTML file, which any browser shows without a server."""
    store, spec = opened(directory)
    from hypnet_core.runs import write_atomic
    from hypnet_hpsearch._report import report_of

    path = directory / "report.html" if to is None else to
    write_atomic(path, report_of(store, spec))
    if as_json:
        from hypnet_hpsearch.cli.schemas import ReportDocument

        print_json(ReportDocument(file=str(path)))
        return
    print_lines([str(path)])
