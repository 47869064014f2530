"""The command `hypnet data`.

Heavy modules are imported when a command runs, so that its help is fast.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypnet_core.cli import Json, complete_name, is_terminal, print_json, print_lines, print_table
from hypnet_core.errors import UsageError
from hypnet_core.plugins import DatasetChoice, Kind
from hypnet_core.runs import load_config, parse_overrides

if TYPE_CHECKING:
    from hypnet_data.cli.description import DatasetDocument

_logger = logging.getLogger("hypnet.data")

Name = Annotated[
    str, typer.Argument(help="The dataset.", autocompletion=complete_name(Kind.DATASET))
]
Options = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value]...", help="Options of the dataset.")
]

data = typer.Typer(name="data", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Prepare, describe and draw datasets."""


@data.command()
def prepare(name: Name, options: Options = None, *, as_json: Json = False) -> None:
    """Download missing files, check all files, and read them once.

    Every file is compared with its published checksum. The last line of the output is
    the folder of the files, if there is one.
    """
    from hypnet_data._io.files import preparation
    from hypnet_data.cli.description import describe_preparation

    choice = _choice(name, options)
    with preparation(thorough=True) as prepared:
        choice.build()
    document = describe_preparation(choice.entry.full_name, prepared.used)
    _logger.info("%s is ready", name)
    if as_json:
        print_json(document)
        return
    print_lines([] if document.folder is None else [str(document.folder)])


@data.command()
def info(name: Name, options: Options = None, *, as_json: Json = False) -> None:
    """Show a dataset's shapes, sizes, classes, memory and files.

    Nothing is downloaded unless `download=true` is given, neither for the dataset nor
    for those that it is made from.
    """
    from hypnet_data._io.files import preparation
    from hypnet_data.cli.description import describe

    choice = _choice(name, options, local=True)
    with preparation() as prepared:
        built = choice.build()
    document = describe(choice.entry.full_name, built, prepared.used)
    if as_json:
        print_json(document)
        return
    _print(document)


@data.command()
def plot(
    name: Name,
    options: Options = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="The figure: .png, .pdf or .svg; NAME.png by default.", metavar="FILE"),
    ] = None,
    split: Annotated[str, typer.Option(help="The split: train, val or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="Number of samples of each task.")] = 32,
    publication_style: Annotated[
        bool,
        typer.Option(
            "--publication-style", help="For print: large letters, thick lines, no titles."
        ),
    ] = False,
) -> None:
    """Draw samples of a dataset, and print the name of the figure's file."""
    from hypnet_data.plots.datasets import plot_any

    path = Path(f"{name.rpartition(':')[2]}.png") if out is None else out
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file with the suffix .png, .pdf or .svg")
    built = _choice(name, options, local=True).build()
    plot_any(built, split=split, count=count, publication_style=publication_style, path=path)
    print_lines([str(path)])


def _choice(name: str, options: list[str] | None, *, local: bool = False) -> DatasetChoice:
    """The dataset with the user's options.

    Args:
        name: The dataset.
        options: Items `key=value`; keys may have the prefix `data.`, as for `hypnet
            run`.
        local: Whether downloads are off by default, for it and for every dataset that
            it is made from.
    """
    # `split` and `permuted` have an option `data`: only `data.data` is a prefix there.
    wraps = "data" in DatasetChoice.model_construct(name=name).entry.options().model_fields
    # A dataset that wraps another one keeps the first `data.` as its option.
    prefix = "data.data" if wraps else "data."
    given = [
        option.removeprefix("data.") if option.startswith(prefix) else option
        for option in options or []
    ]
    choice = load_config(DatasetChoice, overrides=[f"name={name}", *given])
    return _local(choice, parse_overrides(given)) if local else choice


def _local(value: Any, given: Any) -> Any:
    """Set `download=false` in a choice and in nested ones, unless it was given."""
    if isinstance(value, (list, tuple)):
        pairs = (
            zip(value, given, strict=True)
            if isinstance(given, (list, tuple))
            else ((one, None) for one in value)
        )
        # Lists and tuples stay what they are, or validation would differ.
        return type(value)(_local(*pair) for pair in pairs)
    if not isinstance(value, (dict, DatasetChoice)):
        return value
    known = given if isinstance(given, Mapping) else {}
    inner = value if isinstance(value, dict) else value.options
    changed = {key: _local(one, known.get(key)) for key, one in inner.items()}
    if isinstance(value, dict):
        return changed
    # An explicit download=true wins, also for a nested dataset.
    if "download" in changed and "download" not in known:
        changed["download"] = False
    return DatasetChoice(name=value.name, **changed)


def _print(document: DatasetDocument) -> None:
    rows: list[tuple[str, ...]] = [
        (
            task.name,
            task.kind,
            _by(task.in_shape),
            _by(task.out_shape) if task.classes is None else f"{task.classes} classes",
            *(str(task.sizes.get(split, "")) for split in ("train", "val", "test")),
            "" if task.labels is None else " ".join(map(str, task.labels)),
        )
        for task in document.tasks
    ]
    columns = ("task", "kind", "input", "target", "train", "val", "test", "labels")
    # Tabs for other programs, a table for people.
    if not is_terminal():
        print_lines("\t".join(row) for row in [columns, *rows])
    else:
        print_table(columns, rows, right=("train", "val", "test"))
    # Views of the same samples are counted once.
    print_lines(["", f"memory   {_size(document.memory)}, however many tasks share it"])
    print_lines(
        f"{'files' if not number else '':<8} {file.path}  {_size(file.size)}"
        for number, file in enumerate(document.files)
    )


def _by(shape: Any) -> str:
    return "x".join(map(str, shape))


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
