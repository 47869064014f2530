"""Context modulation by time steps."""

from __future__ import annotations

from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_zoo.layers.context_mod import ContextMod


class StepwiseContextMod(ContextMod):
    """Context modulation `(T, F)` with gains and shifts for each time step.

    Sequences may be shorter than `T`.
    """

    def _check_activations(self, x: Tensor) -> None:
        # Time is not compared: sequences may be shorter.
        if x.ndim < 2 or self.shape[1] not in {1, x.shape[-1]}:
            raise SpecError(
                f"context modulation of shape {list(self.shape)} does not fit activations"
                f" {list(x.shape)}"
            )

    def modulate(self, x: Tensor, gain: Tensor | None, shift: Tensor | None) -> Tensor:
        """Modulate `[*, t, F]` with the first `t` rows.

        Raises:
            SpecError: The sequence is longer than `T`.
        """
        steps = x.shape[-2]
        if steps > self.shape[0]:
            raise SpecError(
                f"the sequence has {steps} time steps, there is context modulation for"
                f" {self.shape[0]}"
            )
        first = slice(0, steps)
        return super().modulate(
            x,
            None if gain is None else gain[..., first, :],
            None if shift is None else shift[..., first, :],
        )
