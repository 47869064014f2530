"""The cost of `MainNetwork`, and the fastest way to run many sets of weights.

    python benchmarks/main_network.py [THREADS] [ROUNDS]

1. One set of weights: `MainNetwork` against the plain module with the same parameters,
   forward and backward, batch 32. Goal: at most 1.10 of its time; on a tiny network at
   most 60 microseconds more per call. The column "from flat" takes the weights from one
   flat tensor, as a hypernetwork gives them, and so also pays for laying all gradients
   end to end.
2. Twenty sets: the way that `MainNetwork` chooses against a loop over plain calls.
   Goal: never slower.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from itertools import pairwise

import torch
from measure import interleaved, median_ms, ratio
from torch import nn

from hypnet_core import MainNetwork, Weights
from hypnet_core.networks import weights_of
from hypnet_zoo.mainnets import MLP

SETS = 20


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def plain_mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def resnet() -> nn.Module:
    import torchvision

    module: nn.Module = torchvision.models.resnet18(num_classes=10)
    return module


ONE_SET: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp 784-100-100-10": (lambda: MLP((784,), 10), (784,)),
    "lenet": (lenet, (1, 28, 28)),
    "resnet18, 32x32": (resnet, (3, 32, 32)),
}
MANY_SETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp 784-100-100-10": (lambda: MLP((784,), 10), (784,)),
    "mlp 784-400-400-10": (lambda: MLP((784,), 10, hidden=(400, 400)), (784,)),
    "plain 1-10-10-1": (lambda: plain_mlp(1, 10, 10, 1), (1,)),
    "plain 64-64-10": (lambda: plain_mlp(64, 64, 10), (64,)),
    "plain 784-100-100-10": (lambda: plain_mlp(784, 100, 100, 10), (784,)),
    "plain 784-400-400-10": (lambda: plain_mlp(784, 400, 400, 10), (784,)),
    "lenet": (lenet, (1, 28, 28)),
    "lstm 28-64": (lambda: nn.LSTM(28, 64, batch_first=True), (28, 28)),
}


def output_of(result: object) -> torch.Tensor:
    found = result[0] if isinstance(result, tuple) else result
    assert isinstance(found, torch.Tensor)
    return found


def one_set(rounds: int) -> None:
    print(
        f"\n{'one set, batch 32, forward + backward':<40}{'plain':>11}{'hypnet':>11}"
        f"{'ratio':>8}{'from flat':>11}"
        "   goal 1.10"
    )
    for name, (make, shape) in ONE_SET.items():
        torch.manual_seed(0)
        module = make().train()
        flat = weights_of(module).flat.requires_grad_()
        leaves = {key: p.detach().clone().requires_grad_() for key, p in module.named_parameters()}
        net = MainNetwork(make()).train()
        x = torch.randn(32, *shape)

        def plain(module: nn.Module = module, x: torch.Tensor = x) -> None:
            module.zero_grad()
            output_of(module(x)).square().sum().backward()

        def hypnet(
            net: MainNetwork = net, leaves: dict[str, torch.Tensor] = leaves, x: torch.Tensor = x
        ) -> None:
            for leaf in leaves.values():
                leaf.grad = None
            output_of(net(x, weights=leaves)).square().sum().backward()

        def from_flat(
            net: MainNetwork = net, flat: torch.Tensor = flat, x: torch.Tensor = x
        ) -> None:
            flat.grad = None
            output_of(net(x, weights=Weights(flat, net.target))).square().sum().backward()

        times = interleaved(
            {"plain": plain, "hypnet": hypnet, "flat": from_flat}, rounds=rounds * 4, warm_up=5
        )
        slower, with_flat = ratio(times, "hypnet", "plain")[0], ratio(times, "flat", "plain")[0]
        print(
            f"{name:<40}{median_ms(times['plain']):>8.2f} ms{median_ms(times['hypnet']):>8.2f}"
            f" ms{slower:>8.3f}{with_flat:>11.3f}"
        )


def tiny(rounds: int) -> None:
    module = plain_mlp(2, 4, 1)
    weights = weights_of(module)
    net = MainNetwork(plain_mlp(2, 4, 1))
    x = torch.randn(1, 2)
    with torch.no_grad():
        times = interleaved(
            {"plain": lambda: module(x), "hypnet": lambda: net(x, weights=weights)},
            rounds=rounds * 100,
            warm_up=50,
        )
    more = 1e3 * (median_ms(times["hypnet"]) - median_ms(times["plain"]))
    print(f"\ntiny network: {more:.0f} microseconds more per call (goal: at most 60)")


def many_sets(rounds: int) -> None:
    print(
        f"\n{f'{SETS} sets of weights':<24}{'batch':>6}{'':>10}{'loop':>11}{'hypnet':>11}"
        f"{'faster':>8}"
        "   way"
    )
    for name, (make, shape) in MANY_SETS.items():
        for batch in (1, 32, 128):
            torch.manual_seed(0)
            chosen, loop = MainNetwork(make()), MainNetwork(make(), batching="loop")
            leaf = (0.05 * torch.randn(SETS, chosen.target.numel)).requires_grad_()
            x = torch.randn(batch, *shape)
            for backward in (False, True):

                def call(
                    net: MainNetwork,
                    leaf: torch.Tensor = leaf,
                    x: torch.Tensor = x,
                    backward: bool = backward,
                ) -> None:
                    with torch.set_grad_enabled(backward):
                        y = output_of(net(x, weights=Weights(leaf, net.target)))
                    if backward:
                        leaf.grad = None
                        y.square().sum().backward()

                times = interleaved(
                    {
                        "loop": functools.partial(call, loop),
                        "hypnet": functools.partial(call, chosen),
                    },
                    rounds=rounds,
                )
                what = "+ backward" if backward else "forward"
                print(
                    f"{name:<24}{batch:>6}{what:>11}{median_ms(times['loop']):>7.2f}"
                    f" ms{median_ms(times['hypnet']):>8.2f}"
                    f" ms{ratio(times, 'loop', 'hypnet')[0]:>8.2f}   {chosen.batching_used}",
                    flush=True,
                )


def main(threads: int, rounds: int) -> None:
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), {rounds} rounds, medians")
    one_set(rounds)
    tiny(rounds)
    many_sets(rounds)


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]), *(1, 11)[len(sys.argv) - 1 :])
