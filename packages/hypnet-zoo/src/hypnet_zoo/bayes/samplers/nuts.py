"""The No-U-Turn sampler, all chains in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState, StepInfo
from hypnet_zoo.bayes.samplers._adaptive import AdaptationOptions, Tuning, normal
from hypnet_zoo.bayes.samplers._hamiltonian import Hamiltonian
from hypnet_zoo.bayes.samplers._tree import Tree


class NUTS(Hamiltonian):
    r"""The No-U-Turn sampler, with multinomial draws from its trajectories.

    A trajectory doubles, forwards or backwards in time, until it turns back on itself:
    until for the states at its ends, or at the ends of one of its balanced parts,

    $$ \Delta \cdot p_- \le 0 \quad\text{or}\quad \Delta \cdot p_+ \le 0, $$

    where $\Delta$ is the difference of the positions (under the inverse of the mass).
    The draw is one of its states, with probability proportional to $e^{-H}$ within a
    doubling, and biased towards the later doubling between them. Weights are kept as
    logarithms relative to the start, so that a constant in the log density does not
    matter.

    Doubling is a loop, not a recursion: all chains take their steps together, one
    gradient call for all, and those that have ended wait for the others. Memory is that
    of 16 states per chain, for any depth.

    Args:
        log_density: The log density, batched over chains.
        max_depth: The most doublings of a trajectory: it has at most $2^d - 1$ steps.
        target: Mean acceptance that the warm-up adapts the step size to; more makes
            steps shorter, against divergences.
        delta_max: A trajectory whose energy is off by more than this ends as divergent.
        **options: See `AdaptationOptions`.

    Raises:
        ConfigError: An option is impossible.
        SamplingError: The log density is an estimate from batches of the data.

    References:
        M. D. Hoffman, A. Gelman: The No-U-Turn sampler. JMLR 15, 2014, arXiv:1111.4246.
        M. Betancourt: A conceptual introduction to Hamiltonian Monte Carlo. 2017,
        appendix A, arXiv:1701.02434 (multinomial draws).
        D. Phan, N. Pradhan, M. Jankowiak: Composable effects for flexible and
        accelerated probabilistic programming in NumPyro. 2019, algorithm 2 (iterative).
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        max_depth: int = 10,
        target: float = 0.8,
        delta_max: float = 1000.0,
        **options: Unpack[AdaptationOptions],
    ) -> None:
        super().__init__(log_density, gradient=True, target=target, options=options)
        if not 1 <= max_depth <= 30:
            raise ConfigError(f"max_depth: 1 to 30 doublings are possible, got {max_depth}")
        self.max_depth = max_depth
        self.delta_max = delta_max

    def _move(
        self, state: SamplerState, tuning: Tuning, generator: torch.Generator
    ) -> tuple[Mapping[str, Tensor], StepInfo]:
        tree = Tree(
            lambda position: self.density.value_and_gradient(position, state.spec),
            state.chains,
            normal(state.position, generator),
            tuning,
            generator,
            delta_max=self.delta_max,
        )
        directions = (
            torch.rand(
                (self.max_depth, len(state.position)),
                generator=generator,
                device=state.position.device,
            )
            < 0.5
        )
        for depth in range(self.max_depth):
            tree.double(depth, forward=directions[depth])
            if tree.ended:
                break
        return tree.chains, tree.info()
