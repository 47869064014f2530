"""`hypnet inspect`: the target and the size of a hypernetwork, before training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict

from hypnet_core.cli.completion import complete_name
from hypnet_core.cli.output import Json, print_json, print_lines, print_table
from hypnet_core.cli.schemas import InspectDocument, LayerDocument, TargetDocument
from hypnet_core.cli.shapes import shape_of
from hypnet_core.errors import UsageError, clipped
from hypnet_core.plugins.choice import DatasetChoice, HypernetChoice, MainnetChoice
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import registry
from hypnet_core.protocols import Initialized, TaskLike
from hypnet_core.recipes.counting import Counted
from hypnet_core.runs.config import load_config
from hypnet_core.specs import ConditionSpec

if TYPE_CHECKING:
    from hypnet_core.specs import TaskSpec


class _Pair(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mainnet: MainnetChoice
    hypernet: HypernetChoice
    dataset: DatasetChoice | None = None


def inspect(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value]...", help="Options: mainnet.KEY=, hypernet.KEY= or dataset.KEY=."
        ),
    ] = None,
    *,
    mainnet: Annotated[
        str, typer.Option(help="The main network.", autocompletion=complete_name(Kind.MAINNET))
    ],
    hypernet: Annotated[
        str, typer.Option(help="The hypernetwork.", autocompletion=complete_name(Kind.HYPERNET))
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Takes shapes and the number of conditions from it.",
            autocompletion=complete_name(Kind.DATASET),
        ),
    ] = None,
    in_shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 1,28,28.")
    ] = None,
    out: Annotated[int | None, typer.Option(min=1, help="Number of outputs.")] = None,
    conditions: Annotated[
        int | None,
        typer.Option(min=0, help="Number of conditions; the number of tasks, or 1, by default."),
    ] = None,
    embedding_size: Annotated[
        int, typer.Option(min=0, help="Length of a condition's embedding.")
    ] = 8,
    generate: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Which parameters to generate: a kind, or a glob over names; may be given again."
                " All by default."
            )
        ),
    ] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Also measure with which mean square each tensor starts.")
    ] = False,
    variance: Annotated[
        bool,
        typer.Option(
            "--variance",
            help=(
                "Also measure the mean square of each layer's outputs, over conditions, beside that"
                " of the plain main network."
            ),
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a hypernetwork generates for a main network.

    That is the tensors, the numbers of generated, conditional and unconditional
    parameters, and the compression ratio.
    """
    # Flags are short for overrides, so that both go through one validation.
    names = [
        f"mainnet.name={mainnet}",
        f"hypernet.name={hypernet}",
        *([f"dataset.name={dataset}"] if dataset else []),
    ]
    pair = load_config(_Pair, overrides=[*(overrides or []), *names])
    if pair.dataset is not None:
        # Shapes come from one place, so that they cannot contradict each other.
        if in_shape is not None or out is not None:
            raise UsageError("give either --dataset, or --in-shape and --out")
        spec, tasks = _first_task(pair.dataset)
        shape, outputs = spec.in_shape, math.prod(spec.out_shape)
    elif in_shape is None or out is None:
        raise UsageError(
            "the shapes are missing: give --dataset NAME, or --in-shape 1,28,28 and --out 10"
        )
    else:
        shape, outputs, tasks = _shape(in_shape), out, 1
    count = tasks if conditions is None else conditions
    document = _document(
        pair,
        shape,
        outputs,
        ConditionSpec(count=count, size=embedding_size),
        generate or None,
        init=init,
        variance=variance,
    )
    if as_json:
        print_json(document)
    else:
        _print(document)


def _shape(text: str) -> tuple[int, ...]:
    shape = shape_of(text)
    if shape is None:
        raise UsageError(
            f"--in-shape {clipped(text)}: expected positive whole numbers, such as 1,28,28"
        )
    return shape


def _first_task(dataset: DatasetChoice) -> tuple[TaskSpec, int]:
    """The spec of a dataset's first task, and the number of its tasks."""
    built: Any = dataset.build()
    if isinstance(built, TaskLike):
        return built.spec, 1
    tasks = list(built)
    if not tasks:
        raise UsageError(f"the dataset {dataset.name!r} has no task")
    return tasks[0].spec, len(tasks)


def _document(
    pair: _Pair,
    shape: tuple[int, ...],
    outputs: int,
    conditions: ConditionSpec,
    generate: list[str] | None,
    *,
    init: bool,
    variance: bool,
) -> InspectDocument:
    from hypnet_core.networks.main_network import MainNetwork

    def build() -> Any:
        return pair.mainnet.build(shape, outputs)

    net = MainNetwork(build(), generate)
    hypernet = pair.hypernet.build(net.target, conditions)
    counted = Counted.of(net, hypernet)
    # Measuring generates weights, so it is only done on request.
    measured = _mean_squares(hypernet, conditions.count) if init else {}
    starts = hypernet.starts if init and isinstance(hypernet, Initialized) else ()
    wanted = {
        param.name: start.mean_square
        # Not strict: a hypernetwork without known moments gives none.
        for param, start in zip(net.target.params, starts, strict=False)
    }
    return InspectDocument(
        mainnet=pair.mainnet.model_dump(mode="json"),
        hypernet=pair.hypernet.model_dump(mode="json"),
        in_shape=list(shape),
        out_features=outputs,
        conditions=conditions.count,
        embedding_size=conditions.size,
        target=[
            TargetDocument(
                name=param.name,
                shape=list(param.shape),
                kind=param.kind,
                numel=param.numel,
                wanted=wanted.get(param.name),
                measured=measured.get(param.name),
            )
            for param in net.target.params
        ],
        **counted._asdict(),
        compression=counted.compression,
        layers=_layers(pair, build, net, hypernet, shape) if variance else [],
    )


def _layers(
    pair: _Pair, build: Any, net: Any, hypernet: Any, shape: tuple[int, ...]
) -> list[LayerDocument]:
    """The size of each layer's outputs."""
    from hypnet_core.cli.variance import layer_sizes

    component = registry().get(Kind.MAINNET, pair.mainnet.name).component
    # Recurrent networks say that they read sequences.
    steps = component.conformance.get("sequence_length")
    whole = (steps, *shape) if steps else shape
    return layer_sizes(build, net, hypernet, whole, lambda count: _inputs(hypernet, count))


def _mean_squares(hypernet: Any, conditions: int) -> dict[str, float]:
    """The mean square of each generated tensor over all conditions.

    Without conditions it is taken over 100 random embeddings.
    """
    import torch

    # Whole rounds of the conditions, so that all of them count.
    count = max(conditions, 100)
    ids = [i % conditions for i in range(count)] if conditions else None
    with torch.no_grad():
        # In evaluation mode, so that dropout adds no variance.
        weights = hypernet.eval()(ids, **_inputs(hypernet, count))
        return {name: tensor.square().mean().item() for name, tensor in weights.items()}


def _inputs(hypernet: Any, count: int) -> dict[str, Any]:
    """Random inputs of a hypernetwork beside ids, `count` of each."""
    import torch

    inputs, own = {}, hypernet.conditions
    if own.input_size:
        inputs["uncond_input"] = torch.randn(count, own.input_size)
    if not own.count and own.size:
        # Directions of one length, as hypernetworks expect them.
        inputs["cond_input"] = torch.nn.functional.rms_norm(
            torch.randn(count, own.size), [own.size]
        )
    return inputs


def _print_layers(document: InspectDocument) -> None:
    columns = ["layer", "plain network", "10 %", "median", "90 %"]
    rows = [
        [layer.name, *(f"{x:.3g}" for x in (layer.plain, layer.low, layer.median, layer.high))]
        for layer in document.layers
    ]
    print_lines(["", "mean square of each layer's outputs, plain and over conditions"])
    print_table(columns, rows, right=columns[1:])


def _print(document: InspectDocument) -> None:
    columns = ["tensor", "shape", "kind", "weights"]
    rows = [
        [tensor.name, " x ".join(map(str, tensor.shape)), tensor.kind, f"{tensor.numel:,}"]
        for tensor in document.target
    ]
    total = ["total", "", "", f"{document.generated:,}"]
    right = ["weights"]
    # Columns that nothing was measured for would be empty.
    if any(tensor.measured is not None for tensor in document.target):
        for row, tensor in zip(rows, document.target, strict=True):
            row += [
                "" if tensor.wanted is None else f"{tensor.wanted:.3g}",
                f"{tensor.measured:.3g}",
            ]
        columns += ["wanted mean square", "measured"]
        right += columns[4:]
        total += ["", ""]
    print_table(columns, rows, right=right, total=total)
    mainnet, hypernet = document.mainnet["name"], document.hypernet["name"]
    parameters = document.conditional + document.unconditional
    facts = [
        (f"generated weights of {mainnet}", f"{document.generated:,}"),
        (f"other parameters of {mainnet}", f"{document.own:,}"),
        (
            f"conditional parameters of {hypernet}, {document.conditions} conditions",
            f"{document.conditional:,}",
        ),
        (f"unconditional parameters of {hypernet}", f"{document.unconditional:,}"),
        (
            f"compression ratio, {parameters:,} / {document.generated:,}",
            f"{document.compression:.3f}",
        ),
    ]
    width = max(len(label) for label, _ in facts)
    print_lines(["", *(f"{label:<{width}}  {value:>12}" for label, value in facts)])
    if document.layers:
        _print_layers(document)
