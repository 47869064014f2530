r"""Sums of squared per-sample gradients in closed form, layer by layer.

A layer that is applied once, to all samples, sees inputs $a_b$ and gets back the
gradients $g_b$ of its outputs. From these follow the gradients of its parameters for
each sample, without a backward pass for each. For a linear layer on vectors they need
not even be formed:

$$ \sum_b (g_b a_b^\top)^2 = (g^2)^\top a^2 $$
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hypnet_core.protocols import BatchLike
from hypnet_zoo.layers.batch_norm import BatchNorm

Squares: TypeAlias = dict[str, Tensor]
"""Sums of squares over samples, by the name of the parameter."""
Rule: TypeAlias = Callable[[Any, Tensor, Tensor], Squares]
Outputs: TypeAlias = Callable[[BatchLike], Tensor]
"""From a batch to a tensor with one row per sample."""

# Numbers in an intermediate result of one layer: a processor's cache, or enough to
# keep an accelerator busy.
_MOST_ON_CPU, _MOST_ELSEWHERE = 1 << 18, 1 << 26


class NoClosedForm(Exception):  # noqa: N818 (a reason, never seen by users)
    """The network is not made of layers with a closed form."""


@dataclass(eq=False)
class _Call:
    """One layer: the names of its parameters, and its call in this forward pass."""

    layer: nn.Module
    rule: Rule
    names: dict[str, str]
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[GradientEdge] = field(default_factory=list)


class ClosedForms:
    """The layers that own some parameters.

    Args:
        module: The module.
        names: Qualified names of the parameters.

    Raises:
        NoClosedForm: A parameter is shared, or belongs to a layer without closed form.
    """

    def __init__(self, module: nn.Module, names: Mapping[str, Tensor]) -> None:
        shared: dict[int, int] = {}
        for _, one in module.named_parameters(remove_duplicate=False):
            shared[id(one)] = shared.get(id(one), 0) + 1
        self._calls: dict[str, _Call] = {}
        for name, parameter in names.items():
            owner, _, attribute = name.rpartition(".")
            layer = module.get_submodule(owner)
            rule = next((rule for kind, rule in _RULES if _is_plain(layer, kind)), None)
            if rule is None or shared[id(parameter)] > 1:
                raise NoClosedForm(name)
            call = self._calls.setdefault(owner, _Call(layer, rule, {}))
            call.names[attribute] = name

    def squares(
        self,
        outputs: Outputs,
        batch: BatchLike,
        directions: Callable[[Tensor, BatchLike], Iterator[Tensor]],
    ) -> Squares:
        """Sums over samples and directions.

        Raises:
            NoClosedForm: A layer is not applied exactly once, to one row per sample.
        """
        total: Squares = {}
        with self._watching():
            out = outputs(batch)
            calls = list(self._calls.values())
            if not all(_fits(call, len(batch)) for call in calls):
                raise NoClosedForm
            edges = [call.outputs[0] for call in calls]
            for direction in directions(out.detach(), batch):
                gradients = torch.autograd.grad(
                    out, edges, direction.to(out), retain_graph=True, allow_unused=True
                )
                for call, gradient in zip(calls, gradients, strict=True):
                    if gradient is not None:
                        found = call.rule(call.layer, call.inputs[0], single(gradient))
                        add_squares(total, {call.names[a]: found[a] for a in call.names})
        return total

    @contextmanager
    def _watching(self) -> Iterator[None]:
        handles = [
            call.layer.register_forward_hook(_keeper(call), with_kwargs=True)
            for call in self._calls.values()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for call in self._calls.values():
                call.inputs.clear()
                call.outputs.clear()


def _keeper(call: _Call) -> Callable[..., None]:
    def keep(
        _: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], output: Tensor
    ) -> None:
        # Norms of the zoo may be given statistics.
        if not output.requires_grad or kwargs or len(args) != 1:
            raise NoClosedForm
        call.inputs.append(single(args[0].detach()))
        # The edge, not the tensor: activations in place give the tensor a new history.
        call.outputs.append(get_gradient_edge(output))

    return keep


def _fits(call: _Call, samples: int) -> bool:
    return len(call.inputs) == 1 and call.inputs[0].ndim > 1 and len(call.inputs[0]) == samples


def add_squares(total: Squares, squares: Squares) -> None:
    """Add to sums."""
    for name, one in squares.items():
        total[name] = total[name] + one if name in total else one


def squared(gradient: Tensor) -> Tensor:
    """Squares, in single precision at least: in half they would vanish."""
    return single(gradient).square()


def single(tensor: Tensor) -> Tensor:
    """The same in float32, if it is in half precision."""
    return tensor.float() if tensor.element_size() < 4 else tensor


def _is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer computes what torch's own layer of this type does."""
    plain = isinstance(layer, kind) and type(layer).forward is kind.forward
    if isinstance(layer, nn.Conv2d):
        return plain and layer.padding_mode == "zeros" and layer.groups == 1
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm)):
        return plain and layer.track_running_stats
    return plain


def _linear(_: Any, a: Tensor, g: Tensor) -> Squares:
    if a.ndim == 2:
        return {"weight": g.square().T @ a.square(), "bias": g.square().sum(0)}
    # The gradients of one sample add up over its positions before they are squared.
    return _products(g.flatten(1, -2).transpose(1, 2), lambda rows: a[rows].flatten(1, -2))


def _conv2d(layer: Any, a: Tensor, g: Tensor) -> Squares:
    padding, geometry = layer.padding, (layer.kernel_size, layer.dilation)
    if padding == "valid":
        padding = (0, 0)
    if padding == "same":
        # Unfold pads both sides alike; where they differ, torch adds to the end.
        lost = [d * (k - 1) for k, d in zip(*geometry, strict=True)]
        a = F.pad(a, (0, lost[1] % 2, 0, lost[0] % 2))
        padding = (lost[0] // 2, lost[1] // 2)

    def patches(rows: slice) -> Tensor:
        return F.unfold(a[rows], *geometry, padding, layer.stride).transpose(1, 2)

    found = _products(g.flatten(2), patches)
    return {"weight": found["weight"].view_as(layer.weight), "bias": found["bias"]}


def _products(g: Tensor, inputs: Callable[[slice], Tensor]) -> Squares:
    """Sums of squares of $g_b a_b$, with `g` `[B, out, T]` and inputs `[B, T, in]`."""
    # The first sample tells how much memory each of them needs.
    one = inputs(slice(0, 1))
    weight = one.new_zeros(g.shape[1], one.shape[2])
    most = _MOST_ON_CPU if g.device.type == "cpu" else _MOST_ELSEWHERE
    step = max(1, most // max(one.numel(), weight.numel()))
    for start in range(0, len(g), step):
        rows = slice(start, start + step)
        weight += torch.bmm(g[rows], inputs(rows)).square_().sum(0)
    return {"weight": weight, "bias": g.sum(2).square().sum(0)}


def _batch_norm(layer: Any, a: Tensor, g: Tensor) -> Squares:
    normal = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    return _elementwise(g, normal, over=tuple(range(2, a.ndim)))


def _layer_norm(layer: Any, a: Tensor, g: Tensor) -> Squares:
    normal = F.layer_norm(a, layer.normalized_shape, eps=layer.eps)
    return _elementwise(g, normal, over=tuple(range(1, a.ndim - len(layer.normalized_shape))))


def _group_norm(layer: Any, a: Tensor, g: Tensor) -> Squares:
    normal = F.group_norm(a, layer.num_groups, eps=layer.eps)
    return _elementwise(g, normal, over=tuple(range(2, a.ndim)))


def _elementwise(g: Tensor, normal: Tensor, over: tuple[int, ...]) -> Squares:
    scale, shift = g * normal, g
    if over:
        scale, shift = scale.sum(over), shift.sum(over)
    return {"weight": scale.square().sum(0), "bias": shift.square().sum(0)}


_RULES: tuple[tuple[type[nn.Module], Rule], ...] = (
    (nn.Linear, _linear),
    (nn.Conv2d, _conv2d),
    (nn.BatchNorm1d, _batch_norm),
    (nn.BatchNorm2d, _batch_norm),
    (BatchNorm, _batch_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
)
