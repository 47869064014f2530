"""How far apart the conditions of a new hypernetwork start.

Every condition generates an MLP of rectifiers, which meets standard normal inputs; the
table shows quantiles of the root mean square of its outputs, over conditions. Networks
drawn independently of each other, with the same variances, are the reference.

Run: `python benchmarks/init_spread.py [--digits]`; `--digits` also trains `hdeconv`.
"""

from __future__ import annotations

import torch

from hypnet_core import ConditionSpec
from hypnet_core.networks import MainNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.init import drawn_weights
from hypnet_zoo.mainnets import MLP

CONDITIONS = 200
SMALL = {"hdeconv": {"filters": [64, 32, 16, 8]}, "chunked_hmlp": {"chunk_size": 2000}}
METHODS = ("hmlp", "chunked_hmlp", "structured_hmlp", "shared_hmlp")


def output_rms(net: MainNetwork, weights: object) -> torch.Tensor:
    """Root mean square of the outputs of each generated network."""
    inputs = torch.randn(64, 50)
    with torch.no_grad():
        return torch.stack([net(inputs, weights=one).square().mean().sqrt() for one in weights])


def quantiles(values: torch.Tensor) -> torch.Tensor:
    """The 10 %, 50 % and 90 % quantiles."""
    return torch.quantile(values, torch.tensor([0.1, 0.5, 0.9]))


def main() -> None:
    for depth in (3, 10):
        net = MainNetwork(MLP((50,), 10, hidden=(50,) * (depth - 1)))
        reference = quantiles(
            output_rms(net, [drawn_weights(net.target) for _ in range(CONDITIONS)])
        )
        print(f"{depth} layers: drawn independently  " + "  ".join(f"{x:8.3f}" for x in reference))
        for size in (2, 8, 32):
            for name in METHODS:
                rows = []
                for seed in range(3):
                    torch.manual_seed(seed)
                    choice = HypernetChoice(name=name, **SMALL.get(name, {}))
                    hnet = choice.build(net.target, ConditionSpec(count=CONDITIONS, size=size))
                    with torch.no_grad():
                        weights = [hnet(i) for i in range(CONDITIONS)]
                    rows.append(quantiles(output_rms(net, weights)))
                for row in rows:
                    ratio = row / reference
                    print(
                        f"{name:16} size {size:3}  "
                        + "  ".join(f"{x:8.3f}" for x in row)
                        + "   ratio "
                        + "  ".join(f"{x:8.3f}" for x in ratio)
                    )


if __name__ == "__main__":
    main()
