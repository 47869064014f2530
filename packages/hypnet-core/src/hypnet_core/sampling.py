"""The contract of samplers: Markov chains over parameters, all of them in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hypnet_core.specs import TargetSpec
    from hypnet_core.weights_like import WeightsLike


class LogDensity(Protocol):
    """The logarithm of a density over parameters, up to a constant.

    Any function will do that is batched over chains. `torch.vmap(f)` makes one of a
    function of single parameters.
    """

    def __call__(self, params: Mapping[str, Tensor], /) -> Tensor:
        """Log densities `[chains]` of parameters `[chains, *shape]`, by name."""


@runtime_checkable
class NoisyLogDensity(Protocol):
    """A log density that is estimated from some of the data, drawn for each step.

    Only samplers that are made for it (`sgld`, `sghmc`) use it.
    """

    def __call__(self, params: Mapping[str, Tensor], /) -> Tensor:
        """Estimates `[chains]` from the samples that were drawn last."""

    def resample(self, generator: torch.Generator, /) -> None:
        """Draw other samples.

        Args:
            generator: The only source of randomness, so that a resumed run sees the
                same samples.
        """


@dataclass(frozen=True)
class SamplerState:
    """The state of some chains, with all that their next step depends on.

    Attributes:
        spec: Names and shapes of the parameters.
        chains: Tensors with one row per chain, by name; `position` `[chains, numel]` is
            among them.
        shared: What all chains have in common, such as a step size: dictionaries, lists
            and tuples of tensors, numbers and text.
    """

    spec: TargetSpec
    chains: Mapping[str, Tensor]
    shared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> Tensor:
        """The parameters of all chains, `[chains, numel]`."""
        return self.chains["position"]

    def select(self, chains: Sequence[int]) -> SamplerState:
        """The state of some of the chains."""
        rows = {name: tensor[list(chains)] for name, tensor in self.chains.items()}
        return replace(self, chains=rows)


class StepInfo(NamedTuple):
    """One step of all chains: each field is a tensor `[chains]`.

    Attributes:
        accepted: Whether the chain moved (bool).
        acceptance: Probability to move; over all of a trajectory its mean (0 to 1).
        energy: The negative log density of the new state; with momenta, their kinetic
            energy is part of it.
        depth: Number of doublings of the trajectory, 0 without (int64).
        divergent: Whether the trajectory left the energy that it should keep (bool).
        gradients: Number of gradients of the log density in this step (int64).
    """

    accepted: Tensor
    acceptance: Tensor
    energy: Tensor
    depth: Tensor
    divergent: Tensor
    gradients: Tensor


@runtime_checkable
class Sampler(Protocol):
    """A Markov chain over parameters, in as many copies as there are chains.

    A component of the kind `sampler` is made from a log density and options. It keeps
    no state of its own, draws random numbers from the generator alone, and never
    changes a state: so a state can be saved and continued. A whole one:

    ```python
    from hypnet_core import Weights
    from hypnet_core.protocols import SamplerState, StepInfo


    class RandomWalk:
        '''Random-walk Metropolis.

    Args:
            std: Standard deviation of a step.
        '''

        def __init__(self, log_density, *, std: float = 1.0):
            self.log_density = log_density
            self.std = std

        def init(self, start):
            found = self.log_density(start).detach()
            chains = {"position": start.flat.detach().clone(), "log_density": found}
            return SamplerState(start.spec, chains)

        def step(self, state, generator):
            old, before = state.position, state.chains["log_density"]
            noise = torch.randn(old.shape, generator=generator, dtype=old.dtype)
            new = old + self.std * noise
            found = self.log_density(Weights(new, state.spec)).detach()
            acceptance = (found - before).exp().clamp(max=1.0).nan_to_num(0.0)
            luck = torch.rand(len(old), generator=generator, dtype=old.dtype)
            accepted = luck < acceptance
            chains = {
                "position": torch.where(accepted[:, None], new, old),
                "log_density": torch.where(accepted, found, before),
            }
            none = torch.zeros(len(old), dtype=torch.int64)
            info = StepInfo(
                accepted, acceptance, -chains["log_density"], none, none.bool(), none
            )
            return SamplerState(state.spec, chains), info
    ```
    """

    def init(self, start: WeightsLike, /) -> SamplerState:
        """The state of chains that start here.

        Args:
            start: Parameters of batch shape `[chains]`.

        Raises:
            SamplingError: The log density cannot be used: its shape is wrong, it is not
                finite at the start, or it has no gradient and needs one.
        """

    def step(
        self, state: SamplerState, generator: torch.Generator, /
    ) -> tuple[SamplerState, StepInfo]:
        """Advance all chains by one draw.

        Args:
            state: A state, which stays as it is.
            generator: The only source of randomness, on the device of the state.
        """


@runtime_checkable
class Adapts(Protocol):
    """A sampler that tunes itself while it warms up; those draws are not kept."""

    def warm_up(
        self, state: SamplerState, generator: torch.Generator, /, *, step: int, steps: int
    ) -> tuple[SamplerState, StepInfo]:
        """Advance all chains by one draw, and adapt.

        Args:
            state: A state, which stays as it is.
            generator: The only source of randomness.
            step: Number of this step, from 0.
            steps: Number of all steps of the warm-up.
        """


@runtime_checkable
class Climbs(Protocol):
    """A sampler whose chains climb to modes instead of exploring the distribution.

    The warm-up is the climb, and each chain then gives one draw.
    """

    climbs: bool
    """Whether it does."""
