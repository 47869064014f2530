"""Low-rank weights: generated factors instead of generated matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from glob import escape as glob_escape
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.hypernets._inner import HypernetChoice, build_inner
from hypnet_zoo.hypernets.wrapper import Wrapper, check_hypernetwork
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.moments import Fan, Scheme, Start, wanted_starts

__all__ = ["LowRank", "low_rank", "low_rank_factors"]

A, B = "lora_A", "lora_B"
_SAMPLES = 512  # conditions to measure the start with


def low_rank_factors(target: TargetSpec, rank: int) -> TargetSpec:
    r"""What must be generated so that every matrix of a target can be a product of rank `rank`.

    A weight or embedding `[out, in, *kernel]` counts as a matrix `[out, in · kernel]`
    and is replaced by its factors `NAME.lora_A` of shape `[rank, in · kernel]` and
    `NAME.lora_B` of shape `[out, rank]`; everything else stays as it is.

    Raises:
        SpecError: The rank is not positive, or the target has no matrix.

    Example:
        >>> low_rank_factors(TargetSpec.from_shapes([[20, 3, 5, 5], [20]]), rank=2).shapes
        ((2, 75), (20, 2), (20,))
    """
    if rank < 1:
        raise SpecError(f"the rank must be positive, got {rank}")
    params: list[ParamSpec] = []
    for param in target.params:
        if not is_matrix(param):
            params.append(param)
            continue
        rows, columns = _sides(param)
        params.append(
            ParamSpec(
                name=f"{param.name}.{A}",
                shape=(rank, columns),
                kind=ParamKind.WEIGHT,
                layer=param.layer,
            )
        )
        params.append(
            ParamSpec(
                name=f"{param.name}.{B}",
                shape=(rows, rank),
                kind=ParamKind.WEIGHT,
                layer=param.layer,
            )
        )
    if len(params) == len(target):
        raise SpecError(
            "the target holds no weight of two or more dimensions: there is nothing to factorise"
        )
    return TargetSpec(params=tuple(params))


@runtime_checkable
class _Initialisable(Protocol):
    """A hypernetwork that can start anew with given means and variances."""

    def initialize(self, *, overrides: Mapping[str, Start]) -> None: ...


def is_matrix(param: ParamSpec) -> bool:
    """Whether a parameter is written as a product of two factors."""
    return (
        len(param.shape) > 1
        and param.kind in {ParamKind.WEIGHT, ParamKind.EMBEDDING}
        and param.numel > 0
    )


def _sides(param: ParamSpec) -> tuple[int, int]:
    return param.shape[0], math.prod(param.shape[1:])


class LowRank(Wrapper):
    r"""Writes every matrix as a product of two generated factors.

    $$ W = \tfrac{\alpha}{r}\, B(c)\, \bigl(A_0 + A(c)\bigr), \qquad A_0, A(c) \in \mathbb{R}^{r \times in},\;
       B(c) \in \mathbb{R}^{out \times r} $$

    An inner hypernetwork generates $A(c)$, $B(c)$ and whatever is no matrix. $A_0$ is learned, shared by all conditions, and starts
    like a linear layer's weight; so the inner hypernetwork may start at zero, where $W = 0$, and still learn, as LoRA does. Inside
    `Delta` it adapts a pretrained network; `hypnet_zoo.adapters` writes the factors of one condition for other libraries.

    Args:
        target: What to generate.
        make_inner: Makes the inner hypernetwork for the factors, such as `lambda factors: HMLP(factors, conditions)`.
        rank: $r$, inner dimension of the products.
        alpha: $\alpha$; the rank by default, for a scale of 1.
        fan: Start with products that keep the size of the main network's activations (`"in"`), of its gradients (`"out"`), or between
            (`"harmonic"`), provided that the inner hypernetwork has an `initialize` for its own start.

    Raises:
        SpecError: The rank or alpha is not positive, or the target has no matrix.

    References:
        E. Hu et al.: LoRA: Low-rank adaptation of large language models. ICLR 2022, arXiv:2106.09685.

    Example:
        >>> from hypnet_zoo.hypernets.hmlp import HMLP
        >>> target = TargetSpec.from_shapes([[64, 100], [64]])
        >>> hnet = LowRank(target, lambda factors: HMLP(factors, ConditionSpec(count=2, size=8)), rank=4)
        >>> hnet.inner.target.numel, hnet(1)["0"].shape, torch.linalg.matrix_rank(hnet(1)["0"]).item()
        (720, torch.Size([64, 100]), 4)
    """

    def __init__(
        self,
        target: TargetSpec,
        make_inner: Callable[[TargetSpec], HyperNetwork],
        *,
        rank: int = 4,
        alpha: float | None = None,
        fan: Fan = "in",
    ) -> None:
        if alpha is not None and not 0 < alpha < math.inf:
            raise SpecError(f"alpha must be positive, got {alpha}")
        factors = low_rank_factors(target, rank)
        inner = make_inner(factors)
        check_hypernetwork(inner, "what make_inner returns")
        if (inner.target.names, inner.target.shapes) != (factors.names, factors.shapes):
            raise SpecError(
                "make_inner must return a hypernetwork whose target is what it was called with, the"
                " factors"
            )
        super().__init__(target, inner)
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.matrices = [param for param in target.params if is_matrix(param)]
        widths = [_sides(param)[1] for param in self.matrices]
        self.shared_A = nn.Parameter(torch.cat([_like_linear(rank, width) for width in widths]))
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

    @torch.no_grad()
    def initialize(
        self,
        *,
        fan: Fan = "in",
        scheme: Scheme = "kaiming",
        overrides: Mapping[str, Start | tuple[float, float]] | None = None,
    ) -> None:
        r"""Start so that the products have the mean squares that the main network should have.

        The generated $A(c)$ gets twice the variance of $A_0$, $1 / in$ in all, and
        $B(c)$ what is then missing: over independent factors $E[W^2] = (\alpha/r)^2\,
        r\, E[A^2] E[B^2]$. The factors of one condition depend on each other, so the
        products are measured and $B$ is scaled. Biases start at zero, whatever else is
        no matrix as wanted.

        Args:
            fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme` and
                `overrides`.
            scheme: As above.
            overrides: As above; a matrix has no mean of its own.
        """
        inner = self.inner
        if not isinstance(inner, _Initialisable):
            return
        self.starts = wanted_starts(self.target, fan=fan, scheme=scheme, overrides=overrides)
        wanted = {
            param.name: start for param, start in zip(self.target.params, self.starts, strict=True)
        }
        matrices = {param.name: _sides(param)[1] for param in self.matrices}
        others = {
            glob_escape(name): start for name, start in wanted.items() if name not in matrices
        }
        share_of_a = {
            f"{glob_escape(name)}.{A}": Start(0.0, 2.0 / (3.0 * width))
            for name, width in matrices.items()
        }
        variances = {
            name: wanted[name].mean_square * width / (self.scale**2 * self.rank)
            for name, width in matrices.items()
        }

        def start_inner() -> None:
            share_of_b = {
                f"{glob_escape(name)}.{B}": Start(0.0, variance)
                for name, variance in variances.items()
            }
            inner.initialize(overrides={**others, **share_of_a, **share_of_b})

        with (
            torch.random.fork_rng()
        ):  # so that the second time everything is drawn alike, but for the size of B
            start_inner()
        for name, mean_square in self._mean_squares().items():
            variances[name] *= wanted[name].mean_square / mean_square if mean_square > 0 else 1.0
        start_inner()

    def _mean_squares(self) -> dict[str, float]:
        """Of every product at the start, over conditions: the trace of (B^T B)(A A^T), which needs no product of full size."""
        inputs = calibration_inputs(self.inner, samples=_SAMPLES)[:_SAMPLES]
        factors = self._factors(Weights(self.inner.generate(inputs), self.inner.target))
        return {
            name: (
                self.scale**2
                * float(((up.mT @ up) * (down @ down.mT)).sum(dim=(1, 2)).mean())
                / (up.shape[1] * down.shape[2])
            )
            for name, (down, up) in factors.items()
        }

    @property
    def scale(self) -> float:
        r"""$\alpha / r$."""
        return self.alpha / self.rank

    def transform(self, generated: Weights) -> Weights:
        """Multiply the factors."""
        batch = generated.batch_shape
        factors = self._factors(generated)
        parts = []
        for param in self.target.params:
            if param.name in factors:
                down, up = factors[param.name]
                parts.append((self.scale * up @ down).reshape(*batch, param.numel))
            else:
                parts.append(generated[param.name].reshape(*batch, param.numel))
        return Weights(torch.cat(parts, dim=-1), self.target)

    def factors(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        r"""The factors of every matrix: $A_0 + A(c)$ of shape `[*batch, r, in · kernel]` and $B(c)$, `[*batch, out, r]`.

        The matrix is `scale` times $B A$.
        """
        return self._factors(
            self.inner(condition, cond_input=cond_input, uncond_input=uncond_input)
        )

    def _factors(self, generated: Weights) -> dict[str, tuple[Tensor, Tensor]]:
        shared = self.shared_A.split([self.rank * _sides(param)[1] for param in self.matrices])
        return {
            param.name: (
                generated[f"{param.name}.{A}"] + own.view(self.rank, -1),
                generated[f"{param.name}.{B}"],
            )
            for param, own in zip(self.matrices, shared, strict=True)
        }


def low_rank(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    rank: int = 4,
    alpha: float | None = None,
    inner: HypernetChoice | None = None,
    fan: Fan = "in",
) -> LowRank:
    """A hypernetwork that writes every matrix as a product of two generated factors.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        rank: Inner dimension of the products.
        alpha: The products are multiplied by alpha / rank; the rank itself by default.
        inner: What generates the factors; an `hmlp` by default.
        fan: Start with products that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`).
    """
    return LowRank(
        target,
        lambda factors: build_inner(inner, factors, conditions),
        rank=rank,
        alpha=alpha,
        fan=fan,
    )


def _like_linear(rank: int, width: int) -> Tensor:
    """A flat draw as `nn.Linear(width, rank)` starts its weight."""
    weight = torch.empty(rank, width)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight.flatten()
