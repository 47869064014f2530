r"""Mean and variance that every generated tensor should start with.

For a main layer $y = W x + b$ with $E[x^2] = 1$, outputs keep their mean square if

$$ \mathrm{fan_{in}} \mathrm{Var}(W) + \mathrm{Var}(b) = g^2, $$

and gradients keep theirs if $\mathrm{fan_{out}} \mathrm{Var}(W) = g^2$. The gain $g^2$
compensates for the nonlinearity: 2 for rectifiers (Kaiming), 1 for linear and odd ones
(Xavier). `docs/initialisation.md` has the derivation.

References:
    O. Chang, L. Flokas, H. Lipson: Principled weight initialization for hypernetworks.
    ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.init.options import Fan, Init, init_from

# A rectifier halves the mean square, so its layers need twice the variance.
_GAIN_SQUARED = {"kaiming": 2.0, "xavier": 1.0}


class Moments(NamedTuple):
    """Mean and variance of a tensor."""

    mean: float
    variance: float

    @property
    def mean_square(self) -> float:
        """$E[w^2]$, which can be measured for constant tensors too."""
        return self.mean**2 + self.variance


_BY_KIND = {
    # Norms and modulation start as the identity.
    ParamKind.NORM_SCALE: Moments(1.0, 0.0),
    ParamKind.NORM_SHIFT: Moments(0.0, 0.0),
    ParamKind.GAIN: Moments(1.0, 0.0),
    ParamKind.SHIFT: Moments(0.0, 0.0),
    # As `nn.Embedding` draws.
    ParamKind.EMBEDDING: Moments(0.0, 1.0),
    ParamKind.OTHER: Moments(0.0, 0.02**2),
}


def wanted_moments(target: TargetSpec, init: Init | None = None) -> tuple[Moments, ...]:
    r"""Mean and variance that each tensor of a target should start with.

    The harmonic fan gives weights the variance $2 g^2 / (\mathrm{fan_{in}} +
    \mathrm{fan_{out}})$. Biases that share the variance take half of it with
    `fan="in"`; with `fan="out"` they get the variance that the weights leave, $g^2
    \max(0, 1
    - \mathrm{fan_{in}} / \mathrm{fan_{out}})$.

    Args:
        target: The tensors.
        init: The rules; the defaults of `Init` if not given. Only `fan`, `scheme`,
            `bias`, `overrides` and `normal_std` choose moments.

    Raises:
        SpecError: An override matches neither a name nor a kind.

    Example:
        >>> target = TargetSpec.from_shapes([[50, 200], [50]])
        >>> wanted_moments(target)
        (Moments(mean=0.0, variance=0.01), Moments(mean=0.0, variance=0.0))
        >>> wanted_moments(target, Init(fan="harmonic", scheme="xavier"))[0].variance
        0.008
    """
    rules = init_from(init)
    _check_overrides(target, rules.overrides)
    # Only biases that share the variance leave less of it for their weight.
    shared = (
        {param.layer for param in target.params if param.kind is ParamKind.BIAS}
        if rules.bias == "share"
        else set()
    )
    # The last override that matches wins, hence no early exit.
    moments = []
    for param in target.params:
        chosen = _moments(param, rules, has_bias=param.layer in shared)
        for selector, given in rules.overrides.items():
            if selector == param.kind.value or fnmatchcase(param.name, selector):
                chosen = Moments(*given)
        moments.append(chosen)
    return tuple(moments)


def without_means(init: Init, target: TargetSpec) -> Init:
    """The same rules for a difference, which is added to weights with means."""
    if init.normal_std is not None:
        return init
    centred = {
        param.name: (0.0, wanted.variance)
        for param, wanted in zip(target.params, wanted_moments(target, init), strict=True)
        if wanted.mean
    }
    return init.model_copy(update={"overrides": {**init.overrides, **centred}})


def restricted(init: Init, target: TargetSpec) -> Init:
    """The same rules with only those overrides that match a tensor of a target.

    A hypernetwork that consists of others hands this to each of them, since an override
    for a tensor that a part does not generate would be refused.
    """
    matching = {
        selector: moments
        for selector, moments in init.overrides.items()
        if _matches(selector, target)
    }
    return init.model_copy(update={"overrides": matching})


def _moments(param: ParamSpec, init: Init, *, has_bias: bool) -> Moments:
    gain = _GAIN_SQUARED[init.scheme]
    if param.kind is ParamKind.BIAS:
        return Moments(0.0, _bias_variance(param, gain, init))
    if param.kind is ParamKind.WEIGHT and param.fan_in and param.fan_out:
        if init.normal_std is not None:
            return Moments(0.0, init.normal_std**2)
        # Weight and bias share the variance in equal parts.
        inward = gain / param.fan_in / (2.0 if has_bias else 1.0)
        outward = gain / param.fan_out
        variance: dict[Fan, Callable[[], float]] = {
            "in": lambda: inward,
            "out": lambda: outward,
            "harmonic": lambda: 2.0 * inward * outward / (inward + outward),
        }
        return Moments(0.0, variance[init.fan]())
    return _BY_KIND.get(param.kind, _BY_KIND[ParamKind.OTHER])


def _bias_variance(param: ParamSpec, gain: float, init: Init) -> float:
    # A plain normal start leaves biases at zero, as is usual.
    if init.bias == "zero" or init.normal_std is not None or not param.fan_in or not param.fan_out:
        return 0.0
    if init.bias == "torch":
        # Torch's U(-1/sqrt(f), 1/sqrt(f)) has the variance 1 / (3 f).
        return 1.0 / (3.0 * param.fan_in)
    inward, outward = gain / 2.0, gain * max(0.0, 1.0 - param.fan_in / param.fan_out)
    if init.fan == "harmonic":
        return 2.0 * inward * outward / (inward + outward)
    return inward if init.fan == "in" else outward


def scalar_moments(target: TargetSpec, moments: tuple[Moments, ...]) -> tuple[Tensor, Tensor]:
    """Means and variances of every scalar of a target, each `[numel]`."""
    sizes = torch.tensor(target.sizes)
    means, variances = (
        # A known size spares devices the wait for it; without memory there is no other.
        torch.tensor(values).repeat_interleave(sizes, output_size=target.numel)
        for values in zip(*moments, strict=True)
    )
    return means, variances


def _check_overrides(target: TargetSpec, overrides: Mapping[str, tuple[float, float]]) -> None:
    kinds = [kind.value for kind in ParamKind]
    for selector in overrides:
        if selector not in kinds and not _matches(selector, target):
            raise SpecError(
                "no parameter and no kind matches"
                f" {selector!r}{did_you_mean(selector, [*target.names, *kinds])}"
            )


def _matches(selector: str, target: TargetSpec) -> bool:
    return any(
        selector == param.kind.value or fnmatchcase(param.name, selector) for param in target.params
    )
