"""The cost of weights from outside in residual networks.

    python benchmarks/resnets.py [THREADS] [ROUNDS]

Forward and backward in training mode, batch 32, 3x32x32: `MainNetwork` against the
plain module with the same parameters. Goal: within 10 %.
"""

from __future__ import annotations

import sys

import torch
from measure import interleaved, median_ms, ratio

from hypnet_core import MainNetwork
from hypnet_core.plugins import registry

CASES = [
    ("resnet", {"n": 3}),
    ("resnet", {"n": 5}),
    ("wide_resnet", {"n": 2, "k": 2}),
    ("wide_resnet", {"n": 2, "k": 4}),
]


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), medians of {rounds} interleaved rounds, milliseconds")
    for name, options in CASES:
        torch.manual_seed(0)
        entry = registry().get("mainnet", name)
        module = entry.build((3, 32, 32), 10, **options).train()
        net = MainNetwork(entry.build((3, 32, 32), 10, **options)).train()
        weights = {key: p.detach().clone().requires_grad_() for key, p in module.named_parameters()}
        x = torch.randn(32, 3, 32, 32)
        torch.testing.assert_close(net(x, weights=weights), module(x))

        def plain(module: torch.nn.Module = module, x: torch.Tensor = x) -> None:
            module.zero_grad()
            module(x).square().sum().backward()

        def outside(
            net: MainNetwork = net, weights: dict[str, torch.Tensor] = weights, x: torch.Tensor = x
        ) -> None:
            for tensor in weights.values():
                tensor.grad = None
            net(x, weights=weights).square().sum().backward()

        times = interleaved({"outside": outside, "plain": plain}, rounds=rounds)
        middle, low, high = ratio(times, "outside", "plain")
        print(
            f"{name}"
            f" {options!s:<24}{median_ms(times['plain']):>9.1f}"
            f"{median_ms(times['outside']):>9.1f}{middle:>8.3f}"
            f"   {low:.3f} to {high:.3f}   goal 1.1",
            flush=True,
        )


if __name__ == "__main__":
    main()
