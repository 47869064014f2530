"""The choice of a search's proposer."""

from __future__ import annotations

from hypnet_hpsearch.propose.base import Proposer
from hypnet_hpsearch.propose.grid import GridProposer
from hypnet_hpsearch.spec.spec import SearchSpec

__all__ = ["proposer_of"]


def proposer_of(spec: SearchSpec) -> Proposer:
    """The proposer for a search's sampler.

    Raises:
        ConfigError: The grid, a range, a condition or the sampler is invalid.
        RunError: The sampler needs Optuna, which is not installed.
    """
    if not spec.adapts:
        return GridProposer(spec)
    # Optuna is an extra, and slow to import.
    from hypnet_hpsearch.propose.optuna.proposer import OptunaProposer

    return OptunaProposer(spec)
