"""The optimisers of a task: groups of parameters, clipping and schedules as one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from hypnet_core.errors import ConfigError, HypnetError, did_you_mean, error_line
from hypnet_core.import_strings import import_object
from hypnet_zoo.continual.options import Group, Schedule, Train
from hypnet_zoo.optim.choose import make_optimizer
from hypnet_zoo.optim.lookahead import Like, lookahead


def check_options(train: Train) -> None:
    """Build the optimisers and the schedule for one number, which checks their options.

    Raises:
        ConfigError: An optimiser or scheduler, or one of its options, does not exist.
    """
    one = {"x": nn.Parameter(torch.zeros(1))}
    for key, group in {"": Group(), **train.groups}.items():
        try:
            made = _optimizer(list(one.values()), train, group)
        except ConfigError as error:
            where = f"groups.{key}.optimizer_options" if key else "optimizer_options"
            raise ConfigError(f"{where}: {error}") from error
    if train.schedule is not None:
        _scheduler(made, train.schedule)


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
            [] if schedule is None else [_scheduler(made, schedule) for made in self.optimizers]
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
                scheduler.step()

    def end_epoch(self, score: float | None) -> None:
        """Let schedules step that do so after each epoch.

        Args:
            score: The last validation score, which some schedules follow.
        """
        if self.train.schedule is None or self.train.schedule.every == "step":
            return
        for scheduler in self.schedulers:
            if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                if score is None:
                    raise ConfigError(
                        "train.schedule: ReduceLROnPlateau follows the validation score, but there"
                        " is none: set train.validate_every, and validation samples"
                    )
                scheduler.step(score)
            else:
                scheduler.step()

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
    # Options belong to their optimiser: another one starts without them.
    shared = train.optimizer_options if group.optimizer in {None, train.optimizer} else {}
    return make_optimizer(
        parameters,
        group.optimizer or train.optimizer,
        train.lr if group.lr is None else group.lr,
        {**shared, **group.optimizer_options},
    )


def cifar_factor(epoch: int) -> float:
    """Factor of the learning rate after some epochs, of residual networks on CIFAR."""
    for after, factor in ((180, 0.5e-3), (160, 1e-3), (120, 1e-2), (80, 1e-1)):
        if epoch > after:
            return factor
    return 1.0


def _scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule) -> Any:
    if schedule.name == "cifar":
        if schedule.options:
            raise ConfigError("train.schedule.options: cifar takes no options")
        return lr_scheduler.LambdaLR(optimizer, cifar_factor)
    made = _scheduler_type(schedule.name)
    known = set(inspect.signature(made).parameters) - {"optimizer"}
    for option in schedule.options:
        if option not in known:
            raise ConfigError(
                f"train.schedule.options: {schedule.name} has no option"
                f" {option!r}{did_you_mean(option, known)}"
            )
    try:
        return made(optimizer, **schedule.options)
    except HypnetError:
        raise
    # Schedulers index and compare their options before they check them.
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        raise ConfigError(f"train.schedule.options: {error_line(error, ValueError)}") from error


def _scheduler_type(name: str) -> Callable[..., Any]:
    if ":" in name:
        found: Callable[..., Any] = import_object(name)
        return found
    offered = {
        key: kind
        for key, kind in vars(lr_scheduler).items()
        if isinstance(kind, type)
        and issubclass(kind, lr_scheduler.LRScheduler)
        and not key.startswith("_")
        and kind is not lr_scheduler.LRScheduler
    }
    if name not in offered:
        raise ConfigError(
            f"train.schedule.name: there is no {name!r}{did_you_mean(name, ['cifar', *offered])}"
        )
    return offered[name]
