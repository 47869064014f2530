"""Generated differences from a fixed or shared set of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.networks import (
    Condition,
    HasLinearHeads,
    HyperNetwork,
    LinearHead,
    Weights,
    check_tensors,
)
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork
from hypnet_zoo.hypernets._shared.inner import (
    InnerOption,
    apply_outer_init,
    build_inner,
    check_hypernetwork,
    refuse_two_inits,
)
from hypnet_zoo.hypernets.wrapper import Wrapper
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import MOMENTS, effective_in_draws, of_draws
from hypnet_zoo.init.moments import without_means
from hypnet_zoo.init.options import Init, InitOption, chosen_options, init_from


class Delta(Wrapper):
    r"""Generates differences from a set of weights that all conditions share.

    $$ \omega = \omega_0 + h(c, \theta) $$

    With $\omega_0$ the weights of a pretrained network and $h$ starting at zero,
    training starts at the pretrained network exactly, under every condition.

    Args:
        inner: Generates the difference; it keeps the conditions.
        base: The shared weights $\omega_0$, such as `weights_of(module)`; they are
            copied.
        trainable: Whether $\omega_0$ is a parameter of this hypernetwork, or a buffer
            that never changes.
        zero: Start the difference at exactly zero, by `inner.start_at_zero()`.

    Raises:
        WeightsError: The base is not a set of weights of the inner hypernetwork's
            target.
        SpecError: The base is not a mapping, or the inner hypernetwork cannot start at
            zero.

    Example:
        >>> from hypnet_core.networks import weights_of
        >>> from hypnet_zoo.hypernets import HMLP
        >>> pretrained = nn.Linear(3, 2)
        >>> base = weights_of(pretrained)
        >>> hnet = Delta(HMLP(base.spec, ConditionSpec(count=4, size=8)), base)
        >>> bool((hnet(3)["weight"] == pretrained.weight).all())
        True
    """

    base: Tensor

    def __init__(
        self,
        inner: HyperNetwork,
        base: Mapping[str, Tensor],
        *,
        trainable: bool = False,
        zero: bool = True,
    ) -> None:
        check_hypernetwork(inner, "inner")
        super().__init__(inner.target, inner)
        if not isinstance(base, Mapping):
            raise SpecError(
                f"the base must be weights, such as weights_of(module), got {type(base).__name__}"
            )
        if check_tensors(inner.target, base):
            raise SpecError("the base must be one set of weights, but it has a batch dimension")
        # A copy: training must not change the network that the base came from.
        flat = Weights.of(inner.target, base).flat.detach().clone()
        # Flat, so that adding it is one operation.
        if trainable:
            self.base = nn.Parameter(flat)
        else:
            self.register_buffer("base", flat)
        self.zero = zero
        if zero:
            inner.start_at_zero()
        elif isinstance(inner, InitializedHyperNetwork):
            self.initialize(inner.init)

    def initialize(self, init: Init | None = None) -> None:
        """Start the difference anew, at zero if it was built so; the base stays.

        Args:
            init: How to start the inner hypernetwork; by default as it was built.

        Raises:
            SpecError: The inner hypernetwork cannot start by an `Init`.
        """
        inner = self.inner
        if not self.zero and isinstance(inner, InitializedHyperNetwork):
            # Norm scales of 1 would add up to 2.
            init = without_means(inner.init if init is None else init_from(init), inner.target)
        super().initialize(init)
        # The inner start has just drawn its output layer anew.
        if self.zero:
            self.inner.start_at_zero()

    def transform(self, generated: Weights) -> Weights:
        """Add the shared weights."""
        return generated + self.base

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads of the inner hypernetwork; the shared weights must not change."""
        fixed = not isinstance(self.base, nn.Parameter)
        return (
            self.inner.heads_at(condition)
            if fixed and isinstance(self.inner, HasLinearHeads)
            else None
        )

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts: as in the inner hypernetwork."""
        inner = self.inner
        return inner.importance_of_outputs(importance) if isinstance(inner, HasLinearHeads) else []

    def delta(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        r"""The difference $\omega - \omega_0$ alone."""
        difference: Weights = self.inner(
            condition, cond_input=cond_input, uncond_input=uncond_input
        )
        return difference

    def start_at_zero(self) -> None:
        """Set both the difference and the shared weights to zero."""
        super().start_at_zero()
        with torch.no_grad():
            self.base.zero_()


class DeltaOptions(InnerOption, InitOption, total=False):
    """Options of hypernetworks that add a difference to shared weights."""


def delta(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    base: Path | None = None,
    trainable: bool = False,
    zero: bool = True,
    **options: Unpack[DeltaOptions],
) -> Delta:
    """Make a `Delta` around any registered hypernetwork.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        base: Safetensors file with the shared weights, a `state_dict` of the main
            network; a conventional draw by default.
        trainable: Whether the shared weights are trained too.
        zero: Start the difference at exactly zero.
        **options: See `DeltaOptions`; `init` starts the inner hypernetwork and,
            without a file, the shared weights. An `inner.init` is possible where `init`
            is not set.

    Raises:
        SpecError: The file cannot be read, or lacks a tensor; an option of `init` has
            no effect, or both `init` and `inner.init` are set.
    """
    chosen = chosen_options(DeltaOptions, options)
    init = chosen["init"]
    refuse_two_inits(chosen["inner"], init)
    shared = drawn_weights(target, of_draws(init)) if base is None else read_weights(base, target)
    inner = build_inner(chosen["inner"], target, conditions)
    if base is None:
        apply_outer_init(inner, init, "delta", effective_in_draws(init))
    else:
        # A difference of zero has no moments to choose.
        apply_outer_init(inner, init, "delta", without=MOMENTS if zero else frozenset())
    return Delta(inner, shared, trainable=trainable, zero=zero)


def read_weights(path: Path, target: TargetSpec) -> Weights:
    """Read the tensors of a target from a safetensors file, which may hold others too.

    Raises:
        SpecError: The file cannot be read, lacks a tensor, or holds one of another
            shape.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SpecError(f"{path} cannot be read as safetensors: {error}") from error
    missing = next((name for name in target.names if name not in found), None)
    if missing is not None:
        raise SpecError(f"{path} holds no {missing!r}{did_you_mean(missing, found)}")
    # The file may hold another precision than the hypernetwork computes in.
    tensors = {name: found[name].to(torch.get_default_dtype()) for name in target.names}
    try:
        return Weights.of(target, tensors)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
