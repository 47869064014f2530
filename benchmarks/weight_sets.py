"""Twenty sets of weights at once, for every main network.

    python benchmarks/weight_sets.py [THREADS] [ROUNDS]

1. The predecessor's loop: MLP 784-100-100-10 at batch 1 (goal: at least 5x) and LeNet
   forward (at least 1.2x).
2. Our own loop: no network may be slower than one set after the other.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from measure import interleaved, median_ms, predecessor, ratio
from torch import nn

from hypnet_core import MainNetwork, Weights
from hypnet_core.plugins import registry
from hypnet_core.specs import ParamKind
from hypnet_zoo.mainnets import (
    MLP,
    LeNet,
)

TheirLeNet = predecessor("hypnettorch.mnets.lenet:LeNet")
TheirMLP = predecessor("hypnettorch.mnets.mlp:MLP")

SETS = 20
NETWORKS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("mlp", (784,), {}),
    ("mlp", (784,), {"hidden": (400, 400)}),
    ("lenet", (1, 28, 28), {"arch": "mnist_small"}),
    ("lenet", (1, 28, 28), {}),
    ("zenkenet", (3, 32, 32), {}),
    ("resnet", (3, 32, 32), {"n": 3}),
    ("resnet", (3, 32, 32), {"n": 3, "statistics": None}),
    ("wide_resnet", (3, 32, 32), {"n": 2, "k": 1}),
    ("resnet_imagenet", (3, 32, 32), {"small_images": True, "feature_maps": (16, 16, 32, 64, 128)}),
    ("bio_conv_net", (1, 16, 16), {}),
    ("simple_rnn", (20, 32), {"recurrent": (64,)}),
    ("simple_rnn", (20, 32), {"recurrent": (64,), "cell": "elman"}),
    ("bi_rnn", (20, 32), {"recurrent": ((64,),)}),
    ("chunked_mlp", (784,), {}),
]


def start(net: MainNetwork) -> torch.Tensor:
    flat = 0.05 * torch.randn(SETS, net.target.numel)
    for param in net.target.select(kinds=[ParamKind.NORM_SCALE]).params if net.stats.params else ():
        flat[:, net.target.slice_of(param.name)] += 1
    return flat


def against_the_predecessor(rounds: int) -> None:
    print(
        f"\n{'the predecessor, a loop':<34}{'batch':>6}{'ours':>9}{'theirs':>9}{'ratio':>8}  "
        " quartiles      goal"
    )
    cases: list[tuple[str, nn.Module, Any, tuple[int, ...], int, float]] = []
    for batch, goal in ((1, 5.0), (32, 1.0)):
        cases.append(
            (
                "mlp",
                MLP((784,), 10),
                TheirMLP(784, 10, (100, 100), no_weights=True, verbose=False),
                (784,),
                batch,
                goal,
            )
        )
    cases.extend(
        (
            "lenet",
            LeNet((1, 28, 28), 10),
            TheirLeNet(no_weights=True, verbose=False),
            (1, 28, 28),
            batch,
            goal,
        )
        for batch, goal in ((32, 1.2), (1, 1.2))
    )
    for name, module, theirs, shape, batch, goal in cases:
        torch.manual_seed(0)
        net = MainNetwork(module.eval()).eval()
        theirs.eval()
        leaf = start(net).requires_grad_()
        x = torch.randn(batch, *shape)
        flat_x = x.flatten(1)
        for backward in (False, True):
            # Both sides take their weights from one flat tensor, as a hypernetwork
            # gives them.
            fixed = [
                list(one.tensors.values()) for one in Weights(leaf.detach(), net.target).unbind()
            ]

            def ours(
                net: MainNetwork = net,
                leaf: torch.Tensor = leaf,
                x: torch.Tensor = x,
                backward: bool = backward,
            ) -> Any:
                with torch.set_grad_enabled(backward):
                    y = net(x, weights=Weights(leaf, net.target))
                return finish(y, [leaf], backward=backward)

            def loop(
                net: MainNetwork = net,
                leaf: torch.Tensor = leaf,
                fixed: Any = fixed,
                theirs: Any = theirs,
                flat_x: torch.Tensor = flat_x,
                *,
                backward: bool = backward,
            ) -> Any:
                sets = (
                    [list(one.tensors.values()) for one in Weights(leaf, net.target).unbind()]
                    if backward
                    else fixed
                )
                with torch.set_grad_enabled(backward):
                    y = torch.stack([theirs(flat_x, weights=one) for one in sets])
                return finish(y, [leaf], backward=backward)

            with torch.no_grad():
                torch.testing.assert_close(
                    net(x, weights=Weights(leaf, net.target)),
                    loop(backward=False),
                    atol=1e-3,
                    rtol=1e-3,
                )
            times = interleaved({"ours": ours, "theirs": loop}, rounds=rounds)
            middle, low, high = ratio(times, "theirs", "ours")
            print(
                f"{name + (', backward' if backward else ', forward'):<34}{batch:>6}"
                f"{median_ms(times['ours']):>9.2f}{median_ms(times['theirs']):>9.2f}{middle:>8.2f}"
                f"   {low:.2f} to {high:.2f}   {'' if backward else goal}",
                flush=True,
            )


def against_our_own_loop(rounds: int) -> None:
    print(f"\n{'our own loop':<64}{'batch':>6}{'ours':>9}{'loop':>9}{'ratio':>8}   way (goal: 1)")
    for name, shape, options in NETWORKS:

        def make(
            name: str = name, shape: tuple[int, ...] = shape, options: dict[str, Any] = options
        ) -> nn.Module:
            frame = shape[-1:] if "rnn" in name else shape
            module: nn.Module = registry().get("mainnet", name).build(frame, 10, **options)
            return module

        for batch in (1, 32):
            torch.manual_seed(0)
            net, loop = MainNetwork(make()).eval(), MainNetwork(make(), batching="loop").eval()
            loop.load_state_dict(net.state_dict())
            leaf = start(net).requires_grad_()
            x = torch.randn(batch, *shape)
            for backward in (False, True):

                def call(
                    net: MainNetwork,
                    leaf: torch.Tensor = leaf,
                    x: torch.Tensor = x,
                    backward: bool = backward,
                ) -> Any:
                    with torch.set_grad_enabled(backward):
                        y = net(x, weights=Weights(leaf, net.target))
                    return finish(y, [leaf], backward=backward)

                times = interleaved(
                    {
                        "ours": functools.partial(call, net),
                        "loop": functools.partial(call, loop),
                    },
                    rounds=rounds,
                    warm_up=1,
                )
                what = f"{name} {options or ''}{', backward' if backward else ''}"
                print(
                    f"{what:<64}{batch:>6}{median_ms(times['ours']):>9.2f}"
                    f"{median_ms(times['loop']):>9.2f}{ratio(times, 'loop', 'ours')[0]:>8.2f}"
                    f"   {net.batching_used}",
                    flush=True,
                )


def finish(y: torch.Tensor, leaves: list[torch.Tensor], *, backward: bool) -> torch.Tensor:
    if backward:
        for leaf in leaves:
            leaf.grad = None
        y.square().sum().backward()
    return y


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.set_num_threads(threads)
    print(
        f"{threads} thread(s), {SETS} sets of weights, medians of {rounds} interleaved rounds,"
        " milliseconds"
    )
    against_the_predecessor(rounds)
    against_our_own_loop(max(3, rounds // 3))


if __name__ == "__main__":
    main()
