"""One generated low-rank adapter per sample: a training step of transformers.

    python benchmarks/adapters_per_sample.py [THREADS] [ROUNDS]

A transformer of 4 layers of width 256 on 32 samples of 32 tokens, and the same on 36
patches of images, whose convolution is adapted too; rank 8. A step is the
forward and the backward pass (goals: at most 1.25x the plain network's, which has
gradients of its weights; at least 5x faster than a loop over weights that are
multiplied out; memory at most 1.3x). "hypernetwork" includes generating the factors.
"""

from __future__ import annotations

import ctypes
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


class Patches(nn.Module):
    """A transformer on the patches of images."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 8, stride=8)
        self.body = transformer()

    def forward(self, images: Tensor) -> Tensor:
        """Tokens `[B, patches, width]` of images `[B, 3, height, width]`."""
        tokens: Tensor = self.body(self.embed(images).flatten(2).transpose(1, 2))
        return tokens


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tokens": (transformer, (TOKENS, WIDTH)),
    "patches": (Patches, (3, 48, 48)),
}


def inputs(network: str) -> Tensor:
    return torch.randn(SAMPLES, 1, *NETWORKS[network][1])


def adapted(network: str, batching: str = "auto") -> tuple[MainNetwork, Delta]:
    """A main network, frozen, and the hypernetwork of its adapters."""
    torch.manual_seed(0)
    module = NETWORKS[network][0]()
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


def plain(network: str, *, frozen: bool = False) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    module, x = NETWORKS[network][0](), inputs(network).flatten(0, 1).requires_grad_(frozen)
    module.requires_grad_(not frozen)

    def step() -> Tensor:
        module.zero_grad()
        loss: Tensor = module(x).square().mean()
        loss.backward()
        return loss

    return step


def ours(
    network: str, batching: str = "auto", *, hypernetwork: bool = False
) -> Callable[[], Tensor]:
    net, hypernet = adapted(network, batching)
    x, users = inputs(network), torch.randn(SAMPLES, 16)
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


SIDES: dict[str, Callable[[str], Callable[[], Tensor]]] = {
    "plain": plain,
    "plain, frozen weights": functools.partial(plain, frozen=True),
    "factored": ours,
    "factored, hypernetwork": functools.partial(ours, hypernetwork=True),
    "loop": functools.partial(ours, batching="loop"),
}


def in_one_thread(name: str, network: str) -> Callable[[], Tensor]:
    """For the child processes that measure memory."""
    torch.set_num_threads(1)
    # Freed tensors go back to the system at once (M_MMAP_THRESHOLD of glibc), so that
    # the peak is that of tensors in use.
    ctypes.CDLL(None).mallopt(-3, 1 << 16)
    step = SIDES[name](network)
    step()  # the first call checks two sets
    return step


def compare(network: str, rounds: int) -> None:
    sides = {name: make(network) for name, make in SIDES.items()}
    difference = float((sides["factored"]() - sides["loop"]()).detach().abs())
    if difference > 1e-5:
        raise AssertionError(f"factored and loop differ by {difference}")
    times = interleaved(sides, rounds=rounds, warm_up=1)
    print(f"\n{network:<26}{'ms':>9}{'of plain':>10}   quartiles      {'loop / it':>9}{'MiB':>8}")
    for name in SIDES:
        middle, low, high = ratio(times, name, "plain")
        peak = peak_memory(in_one_thread, name, network)
        print(
            f"{name:<26}{median_ms(times[name]):>9.0f}{middle:>10.2f}   {low:.2f} to {high:.2f}"
            f"   {ratio(times, 'loop', name)[0]:>9.1f}{peak:>8.0f}",
            flush=True,
        )


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), load {os.getloadavg()[0]:.1f}, {rounds} interleaved rounds")
    for network in NETWORKS:
        compare(network, rounds)


if __name__ == "__main__":
    main()
