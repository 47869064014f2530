"""Locally connected layers and the network made of them, against the predecessor.

    python benchmarks/local_conv.py [THREADS] [ROUNDS]

`LocalConv2d` 64 to 128 channels on 14x14 pixels (kernel 5, stride 2), and
`bio_conv_net` with weights from outside. Goals: at least 10x at batch 32, peak memory
of the network's forward and backward at most 1/12, batch 1 no slower.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from measure import interleaved, median_ms, peak_memory, predecessor, ratio
from torch import Tensor

from hypnet_core import MainNetwork, Weights
from hypnet_zoo.layers import LocalConv2d
from hypnet_zoo.mainnets import BioConvNet

TheirNet = predecessor("hypnettorch.mnets.bio_conv_net:BioConvNet")
TheirLayer = predecessor("hypnettorch.utils.local_conv2d_layer:LocalConv2dLayer")

Sides = dict[str, Callable[[], object]]


def theirs_of(name: str, tensor: Tensor) -> Tensor:
    """Our tensor in the predecessor's order `[out, in * K * K, H * W]`."""
    if not name.startswith("local"):
        return tensor.clone()
    pixels = tensor.flatten(0, 1).flatten(2) if tensor.ndim == 6 else tensor.flatten(0, 1)
    return pixels.permute(1, 2, 0).contiguous() if pixels.ndim == 3 else pixels.t().contiguous()


def layer_sides(batch: int, *, backward: bool) -> Sides:
    torch.manual_seed(0)
    ours, theirs = LocalConv2d(64, 128, 14, 5, stride=2), TheirLayer(64, 128, 14, 14, 5, stride=2)
    with torch.no_grad():
        theirs.weights[0].copy_(theirs_of("local", ours.weight))
        assert ours.bias is not None
        theirs.weights[1].copy_(theirs_of("local", ours.bias))
    x = torch.randn(batch, 64, 14, 14)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    leaves = [*ours.parameters(), *theirs.parameters()]
    return {
        "ours": lambda: run(lambda: ours(x), leaves, backward=backward),
        "theirs": lambda: run(lambda: theirs(x), leaves, backward=backward),
    }


def network_side(side: str, batch: int, *, backward: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    net = MainNetwork(BioConvNet((3, 32, 32), 10))
    weights = Weights(0.02 * torch.randn(net.target.numel), net.target)
    x = torch.randn(batch, 3, 32, 32)
    if side == "ours":
        named = {name: tensor.clone().requires_grad_(backward) for name, tensor in weights.items()}
        del weights
        return lambda: run(lambda: net(x, weights=named), list(named.values()), backward=backward)
    theirs = TheirNet(no_weights=True)
    given = [theirs_of(name, tensor).requires_grad_(backward) for name, tensor in weights.items()]
    del weights
    flat = x.permute(0, 2, 3, 1).flatten(1)
    return lambda: run(lambda: theirs(flat, weights=given), given, backward=backward)


def network_sides(batch: int, *, backward: bool) -> Sides:
    sides = {side: network_side(side, batch, backward=backward) for side in ("ours", "theirs")}
    both = [network_side(side, batch, backward=False)() for side in sides]
    torch.testing.assert_close(both[0], both[1], atol=1e-4, rtol=1e-4)
    return sides


def memory_of(side: str) -> Callable[[], object]:
    torch.set_num_threads(1)
    return network_side(side, 32, backward=True)


def run(call: Callable[[], Tensor], leaves: list[Tensor], *, backward: bool) -> object:
    if not backward:
        with torch.no_grad():
            return call()
    for leaf in leaves:
        leaf.grad = None
    call().square().sum().backward()
    return None


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), medians of {rounds} interleaved rounds, milliseconds")
    print(f"{'what':<46}{'ours':>9}{'theirs':>9}{'ratio':>8}   quartiles        goal")
    for name, make in (
        ("LocalConv2d 64 to 128, 14x14", layer_sides),
        ("bio_conv_net, weights from outside", network_sides),
    ):
        for batch, goal in ((32, 10.0), (1, 1.0)):
            for backward in (False, True):
                times = interleaved(
                    make(batch, backward=backward),
                    rounds=rounds if batch == 1 else max(3, rounds // 3),
                )
                middle, low, high = ratio(times, "theirs", "ours")
                what = f"{name}, batch {batch}{', backward' if backward else ''}"
                print(
                    f"{what:<46}{median_ms(times['ours']):>9.2f}{median_ms(times['theirs']):>9.2f}{middle:>8.2f}"
                    f"   {low:.2f} to {high:.2f}   {goal:.0f}",
                    flush=True,
                )
    ours, theirs = peak_memory(memory_of, "ours"), peak_memory(memory_of, "theirs")
    print(
        f"peak memory of bio_conv_net, forward + backward, batch 32: {ours:.0f} and {theirs:.0f}"
        f" MiB, 1/{theirs / ours:.1f}   goal 1/12"
    )


if __name__ == "__main__":
    main()
