"""A recurrent layer with context modulation.

An LSTM without modulation inside the recurrence runs as torch's fused kernel; all other
layers run as a loop over time.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Unpack, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.activations import activation_module
from hypnet_zoo.layers.context_mod import ContextMod
from hypnet_zoo.layers.modulation import Modulation
from hypnet_zoo.layers.recurrent_options import RecurrentInit, RecurrentLayerOptions, check_options
from hypnet_zoo.layers.stepwise_context_mod import StepwiseContextMod
from hypnet_zoo.layers.tanh_scan import TanhScan

State = tuple[Tensor, Tensor | None]


class Sequence(NamedTuple):
    """Outputs and states of a recurrent layer.

    Attributes:
        outputs: `[N, T, units]`, the inputs of the next layer.
        internal: `[N, T, units]`, cell states of an LSTM, hidden states of an Elman
            layer; `None` unless asked for.
    """

    outputs: Tensor
    internal: Tensor | None


class Recurrent(nn.Module):
    r"""A recurrent layer like `nn.RNN` (Elman) or `nn.LSTM`, with context modulation.

    An Elman layer computes $h_t = \phi(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})$
    and, with `output_step`, $y_t = \phi(W_o h_t + b_o)$. Modulation $m(z) = z \odot g +
    s$ acts as $\phi(m(\cdot))$ (`before`) or $m(\phi(\cdot))$ (`after`) in both; in
    an LSTM as $h_t = o_t \odot \tanh(m(c_t))$ or $m(o_t \odot \tanh(c_t))$.

    Shapes:
        - Input: `[N, T, in_features]`
        - Output: a `Sequence` of `[N, T, units]`

    Args:
        in_features: Length of one frame.
        units: Number of units.
        modulation: How gains and shifts modulate; none by default.
        **options: See `RecurrentLayerOptions`.

    Raises:
        SpecError: An option is impossible.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        modulation: Modulation | None = None,
        **options: Unpack[RecurrentLayerOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(RecurrentLayerOptions, options)
        check_options(in_features, units, chosen)
        cell, activation, bias = chosen["cell"], chosen["activation"], chosen["bias"]
        self.cell, self.bptt_depth = cell, chosen["bptt_depth"]
        self.context_at = chosen["context_at"]
        self.rnn: nn.RNNBase
        if cell == "lstm":
            self.rnn = nn.LSTM(in_features, units, bias=bias, batch_first=True)
        else:
            nonlinearity = "relu" if activation == "relu" else "tanh"
            self.rnn = nn.RNN(
                in_features, units, bias=bias, batch_first=True, nonlinearity=nonlinearity
            )
        self.activation = activation_module(activation)
        self.output = nn.Linear(units, units, bias=bias) if chosen["output_step"] else None
        # The input of an activation is the output of a product.
        after = modulation is not None and modulation.position == "after"
        self.position = "after" if after else "before"
        self.context = (
            None
            if modulation is None
            else modulation.layer((units,), steps=chosen["context_steps"])
        )
        # torch has no faster kernel for an Elman layer than the loop below, and its
        # backward pass is slower.
        self._fused = cell == "lstm"

    def initialize(self, init: RecurrentInit) -> None:
        """Draw the weights anew.

        Args:
            init: Torch's uniform draw, the same with orthogonal hidden-to-hidden
                matrices (one per gate), or Kaiming's draw of all weights.

        Raises:
            SpecError: There is no such initialisation.
        """
        if init not in get_args(RecurrentInit):
            raise SpecError(
                f"recurrent_init: there is no {init!r}{did_you_mean(init, get_args(RecurrentInit))}"
            )
        if init == "uniform":  # as torch's constructor drew
            return
        # Torch stacks the matrices of all gates; each is orthogonal by itself.
        units = self.rnn.hidden_size
        for name, parameter in self.rnn.named_parameters():
            if init == "orthogonal" and name.startswith("weight_hh"):
                for gate in parameter.data.split(units):
                    nn.init.orthogonal_(gate)
            elif init == "kaiming" and "bias" not in name:
                nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
            elif init == "kaiming":
                nn.init.uniform_(parameter, -1 / math.sqrt(units), 1 / math.sqrt(units))

    def forward(self, x: Tensor, *, want_internal: bool = False) -> Sequence:
        """Run over a sequence `[N, T, in_features]`.

        Args:
            x: The sequence.
            want_internal: Whether to return cell or hidden states of all time steps; an
                LSTM then runs step by step.
        """
        steps = x.shape[1]
        free = steps if self.bptt_depth is None else min(self.bptt_depth, steps)
        # The common case: gradients flow through all time steps.
        if free == steps:
            return self._with_output(*self._run(x, None, 0, steps, want_internal=want_internal)[:2])
        # Time steps before the last `free` ones only provide a state.
        with torch.no_grad():
            early, early_internal, state = self._run(
                x[:, : steps - free], None, 0, steps, want_internal=want_internal
            )
            early, _ = self._with_output(early, None, start=0, steps=steps)
        late, late_internal, _ = self._run(
            x[:, steps - free :], state, steps - free, steps, want_internal=want_internal
        )
        # The output step has no recurrence, so it runs on each part by itself.
        late, _ = self._with_output(late, None, start=steps - free, steps=steps)
        both = None
        if early_internal is not None and late_internal is not None:
            both = torch.cat([early_internal, late_internal], 1)
        return Sequence(torch.cat([early, late], 1), both)

    def _run(
        self, x: Tensor, state: State | None, start: int, steps: int, *, want_internal: bool
    ) -> tuple[Tensor, Tensor | None, State]:
        """Run over a part of a sequence of `steps` time steps that begins at `start`.

        Returns:
            Outputs, internal states, and the last state.
        """
        needs_steps = not self._fused or want_internal
        # Without modulation inside the recurrence the fused kernel serves all steps but
        # the last modulated one.
        if self.context is None or self.context_at == "last_step":
            end = start + x.shape[1]
            modulated = 1 if self.context is not None and end == steps else 0
            plain = self._stepped if needs_steps else self._run_fused
            if not modulated:
                return plain(x, state)
            if x.shape[1] == 1:
                return self._stepped(x, state, context=self.context, start=start)
            before, internal, state = plain(x[:, :-1], state)
            after, last_internal, state = self._stepped(
                x[:, -1:], state, context=self.context, start=end - 1
            )
            joined = (
                None
                if internal is None or last_internal is None
                else torch.cat([internal, last_internal], 1)
            )
            return torch.cat([before, after], 1), joined, state
        return self._stepped(x, state, context=self.context, start=start)

    def _run_fused(self, x: Tensor, state: State | None) -> tuple[Tensor, Tensor | None, State]:
        # The kernel has a dimension for layers, of which there is one.
        initial = None
        if state is not None:
            last_h, last_c = state
            initial = (last_h.unsqueeze(0), cast("Tensor", last_c).unsqueeze(0))
        outputs, (h, c) = self.rnn(x, initial)
        # The kernel works time first; a linear layer on its transposed view would be a
        # slow batched product.
        return outputs.contiguous(), None, (h[0], c[0])

    def _stepped(
        self, x: Tensor, state: State | None, *, context: ContextMod | None = None, start: int = 0
    ) -> tuple[Tensor, Tensor | None, State]:
        """Run step by step, with the products with all inputs computed at once."""
        weight, recurrent = self._tensor("weight_ih_l0"), self._tensor("weight_hh_l0")
        bias = None
        # Torch keeps two biases that only ever occur as their sum.
        if self.rnn.bias:
            bias = self._tensor("bias_ih_l0") + self._tensor("bias_hh_l0")
        # An LSTM's cell state `None` stands for zeros and spares a product.
        h, c = state if state is not None else (x.new_zeros(len(x), self.rnn.hidden_size), None)
        if (
            context is None
            and isinstance(self.activation, nn.Tanh)
            and self.cell == "elman"
            and x.device.type == "cpu"
        ):
            stacked: Tensor = TanhScan.apply(F.linear(x, weight, bias), recurrent, h)
            return stacked, stacked, (stacked[:, -1], None)
        # [N, units] per time step, all from one product
        inputs = F.linear(x, weight, bias).unbind(1)
        recurrent_t = recurrent.t()
        # Modulation is looked up once instead of at each step.
        modulations = _rows(context, start, len(inputs))
        outputs, internals = [], []
        for frame, (factor, shift) in zip(inputs, modulations, strict=True):
            z = torch.addmm(frame, h, recurrent_t)
            if self.cell == "lstm":
                h, c = self._lstm_step(z, c, factor, shift)
                internals.append(c)
            elif self.position == "before":
                h = self.activation(_modulated(z, factor, shift))
            else:
                h = _modulated(self.activation(z), factor, shift)
            outputs.append(h)
        joined = torch.stack(outputs, 1)
        return joined, torch.stack(internals, 1) if internals else joined, (h, c)

    def _tensor(self, name: str) -> Tensor:
        # An ordinary attribute: weights from outside are not in the parameters.
        return cast("Tensor", getattr(self.rnn, name))

    def _lstm_step(
        self, z: Tensor, c: Tensor | None, factor: Tensor | None, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        units = self.rnn.hidden_size
        # One sigmoid for input and forget gates; torch orders the gates i, f, g, o.
        gates, new, give_out = z.split([2 * units, units, units], 1)
        take_in, keep = torch.sigmoid(gates).chunk(2, 1)
        c = (
            take_in * torch.tanh(new)
            if c is None
            else torch.addcmul(take_in * torch.tanh(new), keep, c)
        )
        if self.position == "before":
            return torch.sigmoid(give_out) * torch.tanh(_modulated(c, factor, shift)), c
        return _modulated(torch.sigmoid(give_out) * torch.tanh(c), factor, shift), c

    def _with_output(
        self, hidden: Tensor, internal: Tensor | None, *, start: int = 0, steps: int | None = None
    ) -> Sequence:
        if self.output is None:
            return Sequence(hidden, internal)
        count = hidden.shape[1]
        z = self.output(hidden)
        if self.context is None:
            return Sequence(self.activation(z), internal)
        modulated = self._modulate_output(z, start)
        # Only the part that holds the last time step is modulated, and only there.
        if self.context_at == "last_step":
            ends = start + count == (count if steps is None else steps)
            plain = self.activation(z)
            modulated = torch.cat([plain[:, :-1], modulated[:, -1:]], 1) if ends else plain
        return Sequence(modulated, internal)

    def _modulate_output(self, z: Tensor, start: int) -> Tensor:
        rows = _rows(self.context, start, z.shape[1])
        # All steps have a factor, or none.
        factor, shift = (
            None if part[0] is None else torch.stack(part) for part in zip(*rows, strict=True)
        )
        if self.position == "before":
            activated: Tensor = self.activation(_modulated(z, factor, shift))
            return activated
        return _modulated(self.activation(z), factor, shift)


def _rows(
    context: ContextMod | None, start: int, count: int
) -> list[tuple[Tensor | None, Tensor | None]]:
    """Factor and shift of each time step from `start` on."""
    if context is None:
        return [(None, None)] * count
    factor = None if context.gain is None else context.factor(context.gain)
    if not isinstance(context, StepwiseContextMod):
        return [(factor, context.shift)] * count
    if start + count > context.shape[0]:
        raise SpecError(
            f"the sequence has {start + count} time steps, there is context modulation for"
            f" {context.shape[0]}"
        )
    factors = [None] * count if factor is None else factor.unbind(0)[start : start + count]
    shifts = (
        [None] * count if context.shift is None else context.shift.unbind(0)[start : start + count]
    )
    return list(zip(factors, shifts, strict=True))


def _modulated(x: Tensor, factor: Tensor | None, shift: Tensor | None) -> Tensor:
    if factor is None:
        return x if shift is None else x + shift
    return x * factor if shift is None else torch.addcmul(shift, x, factor)
