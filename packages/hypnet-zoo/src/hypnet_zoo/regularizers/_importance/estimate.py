"""Estimation of the Fisher information from data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict, get_args

import torch
from torch import Tensor, nn

from hypnet_core.errors import DivergedError, SpecError, clipped, did_you_mean, listed
from hypnet_core.networks import evaluating
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Batch
from hypnet_zoo.regularizers._importance.chosen import Chosen
from hypnet_zoo.regularizers._importance.closed_forms import Outputs, Squares, add_squares, squared
from hypnet_zoo.regularizers._importance.data import Batches, Data
from hypnet_zoo.regularizers._importance.gradients import Directed, Gradients, SquaredGradients
from hypnet_zoo.regularizers._importance.likelihood import Directions, FisherKind, Likelihood


class FisherOptions(TypedDict, total=False):
    """Options of `fisher`, which penalties take too."""

    kind: FisherKind
    samples: int | None
    batch_size: int
    likelihood: Likelihood | None
    noise_variance: float
    output_units: Sequence[int] | None
    target_transform: Callable[[Tensor], Tensor] | None
    forward: Callable[[BatchLike], Any] | None
    log_likelihood: Callable[[Any, BatchLike], Tensor] | None
    proper_scaling: bool
    gradients: Gradients
    generator: torch.Generator | None


def check_options(options: FisherOptions) -> None:
    """Refuse what can be refused before there is data.

    Raises:
        SpecError: There is no such option, or no such value of one.
    """
    known = FisherOptions.__annotations__
    for name in options:
        if name not in known:
            raise SpecError(f"there is no option {name!r}{did_you_mean(name, known)}")
    Directions(
        options.get("kind", "exact"),
        options.get("likelihood"),
        options.get("output_units"),
        options.get("noise_variance", 1.0),
    )
    way = options.get("gradients", "auto")
    if way not in get_args(Gradients):
        raise SpecError(f"gradients: there is no {way!r}{did_you_mean(way, get_args(Gradients))}")
    for name, number in (
        ("batch_size", options.get("batch_size")),
        ("samples", options.get("samples")),
    ):
        if number is not None and number < 1:
            raise SpecError(f"{name} must be positive, got {number}")


@torch.enable_grad()  # the caller may be evaluating
def estimate(
    chosen: Chosen,
    data: Data,
    *,
    kind: FisherKind = "exact",
    samples: int | None = None,
    batch_size: int = 128,
    likelihood: Likelihood | None = None,
    noise_variance: float = 1.0,
    output_units: Sequence[int] | None = None,
    target_transform: Callable[[Tensor], Tensor] | None = None,
    forward: Callable[[BatchLike], Any] | None = None,
    log_likelihood: Callable[[Any, BatchLike], Tensor] | None = None,
    proper_scaling: bool = False,
    gradients: Gradients = "auto",
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The work of `fisher`, without a prior."""
    directions: Directed = Directions(kind, likelihood, output_units, noise_variance, generator)
    outputs: Outputs = partial(_outputs, chosen.module) if forward is None else forward
    if log_likelihood is not None:
        if kind not in {"empirical", "batched"}:
            raise SpecError(
                f"kind={kind!r} draws labels, but log_likelihood is that of the true ones: use"
                " 'empirical' or 'batched'"
            )
        outputs = partial(_own_likelihood, outputs, log_likelihood, output_units)
        directions = _ones
    chosen.look()
    # Those that were frozen after they had been chosen stay as they are.
    parameters = {name: p for name, p in chosen.now.items() if p.requires_grad}
    if not parameters:
        raise SpecError(f"the chosen parameters are all frozen: {listed(chosen.now)}")
    squares: Callable[[BatchLike], Squares] = (
        partial(_of_batch, parameters, outputs, directions)
        if kind == "batched"
        else SquaredGradients(chosen.module, parameters, outputs, directions, gradients)
    )
    passes = Batches(data, batch_size, samples, generator)
    total: Squares = {}
    used = 0
    with evaluating(chosen.module):
        for batch in passes:
            used += len(batch)
            add_squares(total, squares(_ready(batch, chosen, target_transform)))
    scale = passes.count / used if proper_scaling else 1 / used
    found = {
        name: (scale * total[name] if name in total else torch.zeros_like(p)).to(chosen.dtype)
        for name, p in chosen.now.items()
    }
    _check_finite(found)
    return {name: tensor.detach() for name, tensor in found.items()}


def _outputs(module: nn.Module, batch: BatchLike) -> Tensor:
    outputs: object = module(batch.x)
    if not isinstance(outputs, Tensor):
        raise SpecError(
            "the model must return a tensor of outputs, got"
            f" {clipped(repr(type(outputs).__name__))}: give forward="
        )
    return outputs


def _own_likelihood(
    forward: Callable[[BatchLike], Any],
    log_likelihood: Callable[[Any, BatchLike], Tensor],
    output_units: Sequence[int] | None,
    batch: BatchLike,
) -> Tensor:
    """The log-likelihood as the output, since gradients of nothing else are needed."""
    outputs = forward(batch)
    if output_units is not None and isinstance(outputs, Tensor):
        outputs = outputs[..., list(output_units)]
    found = log_likelihood(outputs, batch)
    if found.shape != (len(batch),):
        raise SpecError(
            f"log_likelihood must return one number per sample, shape [{len(batch)}], got"
            f" {list(found.shape)}"
        )
    return found


def _ones(outputs: Tensor, _: BatchLike) -> Iterator[Tensor]:
    yield torch.ones_like(outputs)


def _of_batch(
    parameters: Mapping[str, Tensor], outputs: Outputs, directions: Directed, batch: BatchLike
) -> Squares:
    """Squares of the gradient of a batch's mean, weighted by its size."""
    found = outputs(batch)
    (direction,) = directions(found.detach(), batch)
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        found, list(parameters.values()), direction.to(found) / len(batch), allow_unused=True
    )
    pairs = zip(parameters, gradients, strict=True)
    return {name: len(batch) * squared(g) for name, g in pairs if g is not None}


def _ready(
    batch: Batch, chosen: Chosen, target_transform: Callable[[Tensor], Tensor] | None
) -> Batch:
    """A batch on the model's device and, if it is floating point, in its dtype."""
    moved = batch.to(chosen.device)
    dtype = next(iter(chosen.now.values())).dtype
    x = moved.x.to(dtype) if moved.x.is_floating_point() else moved.x
    y = moved.y if target_transform is None else target_transform(moved.y)
    return Batch(x, y, moved.ids, moved.lengths)


def _check_finite(found: Mapping[str, Tensor]) -> None:
    bad = [name for name, tensor in found.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise DivergedError(
            f"the Fisher information of {listed(bad)} is not finite: gradients of the"
            " log-likelihood are NaN or infinite"
        )
