"""Context modulation: gains and shifts of activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError


class ContextMod(nn.Module):
    r"""Gains and shifts of activations, $y = x \odot g + s$.

    `shape` broadcasts against the activations `[N, *]`, and so decides which of them
    share a gain: `(F,)` has one per unit of a vector, `(C, 1, 1)` one per feature map,
    `(C, H, W)` one per pixel, `(T, F)` one per time step and unit. Gains start at 1 (at
    0 with `gain_offset`), shifts at 0.

    A **checkpoint** keeps the current gains and shifts under the next number;
    `forward(x, condition=i)` uses checkpoint `i`, and the number of checkpoints means
    the current ones. `MainNetwork` passes its own `condition` to every such layer.

    Args:
        shape: Shape of the gains and of the shifts, without the batch.
        gains: Whether there are gains.
        shifts: Whether there are shifts.
        gain_offset: Multiply by $1 + g$ instead of $g$, for generated gains that start
            near zero.
        softplus: Keep gains positive: $g$ becomes $\frac{1}{\beta} \log(1 + e^{\beta
            g})$, before the offset.
        softplus_scale: $\beta$.

    Raises:
        SpecError: There are neither gains nor shifts, or a size or `softplus_scale` is
            not positive.

    Example:
        >>> layer = ContextMod((2,))
        >>> gain, shift = torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])
        >>> layer(torch.ones(1, 2), gain=gain, shift=shift)
        tensor([[2., 4.]])

    References:
        Masse et al., Alleviating catastrophic forgetting using context-dependent
        gating, PNAS 2018, arXiv:1802.01569.
    """

    param_kinds: ClassVar[dict[str, str]] = {"gain": "gain", "shift": "shift"}

    kept_gains: Tensor | None
    kept_shifts: Tensor | None

    def __init__(
        self,
        shape: Sequence[int],
        *,
        gains: bool = True,
        shifts: bool = True,
        gain_offset: bool = False,
        softplus: bool = False,
        softplus_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not (gains or shifts):
            raise SpecError(
                "context modulation needs gains or shifts: not both can be switched off"
            )
        if any(n < 1 for n in shape):
            raise SpecError(f"shape: sizes must be positive, got {list(shape)}")
        if softplus_scale <= 0:
            raise SpecError(f"softplus_scale must be positive, got {softplus_scale}")
        self.shape = tuple(shape)
        self.gain_offset, self.softplus, self.softplus_scale = gain_offset, softplus, softplus_scale
        # `None` keeps the name out of `parameters()` and of the target.
        self.gain = nn.Parameter(torch.empty(self.shape)) if gains else None
        self.shift = nn.Parameter(torch.empty(self.shape)) if shifts else None
        # Buffers, so that checkpoints are saved with the network and never trained.
        self.register_buffer("kept_gains", torch.empty(0, *self.shape) if gains else None)
        self.register_buffer("kept_shifts", torch.empty(0, *self.shape) if shifts else None)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reset shifts to 0, and gains to 1, or to 0 with an offset.

        Activations then stay as they are, unless gains pass through a softplus.
        """
        if self.gain is not None:
            self.gain.fill_(0.0 if self.gain_offset else 1.0)
        if self.shift is not None:
            self.shift.zero_()

    @torch.no_grad()
    def normal_(self, std: float = 1.0) -> None:
        """Draw shifts from $N(0, std^2)$, and gains around their neutral value."""
        self.reset_parameters()
        for parameter in self.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=std)

    @torch.no_grad()
    def uniform_(self, bound: float = 1.0) -> None:
        """Draw shifts from $U(-bound, bound)$, and gains around their neutral value."""
        self.reset_parameters()
        for parameter in self.parameters():
            parameter.add_(torch.empty_like(parameter).uniform_(-bound, bound))

    @torch.no_grad()
    def sparse_(self, sparsity: float = 0.8) -> None:
        """Switch off a random share of the units, and reset the others.

        The gain of a unit that is off is 0 (-1 with an offset). A softplus is never 0,
        so it makes units weaker instead. Without gains, the shifts of the other units
        are drawn from $N(0, 1)$.

        Args:
            sparsity: Share of the units that are switched off.

        Raises:
            SpecError: `sparsity` is not in [0, 1].
        """
        if not 0.0 <= sparsity <= 1.0:
            raise SpecError(f"sparsity must lie in [0, 1], got {sparsity}")
        self.reset_parameters()
        count = self.shape_numel
        off = torch.randperm(count)[: round(sparsity * count)]
        if self.gain is not None:
            # Subtracting 1 from the neutral value gives 0, and -1 with an offset.
            self.gain.view(-1)[off] -= 1.0
        elif self.shift is not None:
            self.shift.normal_().view(-1)[off] = 0.0

    @property
    def shape_numel(self) -> int:
        """Number of gains, or of shifts."""
        return torch.Size(self.shape).numel()

    @property
    def num_checkpoints(self) -> int:
        """Number of checkpoints."""
        kept = self.kept_gains if self.gain is not None else self.kept_shifts
        return 0 if kept is None else len(kept)

    @torch.no_grad()
    def checkpoint(self, *, reset: bool = True) -> int:
        """Keep the current gains and shifts, as buffers that nothing trains.

        Args:
            reset: Whether to start the current ones anew afterwards.

        Returns:
            The number of the checkpoint, to be passed as `condition`.
        """
        number = self.num_checkpoints
        if self.gain is not None and self.kept_gains is not None:
            # A copy of all rows, which is cheap: it happens once per task.
            self.kept_gains = torch.cat([self.kept_gains, self.gain.unsqueeze(0)])
        if self.shift is not None and self.kept_shifts is not None:
            self.kept_shifts = torch.cat([self.kept_shifts, self.shift.unsqueeze(0)])
        if reset:
            self.reset_parameters()
        return number

    def tensors_at(self, condition: int) -> dict[str, Tensor]:
        """Gains and shifts of a checkpoint by name.

        The number of the next checkpoint, and all after it, refer to the current ones.

        Raises:
            ConditionError: The condition is negative.
        """
        if condition < 0:
            raise ConditionError(f"a condition is a number from 0, got {condition}")
        kept = {"gain": (self.gain, self.kept_gains), "shift": (self.shift, self.kept_shifts)}
        # A task that is being learned has no checkpoint yet and uses the current
        # tensors.
        past = condition < self.num_checkpoints
        return {
            name: rows[condition] if past else own
            for name, (own, rows) in kept.items()
            if own is not None and rows is not None
        }

    def forward(
        self,
        x: Tensor,
        *,
        gain: Tensor | None = None,
        shift: Tensor | None = None,
        condition: int | None = None,
    ) -> Tensor:
        """Modulate activations `[N, *]`.

        Args:
            x: Activations.
            gain: Gains instead of the layer's own, `shape` or, one set per sample, `[N,
                *shape]`; dimensions of the activations between the two, such as time,
                share them.
            shift: Shifts, likewise.
            condition: The checkpoint to use; given gains and shifts have priority.

        Raises:
            SpecError: A given tensor does not have that shape, the activations do not
                end in it, or the layer has no gains or shifts to replace.
            ConditionError: There is no such checkpoint.
        """
        self._check_activations(x)
        if condition is not None and condition > self.num_checkpoints:
            raise ConditionError(
                f"there is no checkpoint {condition}: there are {self.num_checkpoints}"
            )
        own = (
            {"gain": self.gain, "shift": self.shift}
            if condition is None
            else self.tensors_at(condition)
        )
        return self.modulate(
            x,
            self._pick("gain", gain, own.get("gain"), x),
            self._pick("shift", shift, own.get("shift"), x),
        )

    def modulate(self, x: Tensor, gain: Tensor | None, shift: Tensor | None) -> Tensor:
        """Apply gains and shifts that broadcast against `x`."""
        if gain is not None:
            x = x * self.factor(gain)
        # Both are optional, so neither costs anything where it is missing.
        return x if shift is None else x + shift

    def factor(self, gain: Tensor) -> Tensor:
        """The factor of the activations: the gain after softplus and offset."""
        if self.softplus:
            # Divided by the scale, so that it approaches the identity for large gains.
            gain = F.softplus(gain * self.softplus_scale) / self.softplus_scale
        # With an offset the neutral gain is 0, as generated weights are near the start.
        return 1.0 + gain if self.gain_offset else gain

    def _pick(
        self, name: str, given: Tensor | None, own: Tensor | None, x: Tensor
    ) -> Tensor | None:
        if given is None:
            return own
        if own is None:
            raise SpecError(f"this layer has no {name}s, but {name} was given")
        if tuple(given.shape) not in {self.shape, (len(x), *self.shape)}:
            raise SpecError(
                f"{name} must have shape {list(self.shape)} or {[len(x), *self.shape]}, got"
                f" {list(given.shape)}"
            )
        # Sets per sample share their gains over the dimensions in between, such as
        # time.
        if given.ndim == len(self.shape) or given.ndim >= x.ndim:
            return given
        return given.view(len(x), *(1,) * (x.ndim - given.ndim), *self.shape)

    def _check_activations(self, x: Tensor) -> None:
        # Broadcasting would also repeat activations, or fail without a name.
        ends = x.shape[x.ndim - len(self.shape) :] if x.ndim >= len(self.shape) else ()
        if len(ends) != len(self.shape) or any(
            own not in {1, n} for own, n in zip(self.shape, ends, strict=True)
        ):
            raise SpecError(
                f"context modulation of shape {list(self.shape)} does not fit activations"
                f" {list(x.shape)}"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object, **kwargs: object
    ) -> None:
        # A checkpoint of the network may hold more or fewer contexts than were kept
        # here.
        for name in ("kept_gains", "kept_shifts"):
            buffer, saved = getattr(self, name), state_dict.get(prefix + name)
            # Room of the saved size, for torch to copy into.
            if buffer is not None and saved is not None and saved.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Shape and form, for `print`."""
        return (
            f"{self.shape}, gains={self.gain is not None}, shifts={self.shift is not None},"
            f" gain_offset={self.gain_offset}"
        )
