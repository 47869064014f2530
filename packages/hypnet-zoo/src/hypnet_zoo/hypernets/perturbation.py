"""Implicit distributions over weights, inflated with noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, Unpack

import torch
from torch import Tensor

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import Condition, HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.inner import (
    InnerOption,
    apply_outer_init,
    build_inner,
    check_hypernetwork,
    refuse_two_inits,
)
from hypnet_zoo.hypernets.wrapper import Wrapper
from hypnet_zoo.init.options import InitOption, chosen_options


class Inputs(NamedTuple):
    """The arguments of a call of a hypernetwork."""

    condition: Condition | None = None
    cond_input: Tensor | Mapping[str, Tensor] | None = None
    uncond_input: Tensor | None = None


class InputHandler(Protocol):
    """Maps the arguments of the wrapper to those of the inner hypernetwork."""

    def __call__(self, inputs: Inputs, /) -> Inputs:
        """The inner inputs."""
        ...


class OutputHandler(Protocol):
    """Maps generated weights to others of the same target."""

    def __call__(self, weights: Weights, inputs: Inputs, /) -> Weights:
        """The final weights."""
        ...


class Perturbed(Wrapper):
    r"""Adds noise to generated weights, so that their distribution has a density.

    A hypernetwork that maps a short noise vector to weights reaches only a thin surface
    in the space of all weights. With one noise value per weight, $z \in \mathbb{R}^P$,
    of which the inner hypernetwork sees the first $n$, the density is positive
    everywhere:

    $$ \omega = h(c, z_{1:n}; \theta) + \sigma z, \qquad z \sim \mathcal{N}(0, I) $$

    The unconditional input of this hypernetwork is $z$. Handlers replace either part:
    the arguments of the inner hypernetwork, and the transformation of its weights;
    `input_size` is then the length of the unconditional input.

    Args:
        inner: The hypernetwork; $n$ is the size of its unconditional input.
        noise_std: Standard deviation $\sigma$ of the noise.
        input_handler: Gives the inner inputs instead of $z_{1:n}$.
        output_handler: Gives the weights instead of adding $\sigma z$.
        input_size: Length of the unconditional input; the number $P$ of generated
            weights by default.

    Raises:
        SpecError: The noise is negative, the inner hypernetwork takes no unconditional
            input, or one longer than $z$.

    References:
        T. Karaletsos, P. Dayan, Z. Ghahramani: Probabilistic meta-representations of
        neural networks. arXiv:1810.00555, for implicit distributions over weights.

    Example:
        >>> from hypnet_zoo.hypernets import HMLP
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> inner = HMLP(target, ConditionSpec(count=0, size=0, input_size=8))
        >>> hnet = Perturbed(inner, noise_std=0.02)
        >>> hnet(uncond_input=hnet.noise(100)).batch_shape
        torch.Size([100])
    """

    def __init__(
        self,
        inner: HyperNetwork,
        *,
        noise_std: float = 0.02,
        input_handler: InputHandler | None = None,
        output_handler: OutputHandler | None = None,
        input_size: int | None = None,
    ) -> None:
        check_hypernetwork(inner, "inner")
        # One value of noise per weight, so that the density is positive everywhere.
        size = inner.target.numel if input_size is None else input_size
        needed = inner.conditions.input_size
        if not 0 <= noise_std < math.inf:
            raise SpecError(
                f"the standard deviation of the noise must not be negative, got {noise_std}"
            )
        if input_handler is None and not needed <= size:
            raise SpecError(
                f"the inner hypernetwork takes an unconditional input of size {needed}, but there"
                f" are only {size} values"
            )
        if output_handler is None and size != inner.target.numel:
            raise SpecError(
                f"one noise value per weight is needed, {inner.target.numel}, got input_size={size}"
            )
        super().__init__(
            # Callers of the whole pass the noise; the inner network sees a part of it.
            inner.target,
            inner,
            conditions=inner.conditions.model_copy(update={"input_size": size}),
        )
        self.noise_std = noise_std
        self._input_handler: InputHandler = (
            self._first_values if input_handler is None else input_handler
        )
        self._output_handler: OutputHandler = (
            self._add_noise if output_handler is None else output_handler
        )

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: As the inner hypernetwork takes it.
            uncond_input: The noise `[input_size]` or `[B, input_size]`.

        Raises:
            ConditionError: The noise is missing or has the wrong size.
            SpecError: A handler returns something other than weights of the target.
        """
        size = self.conditions.input_size
        if size and uncond_input is None:
            raise ConditionError(f"uncond_input of size {size} is missing: draw it with noise()")
        if uncond_input is not None and not isinstance(uncond_input, Tensor):
            raise ConditionError(
                f"uncond_input must be a tensor, got {type(uncond_input).__name__}"
            )
        if uncond_input is not None and (
            uncond_input.ndim not in {1, 2} or uncond_input.shape[-1] != size
        ):
            raise ConditionError(
                f"uncond_input must have shape [{size}] or [B, {size}], got"
                f" {list(uncond_input.shape)}"
            )
        outer = Inputs(condition, cond_input, uncond_input)
        within = self._input_handler(outer)
        # `object`: a handler of any origin may return something else.
        weights: object = self._output_handler(
            self.inner(
                within.condition, cond_input=within.cond_input, uncond_input=within.uncond_input
            ),
            outer,
        )
        if not isinstance(weights, Weights) or weights.spec.shapes != self.target.shapes:
            raise SpecError(
                f"the output handler must return weights of the target, got {weights!r}"
            )
        # A handler may have made new weights, which do not know the ids.
        return weights if condition is None else weights.belonging_to(condition)

    def noise(
        self, count: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Draw $z$, `[input_size]` or `[count, input_size]`."""
        like = next(self.parameters())  # device and dtype of the weights
        shape = (
            (self.conditions.input_size,) if count is None else (count, self.conditions.input_size)
        )
        return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)

    def _first_values(self, inputs: Inputs) -> Inputs:
        size = self.inner.conditions.input_size
        noise = inputs.uncond_input
        return inputs._replace(
            uncond_input=noise[..., :size] if size and noise is not None else None
        )

    def _add_noise(self, weights: Weights, inputs: Inputs) -> Weights:
        if inputs.uncond_input is None:
            raise ConditionError("the noise z is missing")  # `forward` refuses it before
        return weights + self.noise_std * inputs.uncond_input


class PerturbationOptions(InnerOption, InitOption, total=False):
    """Options `inner` and `init` of the component `perturbation`."""


def perturbation(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    noise_std: float = 0.02,
    **options: Unpack[PerturbationOptions],
) -> Perturbed:
    """Make a `Perturbed` around any registered hypernetwork.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions, embedding size, and number of noise values
            that the inner hypernetwork sees. The unconditional input of the whole is as
            long as the target.
        noise_std: Standard deviation of the noise.
        **options: See `PerturbationOptions`; `init` starts the inner hypernetwork. An
            `inner.init` is possible where `init` is not set.

    Raises:
        SpecError: An option of `init` has no effect, or both `init` and `inner.init`
            are set.
    """
    chosen = chosen_options(PerturbationOptions, options)
    refuse_two_inits(chosen["inner"], chosen["init"])
    inner = build_inner(chosen["inner"], target, conditions)
    apply_outer_init(inner, chosen["init"], "perturbation")
    return Perturbed(inner, noise_std=noise_std)
