"""Quadratic penalties on the change of parameters, kept in flat buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypnet_core.errors import CheckpointError, SpecError, listed
from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.regularizers._importance.chosen import Chosen, Mask, PerGroup


class QuadraticPenalty:
    r"""A penalty $s \, k \sum_i \Lambda_i (\theta_i - m_i)^2$ on named parameters.

    Importances $\Lambda$ and centre $m$ lie in one flat buffer each. Parameters are
    looked up by name in each call, so that heads may be added, or replaced by heads
    with more rows: what is new has no importance.

    Args:
        model: The module that owns the parameters.
        strength: $s$, for all parameters or for each named group.
        parameters: Which parameters, see `Mask`.
    """

    factor: ClassVar[float] = 1.0
    """The constant $k$."""

    def __init__(self, model: nn.Module, *, strength: PerGroup, parameters: Mask) -> None:
        self._chosen = Chosen(model, parameters)
        self._strengths = self._chosen.per_group("strength", strength)
        self.tasks = 0
        """Number of tasks so far."""
        self._offsets = dict.fromkeys(self._strengths, 0.0)
        self._spec = TargetSpec(params=())
        # Buffers by name, all of the same layout.
        self._buffers: dict[str, Tensor] = {
            name: torch.zeros(0) for name in ("importance", "center", *self._more_buffers())
        }
        self._dtype: torch.dtype | None = None
        self._fit()

    @staticmethod
    def _more_buffers() -> tuple[str, ...]:
        """Names of further buffers."""
        return ()

    @property
    def model(self) -> nn.Module:
        """The module that owns the parameters."""
        return self._chosen.module

    @property
    def importance(self) -> dict[str, Tensor]:
        r"""A copy of the importances $\Lambda$, by the name of the parameter."""
        self._fit()
        return dict(Weights(self._precision().clone(), self._spec))

    @property
    def center(self) -> dict[str, Tensor]:
        """A copy of the centre $m$, by the name of the parameter."""
        self._fit()
        return dict(Weights(self._buffers["center"].clone(), self._spec))

    def __call__(self) -> Tensor:
        """The penalty, a scalar; zero, without history, before the end of a task."""
        self._fit()
        if not self.tasks:
            return self._buffers["center"].new_zeros(())
        gap = self._chosen.flat() - self._buffers["center"]
        weighted = self._precision() * gap
        if isinstance(self._strength, Tensor):
            squares = torch.dot(self._strength * weighted, gap)
        else:
            squares = self._strength * torch.dot(weighted, gap)
        constant = sum(s * self._offsets[group] for group, s in self._strengths.items())
        return self.factor * squares + constant

    def by_group(self) -> dict[str, Tensor]:
        """The penalty of each named group, detached; `""` if there are no groups."""
        self._fit()
        with torch.no_grad():
            gap = self._chosen.flat() - self._buffers["center"]
            sums = self._group_sums(self.factor * self._precision() * gap.square())
        return {
            group: strength * (sums[group] + self._offsets[group])
            for group, strength in self._strengths.items()
        }

    def _group_sums(self, terms: Tensor) -> dict[str, Tensor]:
        """Sums of a flat buffer over each group."""
        views = Weights(terms, self._spec)
        sums = dict.fromkeys(self._strengths, terms.new_zeros(()))
        for name, group in self._chosen.groups.items():
            sums[group] = sums[group] + views[name].sum()
        return sums

    def _precision(self) -> Tensor:
        """The importances that the penalty uses."""
        return self._buffers["importance"]

    @torch.no_grad()
    def _fit(self) -> None:
        """Bring the buffers to the present layout, device and dtype."""
        like = next(iter(self._chosen.now.values()))
        held = self._buffers["center"]
        if self._chosen.spec is not self._spec:
            self._grow()
        elif held.device == like.device and like.dtype == self._dtype:
            return
        self._dtype = like.dtype
        place = (self._chosen.device, self._chosen.dtype)
        self._buffers = {name: flat.to(*place) for name, flat in self._buffers.items()}
        self._strength = self._chosen.per_scalar(self._strengths)
        self._changed()

    def _changed(self) -> None:
        """Called when parameters or buffers are other tensors than before."""

    def _grow(self) -> None:
        """Copy the buffers into the layout of the parameters as they are now."""
        new, old = self._chosen.spec, self._spec
        if new.names == old.names and new.shapes == old.shapes:
            self._spec = new
            return
        importance, kept = Weights(self._buffers["importance"], old), []
        for param in old:
            try:
                _check_growth(param.name, param.shape, new)
                kept.append(param)
            except SpecError:
                # What never mattered may go.
                if importance[param.name].any():
                    raise
        grown = {}
        for kind, flat in self._buffers.items():
            # New parameters start where they are, without importance.
            fresh = self._chosen.flat() if kind == "center" else torch.zeros(new.numel)
            fresh = fresh.detach().to(self._chosen.device, self._chosen.dtype, copy=True)
            before, after = Weights(flat, old), Weights(fresh, new)
            for param in kept:
                rows = slice(param.shape[0]) if param.shape else ...
                after[param.name][rows].copy_(before[param.name])
            grown[kind] = fresh
        self._buffers, self._spec = grown, new

    def state_dict(self) -> dict[str, Any]:
        """Everything that the penalty has learned: tensors and plain values."""
        self._fit()
        # A list: flat buffers depend on the order, which files may not keep.
        shapes = [[param.name, list(param.shape)] for param in self._spec]
        buffers = {name: flat.clone() for name, flat in self._buffers.items()}
        offsets = dict(self._offsets)
        return {"tasks": self.tasks, "offsets": offsets, "shapes": shapes, **buffers}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the penalty that gave `state` was.

        Raises:
            CheckpointError: The state is incomplete, or belongs to other parameters.
        """
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise CheckpointError(
                f"the state of {type(self).__name__} lacks {', '.join(sorted(missing))}"
            )
        shapes = {name: tuple(shape) for name, shape in state["shapes"]}
        spec = TargetSpec.from_shapes(shapes.values(), names=list(shapes))
        flats = {name: state[name] for name in self._buffers}
        try:
            for name, shape in shapes.items():
                _check_growth(name, shape, self._chosen.spec)
            for flat in flats.values():
                Weights(flat, spec)
        except SpecError as error:
            raise CheckpointError(
                f"the state of {type(self).__name__} is of other parameters: {error}"
            ) from None
        if state["offsets"].keys() != self._offsets.keys():
            raise CheckpointError(
                f"the state of {type(self).__name__} has the groups {listed(state['offsets'])},"
                f" here they are {listed(self._offsets)}"
            )
        self._buffers = {name: flat.detach().clone() for name, flat in flats.items()}
        self.tasks, self._spec = int(state["tasks"]), spec
        self._offsets = {group: float(value) for group, value in state["offsets"].items()}
        self._fit()


def _check_growth(name: str, shape: tuple[int, ...], now: TargetSpec) -> None:
    if name not in now:
        raise SpecError(f"the parameter {name!r}, which had an importance, is gone")
    new = now[name].shape
    if new[1:] != shape[1:] or len(new) != len(shape) or (shape and new[0] < shape[0]):
        raise SpecError(
            f"the parameter {name!r} had shape {list(shape)}, now it has {list(new)}: only the"
            " first dimension may grow"
        )
