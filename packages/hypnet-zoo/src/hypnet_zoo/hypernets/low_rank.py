"""Low-rank weights: generated factors in place of generated matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from glob import escape as glob_escape
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import (
    FACTOR_A,
    FACTOR_B,
    Condition,
    FactoredWeights,
    HyperNetwork,
    Weights,
)
from hypnet_core.plugins import only
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import only_counted
from hypnet_zoo.hypernets._shared.inner import (
    InnerOption,
    build_inner,
    check_hypernetwork,
    initializable,
    refuse_inner_init,
    refuse_own_init,
)
from hypnet_zoo.hypernets.low_rank_factors import is_matrix, low_rank_factors, sides
from hypnet_zoo.hypernets.wrapper import Wrapper
from hypnet_zoo.init.effects import MOMENTS, concerning, effective, refuse_without_effect
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.moments import Moments, wanted_moments
from hypnet_zoo.init.options import Init, InitOption, chosen_options, init_from
from hypnet_zoo.init.protocols import Initializable

_SAMPLES = 512  # conditions to measure the start with


class LowRankOptions(InitOption, total=False):
    """Options that `LowRank` shares with its component `low_rank`."""

    rank: Annotated[int, Field(default=4, description="Inner dimension of the products.")]
    alpha: Annotated[
        float | None,
        Field(
            default=None,
            description="The products are multiplied by alpha / rank; the rank itself by default.",
        ),
    ]


class LowRank(Wrapper):
    r"""Writes every matrix as a product of two generated factors.

    $$ W = \tfrac{\alpha}{r}\, B(c)\, \bigl(A_0 + A(c)\bigr), \qquad A_0, A(c) \in
    \mathbb{R}^{r \times in},\; B(c) \in \mathbb{R}^{out \times r} $$

    An inner hypernetwork generates $A(c)$, $B(c)$ and all tensors that are not
    matrices. $A_0$ is learned, shared by all conditions, and starts like the weight of
    a linear layer. The inner hypernetwork may therefore start at zero, where $W = 0$,
    and still learn, as in LoRA. Inside `Delta` it adapts a pretrained network;
    `hypnet_zoo.adapters` writes the factors of one condition for other libraries.

    Args:
        target: The parameters to generate.
        make_inner: Makes the inner hypernetwork for the factors, such as `lambda
            factors: HMLP(factors, conditions)`.
        **options: See `LowRankOptions`.

    Raises:
        SpecError: The rank or alpha is not positive, the target has no matrix, or
            `init` is given and the inner hypernetwork cannot start by one.

    References:
        E. Hu et al.: LoRA: Low-rank adaptation of large language models. ICLR 2022,
        arXiv:2106.09685.

    Example:
        >>> from hypnet_zoo.hypernets import HMLP
        >>> target = TargetSpec.from_shapes([[64, 100], [64]])
        >>> conditions = ConditionSpec(count=2, size=8)
        >>> hnet = LowRank(target, lambda factors: HMLP(factors, conditions), rank=4)
        >>> hnet.inner.target.numel, hnet(1)["0"].shape
        (720, torch.Size([64, 100]))
        >>> torch.linalg.matrix_rank(hnet(1)["0"]).item()
        4
    """

    def __init__(
        self,
        target: TargetSpec,
        make_inner: Callable[[TargetSpec], HyperNetwork],
        **options: Unpack[LowRankOptions],
    ) -> None:
        chosen = chosen_options(LowRankOptions, options)
        rank, alpha = chosen["rank"], chosen["alpha"]
        if alpha is not None and not 0 < alpha < math.inf:
            raise SpecError(f"alpha must be positive, got {alpha}")
        factors = low_rank_factors(target, rank)
        inner = make_inner(factors)
        check_hypernetwork(inner, "the result of make_inner")
        # Kinds and layers may differ, since only shapes matter for the products.
        if (inner.target.names, inner.target.shapes) != (factors.names, factors.shapes):
            raise SpecError(
                "make_inner must return a hypernetwork for the target that it is called with, the"
                " factors"
            )
        if isinstance(inner, Initializable):
            refuse_own_init(inner, "LowRank")
        super().__init__(target, inner)
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.matrices = [param for param in target.params if is_matrix(param)]
        widths = [sides(param)[1] for param in self.matrices]
        # Same start as the A of LoRA, which is a linear layer to `rank` outputs.
        self.shared_A = nn.Parameter(torch.cat([_like_linear(rank, width) for width in widths]))
        self.starts: tuple[Moments, ...] = ()
        self.init = chosen["init"]
        # By default an inner hypernetwork of another kind keeps its own start.
        if isinstance(inner, Initializable) or self.init != Init():
            self.initialize()

    @torch.no_grad()
    def initialize(self, init: Init | None = None) -> None:
        r"""Start so that the products have the moments that the main network needs.

        The generated $A(c)$ gets twice the variance of $A_0$, $1 / in$ in total, and
        $B(c)$ sets the size of the product: over independent factors $E[W^2] =
        (\alpha/r)^2\, r\, E[A^2] E[B^2]$. The factors of one condition depend on each
        other, so the products are measured and $B$ is scaled. Means of matrices count
        as variance.

        Args:
            init: How to start; by default as it was built.

        Raises:
            SpecError: An override matches no tensor, an option has no effect, or the
                inner hypernetwork cannot start by an `Init`.
        """
        rules = self.init if init is None else init_from(init)
        inner = initializable(self.inner, "inner")
        refuse_without_effect(rules, self.init_options(rules), type(self).__name__)
        self.init = rules
        if self.init.normal_std is not None:
            self.starts = ()
            inner.initialize(concerning(self.inner, self.init))
            return
        self.starts = wanted_moments(self.target, self.init)
        wanted = dict(zip(self.target.names, self.starts, strict=True))
        widths = {param.name: sides(param)[1] for param in self.matrices}
        variances = {
            name: wanted[name].mean_square * width / (self.scale**2 * self.rank)
            for name, width in widths.items()
        }
        if only_counted(self):
            return
        # Both times the draws are the same, except for the size of B.
        with torch.random.fork_rng():
            inner.initialize(self._init_of_factors(wanted, variances))
        for name, mean_square in self._mean_squares().items():
            # A product that is zero cannot be scaled.
            variances[name] *= wanted[name].mean_square / mean_square if mean_square > 0 else 1.0
        inner.initialize(self._init_of_factors(wanted, variances))

    def init_options(self, init: Init) -> frozenset[str]:
        """The options of `Init` that have an effect here."""
        # Moments of the factors follow from those of the products.
        moments = MOMENTS if init.normal_std is None else frozenset[str]()
        return effective(self.inner, init) | moments

    def _init_of_factors(
        self, wanted: Mapping[str, Moments], variances: Mapping[str, float]
    ) -> Init:
        """Rules for the inner hypernetwork, with given variances of the factors B."""
        overrides: dict[str, tuple[float, float]] = {
            glob_escape(name): moments for name, moments in wanted.items() if name not in variances
        }
        for param in self.matrices:
            # A_0 has the variance 1 / (3 in) of `nn.Linear`; both together have 1 / in.
            overrides[f"{glob_escape(param.name)}.{FACTOR_A}"] = (
                0.0,
                2.0 / (3.0 * sides(param)[1]),
            )
        for name, variance in variances.items():
            overrides[f"{glob_escape(name)}.{FACTOR_B}"] = (0.0, variance)
        init = self.init.model_copy(update={"overrides": overrides})
        return concerning(self.inner, init)

    def _mean_squares(self) -> dict[str, float]:
        """Mean square of every product at the start, over conditions.

        It is the trace of (B^T B)(A A^T), which needs no product of full size.
        """
        inputs = calibration_inputs(self.inner, self.init, samples=_SAMPLES)[:_SAMPLES]
        factors = self._factors(Weights(self.inner.generate(inputs), self.inner.target))
        return {
            name: (
                self.scale**2
                # Both are [B, r, r] and symmetric, so the trace of their product is a
                # sum of products of entries.
                * float(((up.mT @ up) * (down @ down.mT)).sum(dim=(1, 2)).mean())
                / (up.shape[1] * down.shape[2])
            )
            for name, (down, up) in factors.items()
        }

    @property
    def scale(self) -> float:
        r"""$\alpha / r$."""
        return self.alpha / self.rank

    def transform(self, generated: Weights) -> FactoredWeights:
        """The weights as factors, which are multiplied where somebody needs it."""
        return FactoredWeights(self._with_shared(generated), self.target, scale=self.scale)

    def factors(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        r"""The factors of every matrix, which is `scale` times $B A$.

        Returns:
            By name: $A_0 + A(c)$, `[*batch, r, in · kernel]`, and $B(c)$, `[*batch,
            out, r]`.
        """
        return self._factors(
            self.inner(condition, cond_input=cond_input, uncond_input=uncond_input)
        )

    def _factors(self, generated: Weights) -> dict[str, tuple[Tensor, Tensor]]:
        factors = self._with_shared(generated)
        return {
            param.name: (
                factors[f"{param.name}.{FACTOR_A}"],
                factors[f"{param.name}.{FACTOR_B}"],
            )
            for param in self.matrices
        }

    def _with_shared(self, generated: Weights) -> Weights:
        """The generated factors plus $A_0$."""
        # One parameter for all matrices keeps the number of small tensors down, and one
        # addition that of operations.
        own = self.shared_A.split([self.rank * sides(param)[1] for param in self.matrices])
        shared = dict(
            zip((f"{param.name}.{FACTOR_A}" for param in self.matrices), own, strict=True)
        )
        parts = [
            shared[param.name] if param.name in shared else self.shared_A.new_zeros(param.numel)
            for param in generated.spec.params
        ]
        return generated + torch.cat(parts)


class ComponentOptions(LowRankOptions, InnerOption, total=False):
    """Options of the component `low_rank`."""


def low_rank(
    target: TargetSpec, conditions: ConditionSpec, **options: Unpack[ComponentOptions]
) -> LowRank:
    """Make a `LowRank` around any registered hypernetwork.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        **options: See `ComponentOptions`; `inner` generates the factors.

    Raises:
        SpecError: The rank or alpha is not positive, or the target has no matrix.
    """
    chosen = chosen_options(ComponentOptions, options)
    refuse_inner_init(chosen["inner"])
    return LowRank(
        target,
        lambda factors: build_inner(chosen["inner"], factors, conditions),
        **only(LowRankOptions, chosen),
    )


def _like_linear(rank: int, width: int) -> Tensor:
    """A flat draw of the weight of `nn.Linear(width, rank)`."""
    weight = torch.empty(rank, width)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight.flatten()
