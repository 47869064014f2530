"""The loop of sampling: warm-up, draws, metrics, and states to go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError, DivergedError, listed
from hypnet_core.networks import Weights
from hypnet_core.protocols import Adapts, Sampler, SamplerState, StepInfo
from hypnet_core.runs import Progress, difference, load_checkpoint, save_checkpoint
from hypnet_zoo.bayes._store import Store
from hypnet_zoo.bayes.draws import Draws, state_of, state_parts

LogMetrics: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""Receives the metrics of a step."""


class Keeper(Protocol):
    """Keeps the last state of a loop."""

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the state that is kept."""

    def load(self, device: torch.device) -> tuple[Mapping[str, Tensor], Mapping[str, Any]] | None:
        """The state that is kept; `None` if there is none."""


@dataclass(frozen=True)
class FileKeeper:
    """Keeps a state in one safetensors file.

    Attributes:
        path: The file.
    """

    path: Path

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the state that is kept."""
        save_checkpoint(self.path, tensors, {**state, "step": step})

    def load(self, device: torch.device) -> tuple[Mapping[str, Tensor], Mapping[str, Any]] | None:
        """The state that is kept; `None` if there is none."""
        return load_checkpoint(self.path, device=device) if self.path.exists() else None


@dataclass
class Loop:
    """Steps of all chains, from one state to the last draw.

    Attributes:
        sampler: The sampler.
        state: The state of the chains.
        generator: The source of randomness.
        store: Room for the draws.
        warmup: Steps of the warm-up.
        draws: Draws to keep of each chain.
        thin: Steps per draw.
        setup: How the draws are made, as JSON.
        keeper: Keeps states, if there is one.
        save_every: Steps between states that are kept.
        log: Receives metrics, if there is one.
        log_every: Steps between metrics.
        done: Steps so far.
    """

    sampler: Sampler
    state: SamplerState
    generator: torch.Generator
    store: Store
    warmup: int
    draws: int
    thin: int
    setup: Mapping[str, Any]
    keeper: Keeper | None = None
    save_every: int = 100
    log: LogMetrics | None = None
    log_every: int = 50
    done: int = 0
    _since: StepInfo | None = field(default=None, init=False)

    @property
    def total(self) -> int:
        """Number of all steps."""
        return self.warmup + self.draws * self.thin

    def restore(self) -> None:
        """Go on from the state that is kept, if there is one.

        Raises:
            CheckpointError: It belongs to something else.
        """
        found = None if self.keeper is None else self.keeper.load(self.state.position.device)
        if found is None:
            return
        tensors, rest = found
        changed = difference(rest.get("setup", {}), self.setup)
        if changed:
            raise CheckpointError(f"the state that is kept belongs to other draws: {changed}")
        self.state, random = state_of(tensors, rest["sampling"])
        self.generator.set_state(random)
        self.done = rest["done"]

    def run(self, shown: Progress) -> Draws:
        """Take all steps that are left.

        Raises:
            DivergedError: A parameter became infinite or NaN.
        """
        while self.done < self.total:
            info = self._step()
            if self.done % self.log_every == 0 or self.done == self.total:
                self._report(info, shown)
            if self.keeper is not None and (
                self._saves_here() or self.done in {self.warmup, self.total}
            ):
                self._save()
        return Draws(
            Weights(self.store.position, self.state.spec),
            self.store.statistics,
            self.state,
            self.generator.get_state(),
            self.setup,
        )

    def _saves_here(self) -> bool:
        # Between two draws, so that no statistics of half a draw are lost.
        steps = self.done - self.warmup
        return self.done % self.save_every < self.thin and (steps < 0 or steps % self.thin == 0)

    def _step(self) -> StepInfo:
        if self.done < self.warmup and isinstance(self.sampler, Adapts):
            self.state, info = self.sampler.warm_up(
                self.state, self.generator, step=self.done, steps=self.warmup
            )
        else:
            self.state, info = self.sampler.step(self.state, self.generator)
        self.done += 1
        drawn = self.done - self.warmup
        if drawn > 0:
            self._since = info if self._since is None else _joined(self._since, info)
            if drawn % self.thin == 0:
                self._check()
                self.store.put(drawn // self.thin - 1, self.state.position, self._since)
                self._since = None
        return info

    def _check(self) -> None:
        """Refuse to go on where steps of a sampler that never rejects explode."""
        position, value = self.state.position, self.state.chains.get("log_density")
        # The sum is finite unless a number is not (or they are enormous).
        total = position.sum() if value is None else position.sum() + value.sum()
        if torch.isfinite(total):
            return
        bad = (~torch.isfinite(position)).any(dim=0)
        spec = self.state.spec
        names = [name for name in spec.names if bad[spec.slice_of(name)].any()]
        if not names and (value is None or bool(torch.isfinite(value).all())):
            return
        raise DivergedError(
            f"after {self.done} steps {listed(names or ['the log density'], limit=4)} became"
            " infinite or NaN: take smaller steps (step_size)"
        )

    def _report(self, info: StepInfo, shown: Progress) -> None:
        self._check()
        metrics = {
            "energy": float(info.energy.mean()),
            "acceptance": float(info.acceptance.mean()),
        }
        if bool(info.gradients.any()):
            metrics["gradients"] = float(info.gradients.double().mean())
        size = self.state.shared.get("step_size")
        if isinstance(size, float):
            metrics["step_size"] = size
        if self.log is not None:
            self.log(self.done, metrics)
        shown.advance(
            self.done,
            description="warm-up" if self.done <= self.warmup else "draws",
            **metrics,
        )

    def _save(self) -> None:
        tensors, rest = state_parts(self.state, self.generator.get_state())
        state = {
            "sampling": rest,
            "setup": dict(self.setup),
            "done": self.done,
        }
        cast("Keeper", self.keeper).save(self.done, tensors, state)


def _joined(before: StepInfo, after: StepInfo) -> StepInfo:
    """The statistics of several steps, of which the last one gives the draw."""
    return after._replace(
        accepted=before.accepted | after.accepted,
        divergent=before.divergent | after.divergent,
        gradients=before.gradients + after.gradients,
    )
