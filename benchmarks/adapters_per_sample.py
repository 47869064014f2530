"""One generated low-rank adapter per sample: a training step of a transformer.

    python benchmarks/adapters_per_sample.py [THREADS] [ROUNDS]

A transformer of 4 layers of width 256, 32 samples of 32 tokens, rank 8. A step is the
forward and the backward pass (goals: at most 1.25x the plain network's, which has
gradients of its weights; at least 5x faster than a loop over weights that are
multiplied out; memory at most 1.3x). "hypernetwork" includes generating the factors.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import torch
from measure import interleaved, median_ms, peak_memory, ratio
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork, weights_of
from hypnet_core.networks import FactoredWeights, Weights
from hypnet_zoo.hypernets import HMLP, Delta, LowRank

SAMPLES, TOKENS, WIDTH, FEED, LAYERS, RANK = 32, 32, 256, 768, 4, 8


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, FEED, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)


def inputs() -> Tensor:
    return torch.randn(SAMPLES, 1, TOKENS, WIDTH)


def adapted(batching: str = "auto") -> tuple[MainNetwork, Delta]:
    """A main network, frozen, and the hypernetwork of its adapters."""
    torch.manual_seed(0)
    module = transformer()
    base = weights_of(module)
    net = MainNetwork(
        module,
        lambda param: len(param.shape) > 1,
        batching="loop" if batching == "loop" else "auto",
    ).requires_grad_(False)
    conditions = ConditionSpec(count=0, size=16)
    low_rank = LowRank(
        net.target, lambda factors: HMLP(factors, conditions, hidden=(32,)), rank=RANK
    )
    hypernet = Delta(low_rank, base.select(net.target))
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return net, hypernet


def plain(*, frozen: bool = False) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    module, x = transformer(), inputs().flatten(0, 1).requires_grad_(frozen)
    module.requires_grad_(not frozen)

    def step() -> Tensor:
        module.zero_grad()
        loss: Tensor = module(x).square().mean()
        loss.backward()
        return loss

    return step


def ours(batching: str, *, hypernetwork: bool = False) -> Callable[[], Tensor]:
    net, hypernet = adapted(batching)
    x, users = inputs(), torch.randn(SAMPLES, 16)
    found = hypernet(cond_input=users)
    if not isinstance(found, FactoredWeights):
        raise TypeError("these weights are not factored")
    leaf = found.factors.flat.detach().requires_grad_()

    def step() -> Tensor:
        if hypernetwork:
            hypernet.zero_grad()
            weights = hypernet(cond_input=users)
        else:
            leaf.grad = None
            weights = found.with_factors(Weights(leaf, found.factors.spec))
        loss: Tensor = net(x, weights=weights, paired=True).square().mean()
        loss.backward()
        return loss

    return step


SIDES: dict[str, Callable[[], Callable[[], Tensor]]] = {
    "plain": plain,
    "plain, frozen weights": functools.partial(plain, frozen=True),
    "factored": functools.partial(ours, "auto"),
    "factored, hypernetwork": functools.partial(ours, "auto", hypernetwork=True),
    "loop": functools.partial(ours, "loop"),
}


def in_one_thread(name: str) -> Callable[[], Tensor]:
    """For the child processes that measure memory."""
    torch.set_num_threads(1)
    return SIDES[name]()


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.set_num_threads(threads)
    sides = {name: make() for name, make in SIDES.items()}
    difference = float((sides["factored"]() - sides["loop"]()).detach().abs())
    if difference > 1e-5:
        raise AssertionError(f"factored and loop differ by {difference}")
    print(f"{threads} thread(s), load {os.getloadavg()[0]:.1f}, {rounds} interleaved rounds")
    times = interleaved(sides, rounds=rounds, warm_up=1)
    print(f"{'':<26}{'ms':>9}{'of plain':>10}   quartiles      {'loop / it':>9}{'MiB':>8}")
    for name in SIDES:
        middle, low, high = ratio(times, name, "plain")
        peak = peak_memory(in_one_thread, name)
        print(
            f"{name:<26}{median_ms(times[name]):>9.0f}{middle:>10.2f}   {low:.2f} to {high:.2f}"
            f"   {ratio(times, 'loop', name)[0]:>9.1f}{peak:>8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
