"""How far the conditions of a hypernetwork are apart before anything is trained.

    python benchmarks/init_spread.py [SEEDS]

1. The root mean square of a generated MLP's outputs, per condition: the quantiles at 10
   and 90 % over conditions and seeds, next to independently drawn networks. Goal: each
   within a factor of 3.
2. Hypernetworks of images: digits, an MLP of three hidden layers with 100 units, 150
   steps. Goal: at least 85 % with every seed.
3. Chunks: mean of the norm scales, and the size of what a transformer layer adds to its
   input, next to independent draws. Goal: scales around 1, outputs within 20 %.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec
from hypnet_zoo.hypernets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HDeconv,
    SharedHMLP,
    structured_hmlp,
)
from hypnet_zoo.init import drawn_weights
from hypnet_zoo.mainnets import MLP

Make = Callable[[TargetSpec, ConditionSpec], HyperNetwork]
CONDITIONS = 30
KINDS: dict[str, Make] = {
    "hmlp": HMLP,
    "chunked_hmlp": lambda target, conditions: ChunkedHMLP(target, conditions, chunk_size=1000),
    "structured_hmlp": structured_hmlp,
    "shared_hmlp": SharedHMLP,
}
SMALL_IMAGES: dict[str, Any] = {"filters": (32, 16, 16, 8), "attention_after": ()}
IMAGES: dict[str, Make] = {
    "hdeconv": lambda target, conditions: HDeconv(target, conditions, **SMALL_IMAGES),
    "chunked_hdeconv": lambda target, conditions: ChunkedHDeconv(
        target, conditions, **SMALL_IMAGES
    ),
}


def quantiles(values: Iterable[Tensor]) -> tuple[float, float, float]:
    low, middle, high = torch.cat(list(values)).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return low, middle, high


@torch.no_grad()
def spread(seeds: int) -> None:
    x = torch.randn(256, 32)
    print(f"output RMS per condition{'':<10}{'10 %':>8}{'50 %':>8}{'90 %':>8}")
    for width in (50, 100):
        for depth in (3, 10):

            def network(width: int = width, depth: int = depth) -> MLP:
                return MLP((32,), 10, hidden=(width,) * (depth - 1))

            drawn = []
            for seed in range(200):
                torch.manual_seed(seed)
                module = network()
                for layer in module.modules():
                    if isinstance(layer, nn.Linear):
                        nn.init.kaiming_normal_(layer.weight)
                        nn.init.zeros_(layer.bias)
                drawn.append(module(x).square().mean().sqrt().view(1))
            low, middle, high = quantiles(drawn)
            print(
                f"\n{depth} layers of {width}, drawn{'':<10}{low:>8.2f}{middle:>8.2f}{high:>8.2f}"
            )
            for kind, make in KINDS.items():
                for size in (2, 8, 32):
                    found = quantiles(_sizes(make, network(), size, x, seeds))
                    near = low / 3 < found[0] and found[2] < 3 * high
                    print(
                        f"  {kind:<16} e of {size:<9}{found[0]:>8.2f}{found[1]:>8.2f}"
                        f"{found[2]:>8.2f}{'' if near else '   too far'}",
                        flush=True,
                    )


def _sizes(make: Make, module: nn.Module, size: int, x: Tensor, seeds: int) -> Iterable[Tensor]:
    net = MainNetwork(module)
    for seed in range(seeds):
        torch.manual_seed(seed)
        hypernet = make(net.target, ConditionSpec(count=CONDITIONS, size=size))
        y = net(x, weights=hypernet(list(range(CONDITIONS))))
        yield y.square().mean((1, 2)).sqrt()


def images(seeds: int) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16).float(), torch.tensor(data.target)
    train, test = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(1300)
    print("\naccuracy after 150 steps")
    for kind, make in IMAGES.items():
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            net = MainNetwork(MLP((64,), 10, hidden=(100, 100, 100)))
            hypernet = make(net.target, ConditionSpec(count=1, size=8))
            optimizer = torch.optim.Adam(hypernet.parameters(), lr=1e-3)
            for _ in range(150):
                batch = train[torch.randint(len(train), (64,))]
                optimizer.zero_grad()
                output = net(x[batch], weights=hypernet(0))
                nn.functional.cross_entropy(output, y[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                right = net(x[test], weights=hypernet(0)).argmax(1) == y[test]
            found.append(100 * right.float().mean().item())
        each = " ".join(f"{one:.1f}" for one in found)
        print(f"  {kind:<16} {sum(one >= 85 for one in found)} of {seeds} at 85 % or more: {each}")


@torch.no_grad()
def chunks(seeds: int) -> None:
    print("\ntransformer layer by chunks: mean and standard deviation of norm scales, output RMS")
    x = torch.randn(8, 12, 64)
    torch.manual_seed(0)
    # Norms come first: a last one would hide what the weights before it do.
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
    net = MainNetwork(layer)
    draws = [net(x, weights=drawn_weights(net.target)) - x for _ in range(50)]
    own = torch.stack(draws).square().mean().sqrt().item()
    for size in (100, 1000, 10_000):
        scales, outputs = [], []
        for seed in range(seeds):
            torch.manual_seed(seed)
            hypernet = ChunkedHMLP(net.target, ConditionSpec(count=4), chunk_size=size)
            weights = hypernet([0, 1, 2, 3])
            scales.append(torch.cat([weights["norm1.weight"], weights["norm2.weight"]]).flatten())
            outputs.append((net(x, weights=weights) - x).square().mean().sqrt().item() / own)
        found = torch.cat(scales)
        print(
            f"  chunks of {size:<8,}{found.mean().item():>8.3f}{found.std().item():>8.3f}"
            f"   {min(outputs):.2f} to {max(outputs):.2f} of its due"
        )


def main(seeds: int = 10) -> None:
    torch.set_num_threads(1)
    print(f"{seeds} seeds, {CONDITIONS} conditions each")
    spread(seeds)
    images(seeds)
    chunks(seeds)


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:2]))
