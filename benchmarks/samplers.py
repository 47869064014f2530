"""Samplers: effective draws per gradient, chains in one batch, and a cold start.

    python benchmarks/samplers.py                      # ours
    python benchmarks/samplers.py --blackjax PYTHON    # and a cold start of BlackJAX's
    python benchmarks/samplers.py --predecessor        # and gradients per second of it

PYTHON is an interpreter of an environment with blackjax, which is no dependency. A cold
start is a new process, imports included, that draws 4 chains of 1,000 after 1,000 steps
of warm-up. The predecessor needs `hypnettorch`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from measure import interleaved, predecessor
from torch import Tensor

from hypnet_core import TargetSpec, Weights
from hypnet_core.protocols import SamplerState
from hypnet_zoo.bayes import ess_bulk, sample
from hypnet_zoo.bayes.samplers import HMC, NUTS

Density = Callable[[Mapping[str, Tensor]], Tensor]

EIGHT_SCHOOLS = """
import torch
y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
inverse = 1 / torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)
def eight_schools(params):
    mu, log_tau, z = params["mu"], params["log_tau"], params["z"]
    tau = log_tau.exp()
    scaled = (torch.addcmul(mu[:, None] - y, tau[:, None], z)) * inverse
    squares = (scaled.square() + z.square()).sum(-1) + (0.2 * mu).square()
    return log_tau - 0.5 * squares - torch.log1p(0.04 * tau.square())
shapes = {"mu": (), "log_tau": (), "z": (8,)}
start = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
"""

COLD = (
    EIGHT_SCHOOLS
    + """
from hypnet_zoo.bayes import sample
sample(eight_schools, "nuts", start, warmup=1000, draws=1000)
"""
)

BLACKJAX = """
import jax, jax.numpy as jnp, blackjax
jax.config.update("jax_enable_x64", True)
y = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
sigma = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])
def eight_schools(params):
    mu, log_tau, z = params["mu"], params["log_tau"], params["z"]
    tau = jnp.exp(log_tau)
    squares = (((y - mu - tau * z) / sigma) ** 2 + z**2).sum() + (mu / 5) ** 2
    return log_tau - 0.5 * squares - jnp.log1p((tau / 5) ** 2)
start = {"mu": jnp.zeros(()), "log_tau": jnp.zeros(()), "z": jnp.zeros(8)}
def chain(key):
    first, second = jax.random.split(key)
    warm_up = blackjax.window_adaptation(blackjax.nuts, eight_schools)
    (state, tuned), _ = warm_up.run(first, start, 1000)
    step = blackjax.nuts(eight_schools, **tuned).step
    def one(state, key):
        state, info = step(key, state)
        return state, state.position
    return jax.lax.scan(one, state, jax.random.split(second, 1000))[1]
found = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(0), 4))
jax.block_until_ready(found)
"""


def standard(params: Mapping[str, Tensor]) -> Tensor:
    """A standard Gaussian."""
    return -0.5 * params["x"].square().sum(-1)


def rotated() -> Density:
    """50 parameters with the condition number 1,000, rotated."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(50, 50, generator=generator, dtype=torch.float64))
    precision = (basis / torch.logspace(-3, 0, 50, dtype=torch.float64)) @ basis.T

    def log_density(params: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = -0.5 * ((params["x"] @ precision) * params["x"]).sum(-1)
        return found

    return log_density


def zeros(numel: int) -> dict[str, Tensor | float]:
    return {"x": torch.zeros(numel, dtype=torch.float64)}


def efficiency(seeds: int) -> None:
    """The smallest effective sample size of all parameters, per gradient."""
    namespace: dict[str, Any] = {}
    exec(EIGHT_SCHOOLS, namespace)  # noqa: S102
    cases: dict[str, tuple[Density, Any, dict[str, str]]] = {
        "N(0, I10)": (standard, zeros(10), {}),
        "eight schools": (namespace["eight_schools"], namespace["start"], {}),
        "rotated, diagonal": (rotated(), zeros(50), {"mass": "diagonal"}),
        "rotated, dense": (rotated(), zeros(50), {"mass": "dense"}),
    }
    print(f"{'ESS per gradient, NUTS':24}{'median':>9}{'least':>9}{'divergences':>13}")
    for name, (log_density, start, options) in cases.items():
        found, divergences = [], []
        for seed in range(seeds):
            draws = sample(log_density, {"name": "nuts", **options}, start, seed=seed)
            found.append(float(ess_bulk(draws.weights.flat).min()) / draws.gradients)
            divergences.append(draws.divergences)
        print(f"{name:24}{median(found):9.4f}{min(found):9.4f}{divergences!s:>13}")


def chains() -> None:
    """Seconds of the same number of steps, for batches of chains."""
    spec = TargetSpec.from_shapes([[10]], names=["x"])
    for name, made in (
        ("HMC, 10 steps", partial(HMC, num_steps=10, step_size=0.3)),
        ("NUTS", partial(NUTS, step_size=0.6)),
    ):
        sides = {}
        for count in (1, 4, 64):
            sampler = made(standard)
            generator = torch.Generator().manual_seed(0)
            start = torch.randn((count, 10), generator=generator, dtype=torch.float64)
            state = sampler.init(Weights(start, spec))

            def steps(
                sampler: HMC | NUTS = sampler,
                state: SamplerState = state,
                generator: torch.Generator = generator,
            ) -> None:
                for _ in range(10):
                    state, _ = sampler.step(state, generator)

            sides[str(count)] = steps
        times = {side: median(found) / 10 for side, found in interleaved(sides).items()}
        print(
            f"{name:16}"
            + "".join(f"  {side} chains {1e3 * found:.2f} ms" for side, found in times.items())
            + f"  64 / 4: {times['64'] / times['4']:.2f}"
        )


def cold(python: str | None) -> None:
    """Wall time of new processes."""
    sides = {"hypnet": [sys.executable, "-c", COLD]}
    if python is not None:
        sides["blackjax"] = [python, "-c", BLACKJAX]
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(3):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            begin = time.perf_counter()
            subprocess.run(sides[name], check=True, stderr=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - begin)
    for name, found in times.items():
        print(f"cold start, {name}: {median(found):.1f} s ({min(found):.1f} to {max(found):.1f})")


def against_predecessor() -> None:
    """Leapfrog steps per second of all chains: HMC with 10 steps, and NUTS."""
    multi_chain = predecessor("hypnettorch.utils.hmc:MultiChainHMC")
    evaluated = 0

    def potential(position: Tensor) -> Tensor:
        nonlocal evaluated
        evaluated += 1
        return 0.5 * position.square().sum()

    spec = TargetSpec.from_shapes([[10]], names=["x"])
    for kind, made, counts in (
        ("hmc", partial(HMC, num_steps=10, step_size=0.3), (1, 10, 50)),
        ("nuts", partial(NUTS, step_size=0.3), (1, 10)),
    ):
        options = {"num_steps": 10} if kind == "hmc" else {}
        for count in counts:
            generator = torch.Generator().manual_seed(0)
            start = torch.randn((count, 10), generator=generator)
            old = multi_chain(
                list(start.unbind()), potential, chain_type=kind, stepsize=0.3, **options
            )
            sampler = made(standard)
            state = sampler.init(Weights(start, spec))
            speeds: dict[str, list[float]] = {"old": [], "new": []}
            for _ in range(100):
                before, begin = evaluated, time.perf_counter()
                old.simulate_chains(1)
                seconds = time.perf_counter() - begin
                # A step of its NUTS evaluates three energies, and each draw two more.
                leapfrogs = (evaluated - before - 2 * count) // 3
                speeds["old"].append((10 * count if kind == "hmc" else leapfrogs) / seconds)
                begin = time.perf_counter()
                state, info = sampler.step(state, generator)
                speeds["new"].append(int(info.gradients.sum()) / (time.perf_counter() - begin))
            new, other = median(speeds["new"]), median(speeds["old"])
            print(
                f"{kind}, {count:2} chains: {new:9.0f} gradients/s, the predecessor"
                f" {other:7.0f}: {new / other:.1f} x"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blackjax", help="a Python with blackjax")
    parser.add_argument("--predecessor", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chains()
    if arguments.predecessor:
        against_predecessor()
    efficiency(arguments.seeds)
    cold(arguments.blackjax)
