"""How far apart the conditions of a new hypernetwork start, and whether it learns.

    python benchmarks/init_spread.py [SEEDS] [--digits] [--transformer]

Every condition generates an MLP of rectifiers, 50 wide, for standard normal inputs. The
first table has quantiles of the root mean square of its outputs, over 100 conditions of
each seed; networks that are drawn independently, with the same variances, are the
reference. Goal: both outer quantiles within a factor of 3 of the reference, for 3 and
10 layers and embeddings of length 2, 8 and 32.

`--digits` trains hypernetworks that draw images for 150 steps on the digits of
scikit-learn (MLP 64-100-100-100-10, Adam, batches of 64). Goal: at least 85 % of the
test images, in 10 of 10 seeds.

`--transformer` generates a transformer layer in chunks of several sizes, and compares
its output with that of a layer with conventional draws. Goal: within 10 %.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.networks import Weights
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.hypernets import ChunkedHMLP
from hypnet_zoo.init import drawn_weights
from hypnet_zoo.mainnets import MLP

CONDITIONS, WIDTH = 100, 50
METHODS: dict[str, dict[str, Any]] = {
    "hmlp": {},
    "chunked_hmlp": {"chunk_size": 2000},
    "structured_hmlp": {},
    "shared_hmlp": {},
}
IMAGES: dict[str, Any] = {"filters": (64, 32, 16, 8), "attention_after": (1,)}


def sizes_of_outputs(net: MainNetwork, sets: Iterable[Weights]) -> Tensor:
    """Root mean square of the outputs under each set of weights."""
    x = torch.randn(64, WIDTH)
    return torch.stack([net(x, weights=one).square().mean().sqrt() for one in sets])


@torch.no_grad()
def spread(seeds: int) -> None:
    """Print the quantiles for each hypernetwork."""
    levels = torch.tensor([0.1, 0.5, 0.9])
    print(f"{'layers':>6} {'embedding':>9} {'':<16}{'10 %':>8}{'50 %':>8}{'90 %':>8}{'worst':>8}")
    for depth in (3, 10):
        net = MainNetwork(MLP((WIDTH,), 10, hidden=(WIDTH,) * (depth - 1)))
        draws = [drawn_weights(net.target) for _ in range(CONDITIONS * seeds)]
        usual = sizes_of_outputs(net, draws).quantile(levels)
        print(f"{depth:>6} {'':>9} {'independent':<16}" + "".join(f"{x:8.2f}" for x in usual))
        for size in (2, 8, 32):
            for name, options in METHODS.items():
                found = []
                for seed in range(seeds):
                    torch.manual_seed(seed)
                    conditions = ConditionSpec(count=CONDITIONS, size=size)
                    hypernet = HypernetChoice(name=name, **options).build(net.target, conditions)
                    weights = (hypernet(i) for i in range(CONDITIONS))
                    found.append(sizes_of_outputs(net, weights))
                quantiles = torch.cat(found).quantile(levels)
                ratios = quantiles[[0, 2]] / usual[[0, 2]]
                worst = torch.maximum(ratios, 1 / ratios).max().item()
                cells = "".join(f"{x:8.2f}" for x in (*quantiles, worst))
                print(f"{depth:>6} {size:>9} {name:<16}{cells}", flush=True)


def digits(seeds: int) -> None:
    """Train on digits, and print the accuracies and the size of the first outputs."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(labels)
    net = MainNetwork(MLP((64,), 10, hidden=(100, 100, 100)))
    for name in ("hdeconv", "chunked_hdeconv"):
        for seed in range(seeds):
            torch.manual_seed(seed)
            conditions = ConditionSpec(count=1, size=8)
            hypernet = HypernetChoice(name=name, **IMAGES).build(net.target, conditions)
            order = torch.randperm(len(x))
            train, test = order[:1400], order[1400:]
            first = net(x, weights=hypernet(0)).square().mean().sqrt().item()
            optimizer = torch.optim.Adam(hypernet.parameters())
            for _ in range(150):
                batch = train[torch.randint(len(train), (64,))]
                loss = nn.functional.cross_entropy(net(x[batch], weights=hypernet(0)), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            right = net(x[test], weights=hypernet(0)).argmax(dim=1) == y[test]
            accuracy = 100 * right.float().mean().item()
            print(f"{name:<16} seed {seed}: first outputs {first:.2f}, accuracy {accuracy:.1f} %")


@torch.no_grad()
def transformer() -> None:
    """Print the output of a generated transformer layer, relative to its due."""
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, norm_first=True)
    net = MainNetwork(layer)
    x = torch.randn(20, 8, 64)

    def branches(sets: Iterable[Weights]) -> float:
        # What the layer adds to its input.
        outputs = [net(x, weights=one) - x for one in sets]
        return torch.stack(outputs).square().mean().sqrt().item()

    due = branches(drawn_weights(net.target) for _ in range(50))
    for chunk_size in (50, 500, 5000, 50_000):
        torch.manual_seed(0)
        conditions = ConditionSpec(count=50, size=8)
        hypernet = ChunkedHMLP(net.target, conditions, chunk_size=chunk_size)
        found = branches(hypernet(i) for i in range(50))
        scales = hypernet(0)["norm1.weight"]
        print(
            f"chunks of {chunk_size:>6}: output {found / due:.3f} of its due, norm scales"
            f" {scales.mean():.3f} ± {scales.std():.3f}"
        )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    count = next((int(one) for one in arguments if one.isdigit()), 5)
    if "--digits" in arguments:
        digits(count)
    elif "--transformer" in arguments:
        transformer()
    else:
        spread(count)
