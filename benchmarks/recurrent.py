"""Recurrent networks with weights from outside, against the predecessor.

    python benchmarks/recurrent.py [THREADS] [ROUNDS]

Hidden size 128, 100 time steps, 32 inputs, 10 outputs. Goals without modulation inside
the recurrence: LSTM forward at least 2x at batch 64, forward and backward 9x at batch 1
and never slower at 64; Elman 1.3x forward, 3x forward and backward at batch 1. With
modulation inside: never slower. The predecessor's Elman layer computes an output from
its hidden state, so ours does here (`output_step`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from measure import interleaved, median_ms, predecessor, ratio
from torch import Tensor

from hypnet_core import MainNetwork, Weights
from hypnet_zoo.layers import Modulation
from hypnet_zoo.mainnets import SimpleRNN

Theirs = predecessor("hypnettorch.mnets.simple_rnn:SimpleRNN")

INPUTS, UNITS, OUTPUTS, STEPS = 32, 128, 10, 100


def sides(
    cell: str, batch: int, *, modulated: bool, backward: bool
) -> dict[str, Callable[[], object]]:
    """Both sides with the same weights, after checking that they compute the same."""
    torch.manual_seed(0)
    lstm = cell == "lstm"
    theirs = Theirs(
        n_in=INPUTS,
        rnn_layers=(UNITS,),
        fc_layers=(OUTPUTS,),
        use_lstm=lstm,
        no_weights=True,
        use_context_mod=modulated,
        no_last_layer_context_mod=True,
        context_mod_no_weights=True,
        verbose=False,
    )
    module = SimpleRNN(
        (INPUTS,),
        OUTPUTS,
        recurrent=(UNITS,),
        cell="lstm" if lstm else "elman",
        output_step=not lstm,
        context_mod=Modulation(output=False) if modulated else None,
    )
    net = MainNetwork(module)
    flat = 0.1 * torch.randn(net.target.numel)
    if modulated:
        context = net.target.select(kinds=["gain"]).names[0]
        flat[net.target.slice_of(context)] += 1
    named = {
        name: tensor.clone().requires_grad_(backward)
        for name, tensor in Weights(flat, net.target).items()
    }
    context_names = [name for name in net.target.names if "context" in name]
    plain_names = [name for name in net.target.names if "context" not in name]
    # Theirs: [W_ih, b_ih, W_hh, b_hh, (W_o, b_o), W_out, b_out], torch's recurrent
    # layers: [W_ih, W_hh, b_ih, b_hh].
    order = [plain_names[i] for i in (0, 2, 1, 3)] + plain_names[4:]
    internal = [named[name] for name in order]
    given: Any = (
        {"internal_weights": internal, "mod_weights": [named[n] for n in context_names]}
        if modulated
        else internal
    )
    x = torch.randn(batch, STEPS, INPUTS)
    time_first = x.transpose(0, 1).contiguous()
    torch.testing.assert_close(
        net(x, weights=named),
        theirs(time_first, weights=given).transpose(0, 1),
        atol=1e-4,
        rtol=1e-4,
    )

    return {
        "ours": lambda: _run(
            lambda: net(x, weights=named), list(named.values()), backward=backward
        ),
        "theirs": lambda: _run(
            lambda: theirs(time_first, weights=given), list(named.values()), backward=backward
        ),
    }


def _run(call: Callable[[], Tensor], leaves: list[Tensor], *, backward: bool) -> object:
    if not backward:
        with torch.no_grad():
            return call()
    for leaf in leaves:
        leaf.grad = None
    call().square().sum().backward()
    return None


CASES = [
    ("lstm", 64, False, False, 2.0),
    ("lstm", 64, False, True, 1.0),
    ("lstm", 1, False, True, 9.0),
    ("elman", 64, False, False, 1.3),
    ("elman", 64, False, True, 1.0),
    ("elman", 1, False, True, 3.0),
    ("lstm", 64, True, True, 1.0),
    ("lstm", 1, True, True, 1.0),
    ("elman", 64, True, True, 1.0),
    ("elman", 1, True, True, 1.0),
]


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), medians of {rounds} interleaved rounds, milliseconds")
    print(f"{'network':<42}{'ours':>8}{'theirs':>9}{'ratio':>8}   quartiles     goal")
    for cell, batch, modulated, backward, goal in CASES:
        times = interleaved(
            sides(cell, batch, modulated=modulated, backward=backward), rounds=rounds
        )
        middle, low, high = ratio(times, "theirs", "ours")
        what = (
            f"{cell}, batch {batch},"
            f" forward{' + backward' if backward else ''}{', modulated' if modulated else ''}"
        )
        print(
            f"{what:<42}{median_ms(times['ours']):>8.2f}{median_ms(times['theirs']):>9.2f}{middle:>8.2f}"
            f"   {low:.2f} to {high:.2f}  {goal:>5.1f}"
        )


if __name__ == "__main__":
    main()
