"""Draws of a sampler: weights, statistics of each step, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError, RunError
from hypnet_core.networks import Weights
from hypnet_core.protocols import SamplerState, StepInfo
from hypnet_core.runs import load_checkpoint, pack, save_checkpoint, unpack
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.summary import Summary, summarize

STATISTICS = StepInfo._fields
"""Statistics of a step, in the order in which they are stored."""

_TYPES = {
    "accepted": torch.bool,
    "divergent": torch.bool,
    "depth": torch.int64,
    "gradients": torch.int64,
}
_MANY = 0.1


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of several chains.

    Attributes:
        weights: The parameters, of batch shape `[chains, draws]`: `net(x,
            weights=draws.weights)` is the predictive distribution.
        statistics: Statistics of each draw, `[chains, draws, 6]` in the order of
            `hypnet_core.protocols.StepInfo`; `stats` has them by name.
        state: The state of the chains after the last draw.
        random: The state of the source of randomness after it.
        setup: How they were made: the sampler, the warm-up, the seed.
    """

    weights: Weights
    statistics: Tensor
    state: SamplerState
    random: Tensor
    setup: Mapping[str, Any]

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.weights.batch_shape[0]

    def __len__(self) -> int:
        return self.weights.batch_shape[1]

    def __repr__(self) -> str:
        return f"Draws({self.chains} chains of {len(self)}, {self.weights.spec.numel} parameters)"

    @property
    def stats(self) -> dict[str, Tensor]:
        """Statistics of each draw by name, `[chains, draws]` each.

        See `hypnet_core.protocols.StepInfo`. With thinning, `gradients` are those of
        all steps since the draw before, and `divergent` says whether any of them was.
        """
        columns = zip(STATISTICS, self.statistics.unbind(dim=-1), strict=True)
        return {name: column.to(_TYPES.get(name, column.dtype)) for name, column in columns}

    @property
    def divergences(self) -> int:
        """Number of draws whose trajectory diverged."""
        return int(self.stats["divergent"].sum())

    @property
    def gradients(self) -> int:
        """Number of gradients of all chains, without the warm-up."""
        return int(self.stats["gradients"].sum())

    def summary(self) -> Summary:
        """Moments, quantiles, convergence and errors of each parameter.

        Raises:
            ConfigError: There are less than 4 draws of a chain.
        """
        found = summarize(self.weights)
        return replace(found, warnings=(*found.warnings, *self.warnings()))

    def warnings(self) -> Iterator[str]:
        """Remarks on suspicious steps, one line each."""
        total = self.chains * len(self)
        diverged = self.divergences
        if diverged > _MANY * total:
            yield (
                f"{diverged:,} of {total:,} draws diverged, so parts of the distribution are out of"
                " reach: warm up longer, raise target= (to 0.95 or 0.99) for shorter steps, or"
                " reparametrise (non-centred)"
            )
        elif diverged:
            yield f"{diverged:,} of {total:,} draws diverged"
        deepest = self.setup.get("max_depth")
        full = 0 if deepest is None else int((self.stats["depth"] >= deepest).sum())
        if full > _MANY * total:
            yield (
                f"{full:,} of {total:,} trajectories stopped at max_depth={deepest} before they"
                " turned back: use mass=dense, warm up longer, or raise max_depth="
            )

    def to_arviz(self) -> Any:
        """The draws as ArviZ's `InferenceData`, with the statistics that it knows.

        Raises:
            RunError: ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError:
            raise RunError("to_arviz() needs ArviZ: pip install 'hypnet-zoo[arviz]'") from None
        posterior = {name: tensor.cpu().numpy() for name, tensor in self.weights.items()}
        stats = {
            _IN_ARVIZ.get(name, name): values.cpu().numpy() for name, values in self.stats.items()
        }
        return arviz.from_dict(posterior=posterior, sample_stats=stats)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, which `load` reads.

        Raises:
            RunError: The file cannot be written.
        """
        tensors, rest = state_parts(self.state, self.random)
        tensors |= {"draws": self.weights.flat, "statistics": self.statistics}
        save_checkpoint(Path(path), tensors, {"draws": rest, "setup": dict(self.setup)})

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote, and verify its checksum.

        Raises:
            CheckpointError: The file is missing, damaged, or holds no draws.
        """
        found = load_checkpoint(Path(path), device=device)
        if "draws" not in found.state or "draws" not in found.tensors:
            raise CheckpointError(f"{path} holds no draws of a sampler")
        state, random = state_of(found.tensors, found.state["draws"])
        return cls(
            Weights(found.tensors["draws"], state.spec),
            found.tensors["statistics"],
            state,
            random,
            found.state["setup"],
        )


_IN_ARVIZ = {
    "acceptance": "acceptance_rate",
    "depth": "tree_depth",
    "divergent": "diverging",
    "gradients": "n_steps",
}


def state_parts(state: SamplerState, random: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state as tensors by name, and the rest as JSON."""
    whole = {"chains": dict(state.chains), "shared": dict(state.shared), "random": random}
    tensors, packed = pack("state", whole)
    return tensors, {"packed": packed, "spec": state.spec.model_dump(mode="json")}


def state_of(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> tuple[SamplerState, Tensor]:
    """The inverse of `state_parts`."""
    whole = unpack(tensors, rest["packed"])
    spec = TargetSpec.model_validate(rest["spec"])
    # Generators take their state from main memory.
    return SamplerState(spec, whole["chains"], whole["shared"]), whole["random"].cpu()
