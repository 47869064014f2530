"""The optimisers of a task: groups of parameters, clipping and schedules as one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from hypnet_core.errors import ConfigError, did_you_mean, error_line
from hypnet_zoo.continual.options import Group, Train
from hypnet_zoo.optim.choose import make_optimizer
from hypnet_zoo.optim.lookahead import Like, lookahead
from hypnet_zoo.optim.schedules import make_scheduler

NEEDS_SCORE = (
    "train.schedule: ReduceLROnPlateau follows the validation score, but there are no validation"
    " samples: set train.hold_out"
)


class Optimization:
    """One or several of torch's optimisers, which clip and follow a schedule.

    Args:
        parameters: The parameters, by name.
        train: Options of training.
        groups: Names of parameters, by the name of their group.

    Raises:
        ConfigError: A group of the configuration fits no parameter.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        train: Train,
        *,
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.train = train
        self.parameters = {name: p for name, p in parameters.items() if p.requires_grad}
        own = _by_key(self.parameters, train.groups, groups or {})
        self.optimizers = _optimizers(self.parameters, own, train)
        schedule = train.schedule
        self.schedulers = (
            []
            if schedule is None
            else [make_scheduler(made, schedule.name, schedule.options) for made in self.optimizers]
        )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Clip the gradients and take a step."""
        self.clip()
        for optimizer in self.optimizers:
            optimizer.step()
        if self.train.schedule is not None and self.train.schedule.every == "step":
            for scheduler in self.schedulers:
                _advance(scheduler)

    @property
    def follows_score(self) -> bool:
        """Whether the schedule follows the validation score."""
        return any(isinstance(one, lr_scheduler.ReduceLROnPlateau) for one in self.schedulers)

    def end_epoch(self, error: float | None) -> None:
        """Let a schedule step that does so after each epoch.

        Args:
            error: Validation error, lower is better, which some schedules follow.

        Raises:
            ConfigError: It is needed, but there is none.
        """
        if self.train.schedule is None or self.train.schedule.every == "step":
            return
        for scheduler in self.schedulers:
            if not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                _advance(scheduler)
            elif error is None:
                raise ConfigError(NEEDS_SCORE)
            else:
                scheduler.step(error)

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped."""
        return self.train.clip_norm is not None or self.train.clip_value is not None

    def clip(self) -> None:
        """Clip the gradients of all parameters together, as the options say."""
        parameters = list(self.parameters.values())
        if self.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.train.clip_norm)
        if self.train.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.train.clip_value)

    def clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The clipped gradients; torch's functions clip in place, without a graph."""
        bound, longest = self.train.clip_value, self.train.clip_norm
        if bound is not None:
            return [None if own is None else own.clamp(-bound, bound) for own in gradients]
        if longest is None:
            return list(gradients)
        norms = [own.norm() for own in gradients if own is not None]
        factor = (longest / (torch.stack(norms).norm() + 1e-6)).clamp(max=1.0)
        return [None if own is None else own * factor for own in gradients]

    def lookahead(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        like: Like = "optimizer",
        differentiable: bool = False,
    ) -> dict[str, Tensor]:
        """The step that all optimisers together would take; see `optim.lookahead`."""
        moved: dict[str, Tensor] = {}
        for optimizer in self.optimizers:
            moved |= lookahead(optimizer, parameters, like=like, differentiable=differentiable)
        return moved

    def state_dict(self) -> dict[str, Any]:
        """The states of all optimisers and schedules."""
        parts: tuple[tuple[str, Iterable[Any]], ...] = (
            ("optimizers", self.optimizers),
            ("schedulers", self.schedulers),
        )
        return {name: [one.state_dict() for one in found] for name, found in parts}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where the states were saved."""
        for optimizer, saved in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scheduler, saved in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(saved)


def _advance(scheduler: Any) -> None:
    """Let a schedule step, which may end before training does."""
    try:
        scheduler.step()
    except ValueError as error:
        raise ConfigError(f"train.schedule: {error_line(error, ValueError)}") from error


def _by_key(
    parameters: Mapping[str, nn.Parameter],
    wanted: Mapping[str, Group],
    groups: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """For each parameter with options of its own, the key of its group."""
    found: dict[str, str] = {}
    for key in wanted:
        names = (
            groups[key]
            if key in groups
            else [name for name in parameters if fnmatchcase(name, key)]
        )
        fitting = [name for name in names if name in parameters]
        # A named group may have nothing to train: the embeddings of no hypernetwork.
        if not fitting and key not in groups:
            raise ConfigError(
                f"train.groups: {key!r} fits no parameter"
                f"{did_you_mean(key, [*groups, *parameters])}"
            )
        for name in fitting:
            found.setdefault(name, key)
    return found


def _optimizers(
    parameters: Mapping[str, nn.Parameter], own: Mapping[str, str], train: Train
) -> list[torch.optim.Optimizer]:
    """One optimiser for each set of options; parameters with equal options together."""
    keys = dict.fromkeys([own.get(name, "") for name in parameters] or [""])
    return [
        _optimizer(
            [p for name, p in parameters.items() if own.get(name, "") == key],
            train,
            train.groups[key] if key else Group(),
        )
        for key in keys
    ]


def _optimizer(
    parameters: Sequence[nn.Parameter], train: Train, group: Group
) -> torch.optim.Optimizer:
    return make_optimizer(parameters, *train.optimizer_of(group))
