r"""Which mean and variance every generated tensor should start with.

For a main layer $y = W x + b$ with $E[x^2] = 1$ before the nonlinearity's effect is
taken out by the gain $g^2$ (2 after rectifiers, 1 for Xavier), outputs keep their mean
square if

$$ \mathrm{fan_{in}} \mathrm{Var}(W) + \mathrm{Var}(b) = g^2, $$

and gradients keep theirs if $\mathrm{fan_{out}} \mathrm{Var}(W) = g^2$. See
`docs/initialisation.md` for the derivation.

References:
    O. Chang, L. Flokas, H. Lipson: Principled weight initialization for hypernetworks.
    ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

Fan = Literal["in", "out", "harmonic"]
Scheme = Literal["kaiming", "xavier"]
BiasStart = Literal["zero", "share", "torch"]

_GAIN_SQUARED = {"kaiming": 2.0, "xavier": 1.0}


class Start(NamedTuple):
    """Mean and variance that a generated tensor should start with."""

    mean: float
    variance: float

    @property
    def mean_square(self) -> float:
        """$E[w^2]$, what a measurement of zero-mean and constant tensors alike can be compared with."""
        return self.mean**2 + self.variance


_BY_KIND = {
    ParamKind.NORM_SCALE: Start(1.0, 0.0),
    ParamKind.NORM_SHIFT: Start(0.0, 0.0),
    ParamKind.GAIN: Start(1.0, 0.0),
    ParamKind.SHIFT: Start(0.0, 0.0),
    ParamKind.EMBEDDING: Start(0.0, 1.0),
    ParamKind.OTHER: Start(0.0, 0.02**2),
}


def wanted_starts(
    target: TargetSpec,
    *,
    fan: Fan = "in",
    scheme: Scheme = "kaiming",
    bias: BiasStart = "zero",
    overrides: Mapping[str, Start | tuple[float, float]] | None = None,
) -> tuple[Start, ...]:
    r"""What each tensor of a target should start like.

    Args:
        target: The tensors.
        fan: Keep the size of activations (`"in"`), of gradients (`"out"`), or a
            compromise: the harmonic mean of the two variances, $2 g^2 /
            (\mathrm{fan_{in}} + \mathrm{fan_{out}})$.
        scheme: `"kaiming"` for main networks with rectifiers, `"xavier"` for linear and
            odd nonlinearities.
        bias: Biases start at zero; or as the paper shares the variance: with `fan="in"`
            half of it comes from weights and half from biases, with `"out"` biases make
            up what the weights leave, $g^2 \max(0, 1 - \mathrm{fan_{in}} /
            \mathrm{fan_{out}})$; or like torch's layers with $1 /
            (3\,\mathrm{fan_{in}})$.
        overrides: Means and variances by kind (`"norm_scale"`), or by a glob over
            names; the last that matches wins.

    Raises:
        SpecError: An override names nothing, or there is no such choice.

    Example:
        >>> target = TargetSpec.from_shapes([[50, 200], [50]])
        >>> wanted_starts(target), wanted_starts(target, fan="harmonic", scheme="xavier")[0]
        ((Start(mean=0.0, variance=0.01), Start(mean=0.0, variance=0.0)), Start(mean=0.0, variance=0.008))
    """
    for option, value, known in (
        ("fan", fan, Fan),
        ("scheme", scheme, Scheme),
        ("bias", bias, BiasStart),
    ):
        check_choice(option, value, get_args(known))
    given = {selector: Start(*start) for selector, start in (overrides or {}).items()}
    _check_overrides(target, given)
    shared = (
        {param.layer for param in target.params if param.kind is ParamKind.BIAS}
        if bias == "share"
        else set()
    )
    starts = []
    for param in target.params:
        start = _start(param, fan, _GAIN_SQUARED[scheme], bias, has_bias=param.layer in shared)
        for selector, other in given.items():
            if selector == param.kind.value or fnmatchcase(param.name, selector):
                start = other
        starts.append(start)
    return tuple(starts)


def _start(param: ParamSpec, fan: Fan, gain: float, bias: BiasStart, *, has_bias: bool) -> Start:
    if param.kind is ParamKind.BIAS:
        return Start(0.0, _bias_variance(param, fan, gain, bias))
    if param.kind is ParamKind.WEIGHT and param.fan_in and param.fan_out:
        inward = gain / param.fan_in / (2.0 if has_bias else 1.0)
        outward = gain / param.fan_out
        variance: dict[Fan, Callable[[], float]] = {
            "in": lambda: inward,
            "out": lambda: outward,
            "harmonic": lambda: 2.0 * inward * outward / (inward + outward),
        }
        return Start(0.0, variance[fan]())
    return _BY_KIND.get(param.kind, _BY_KIND[ParamKind.OTHER])


def _bias_variance(param: ParamSpec, fan: Fan, gain: float, bias: BiasStart) -> float:
    if bias == "zero" or not param.fan_in or not param.fan_out:
        return 0.0
    if bias == "torch":
        return 1.0 / (3.0 * param.fan_in)
    inward, outward = gain / 2.0, gain * max(0.0, 1.0 - param.fan_in / param.fan_out)
    if fan == "harmonic":
        return 2.0 * inward * outward / (inward + outward)
    return inward if fan == "in" else outward


def check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse what is not among the known values of an option.

    Raises:
        SpecError: It is not.
    """
    if value not in known:
        raise SpecError(
            f"{option} must be one of {', '.join(known)}, got"
            f" {value!r}{did_you_mean(str(value), known)}"
        )


def scalars_of(target: TargetSpec, starts: tuple[Start, ...]) -> tuple[Tensor, Tensor]:
    """Means and variances for every scalar of a target, each `[numel]`."""
    sizes = torch.tensor(target.sizes)
    means = torch.tensor([start.mean for start in starts]).repeat_interleave(sizes)
    variances = torch.tensor([start.variance for start in starts]).repeat_interleave(sizes)
    return means, variances


def _check_overrides(target: TargetSpec, given: Mapping[str, Start]) -> None:
    kinds = {kind.value for kind in ParamKind}
    for selector, start in given.items():
        if selector not in kinds and not any(fnmatchcase(name, selector) for name in target.names):
            raise SpecError(
                "no parameter and no kind matches"
                f" {selector!r}{did_you_mean(selector, [*target.names, *kinds])}"
            )
        if start.variance < 0:
            raise SpecError(f"{selector}: a variance must not be negative, got {start.variance}")
