"""A training step with many previous tasks: hypnet against hypnettorch 0.0.4.

    pip install --no-deps hypnettorch==0.0.4
    python benchmarks/hypercl_step.py [THREADS] [ROUNDS]

MLP 784-100-100-10, batch 32, Adam; a full HMLP 100-100, or chunks of 750 (the
predecessor's own default). Both sides start from the same parameters, and their losses
and gradients are compared before anything is timed. Chunks are written without the
offset and the scale of each weight, which the predecessor lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measure import interleaved, median_ms, peak_memory, predecessor, ratio

from hypnet_core import ConditionSpec, MainNetwork, TaskSpec
from hypnet_core.tasks import Batch, Heads, Problem, Split, Task
from hypnet_zoo.continual import Optimizations, Train
from hypnet_zoo.continual.methods import Hypernet, Protection
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP
from hypnet_zoo.mainnets import MLP

BETA, LR, BATCH = 0.01, 1e-3, 32
GOALS = {
    ("full", 5): 3.5,
    ("full", 20): 8.0,
    ("full", 100): 12.0,
    ("chunked", 5): 1.7,
    ("chunked", 20): 2.0,
}
Step = Callable[[], tuple[float, float]]


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (BATCH,), generator=generator)
    return Batch(torch.rand(BATCH, 784, generator=generator), y, torch.arange(BATCH), None)


def ours(kind: str, tasks: int) -> tuple[Step, Any]:
    torch.manual_seed(0)
    net = MainNetwork(MLP((784,), 10, hidden=(100, 100)))
    conditions = ConditionSpec(count=tasks + 1, size=8)
    hypernet = (
        HMLP(net.target, conditions)
        if kind == "full"
        else ChunkedHMLP(net.target, conditions, chunk_size=750)
    )
    spec = TaskSpec(name="t", kind="classification", in_shape=(784,), out_shape=(10,))
    data = batch()
    split = Split.of(data.x, data.y)
    heads = Heads(kind="single", sizes=(10,) * (tasks + 1))
    problem = Problem(
        net.module,
        [Task(spec, split, split)] * (tasks + 1),
        heads,
        optimizer=Optimizations(Train(lr=LR)),
    )
    method = Hypernet.from_networks(problem, net, hypernet, protect=Protection(beta=BETA))
    method.begin(tasks)

    def step() -> tuple[float, float]:
        losses = method.step(data)
        return losses["loss"].item(), losses["penalty"].item()

    return step, hypernet


def theirs(kind: str, tasks: int, like: Any) -> tuple[Step, Any]:
    TheirHMLP = predecessor("hypnettorch.hnets:HMLP")
    TheirChunkedHMLP = predecessor("hypnettorch.hnets:ChunkedHMLP")
    TheirMLP = predecessor("hypnettorch.mnets:MLP")
    calc_fix_target_reg = predecessor("hypnettorch.utils.hnet_regularizer:calc_fix_target_reg")
    get_current_targets = predecessor("hypnettorch.utils.hnet_regularizer:get_current_targets")

    net = TheirMLP(n_in=784, n_out=10, hidden_layers=(100, 100), no_weights=True, verbose=False)
    options = {
        "cond_in_size": 8,
        "layers": (100, 100),
        "num_cond_embs": tasks + 1,
        "verbose": False,
    }
    if kind == "full":
        hypernet = TheirHMLP(net.param_shapes, **options)
    else:
        hypernet = TheirChunkedHMLP(net.param_shapes, 750, chunk_emb_size=8, **options)
    if like is not None:
        copy_parameters(like, hypernet)
    targets = get_current_targets(tasks, hypernet)
    # As in its own example: the embeddings of all tasks stay trainable.
    optimizer = torch.optim.Adam(hypernet.internal_params, lr=LR)
    data = batch()

    def step() -> tuple[float, float]:
        net.train()
        hypernet.train()
        optimizer.zero_grad()
        weights = hypernet.forward(cond_id=tasks)
        task = F.cross_entropy(net.forward(data.x, weights=weights), data.y)
        penalty = calc_fix_target_reg(hypernet, tasks, targets=targets)
        (task + BETA * penalty).backward()
        optimizer.step()
        return task.item(), penalty.item()

    return step, hypernet


def copy_parameters(ours: Any, theirs: Any) -> None:
    """Give both sides the same start."""
    chunked = isinstance(ours, ChunkedHMLP)
    inner = ours.inner if chunked else ours
    values = [
        p.detach().clone() for p in (*ours.conditional_parameters(), *inner.trunk.parameters())
    ]
    values += [
        torch.cat([getattr(head, name).detach() for head in inner.linear_heads()])
        for name in ("weight", "bias")
    ]
    if chunked:
        values.append(ours.chunk_embeddings)
        first = ours.conditions.count
        size = ours.chunk_embeddings.shape[1]
        values[first] = values[first].roll(size, dims=1)  # they put the chunk embedding first
        ours.origin.reset()  # they have nothing like it
    with torch.no_grad():
        for theirs_one, ours_one in zip(theirs.internal_params, values, strict=True):
            theirs_one.copy_(ours_one)


def check_same(kind: str, tasks: int) -> None:
    """Losses of three steps agree, penalty included."""
    my_step, hypernet = ours(kind, tasks)
    their_step, their_hypernet = theirs(kind, tasks, hypernet)
    for number in range(3):
        (a, b), (c, d) = my_step(), their_step()
        for parameter in their_hypernet.conditional_params[:tasks]:
            parameter.requires_grad_(
                requires_grad=False
            )  # from here on both keep earlier embeddings
        if number == 0 and abs(a - c) > 1e-4 * abs(c):
            raise SystemExit(f"{kind}, {tasks} tasks: losses differ: {a} and {c}")
        if number == 1 and abs(b - d) > 0.05 * max(abs(d), 1e-6):
            raise SystemExit(f"{kind}, {tasks} tasks: penalties differ: {b} and {d}")


def ready_ours(kind: str, tasks: int) -> Callable[[], object]:
    torch.set_num_threads(1)
    step, _ = ours(kind, tasks)
    step()  # the optimiser's state, the same on both sides, is there from the first step on
    return lambda: [step() for _ in range(3)]


def ready_theirs(kind: str, tasks: int) -> Callable[[], object]:
    torch.set_num_threads(1)
    step, _ = theirs(kind, tasks, None)
    step()
    return lambda: [step() for _ in range(3)]


def main(threads: int, rounds: int) -> None:
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), {rounds} rounds, medians")
    print(
        f"{'hypernetwork':<14}{'tasks':>6}{'hypnettorch':>14}{'hypnet':>11}{'faster':>9}  "
        " quartiles      goal"
    )
    for kind in ("full", "chunked"):
        for tasks in (5, 20, 100):
            check_same(kind, tasks)
            my_step, hypernet = ours(kind, tasks)
            their_step, _ = theirs(kind, tasks, hypernet)
            times = interleaved({"theirs": their_step, "ours": my_step}, rounds=rounds)
            faster, low, high = ratio(times, "theirs", "ours")
            goal = GOALS.get((kind, tasks))
            print(
                f"{kind:<14}{tasks:>6}{median_ms(times['theirs']):>11.1f}"
                f" ms{median_ms(times['ours']):>8.1f} ms{faster:>8.2f}x   {low:.2f} - {high:.2f}  "
                f" {goal or ''}",
                flush=True,
            )
    for kind in ("full", "chunked"):
        mine, their_peak = peak_memory(ready_ours, kind, 100), peak_memory(ready_theirs, kind, 100)
        print(
            f"peak memory of a step, {kind}, 100 tasks: hypnettorch {their_peak:.0f} MiB, hypnet"
            f" {mine:.0f} MiB, {mine / their_peak:.2f}"
        )


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]), *(1, 9)[len(sys.argv) - 1 :])
