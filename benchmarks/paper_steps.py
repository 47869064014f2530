"""A training step at the published configurations: hypnet against hypnettorch 0.0.4.

    pip install --no-deps hypnettorch==0.0.4
    python benchmarks/paper_steps.py [ROUNDS] [NAME …]

The networks of the recipes `hypercl_split_mnist`, `hypercl_permuted_mnist_10`,
`hypercl_permuted_mnist_100` and `hypercl_cifar_resnet32`, a batch of random inputs, and
Adam, on one thread. Both sides start from the same parameters, and their losses are
compared before anything is timed. As in `hypercl_step.py` the offset and the scale of
each weight are left out; the last column is the step with them, as users run it.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from hypercl_step import BETA, Step, copy_parameters
from measure import interleaved, median_ms, predecessor, ratio

from hypnet_core import ConditionSpec, MainNetwork, TaskSpec
from hypnet_core.tasks import Batch, Heads, Problem, Split, Task
from hypnet_zoo.continual import Optimizations, Train
from hypnet_zoo.continual.methods import Hypernet, Protection
from hypnet_zoo.hypernets import ChunkedHMLP
from hypnet_zoo.mainnets import MLP, ResNet


class Paper(NamedTuple):
    """A published configuration.

    Attributes:
        tasks: Number of earlier tasks.
        units: Outputs of the main network.
        hidden: Widths of the main network; `None` for ResNet-32.
        batch: Samples in a batch.
        embedding: Length of a task's embedding.
        chunk_embedding: Length of a chunk's.
        chunk: Weights in a chunk.
        layers: Widths of the hypernetwork.
        activation: Its nonlinearity.
        goal: How much faster a step should be than the predecessor's.
    """

    tasks: int
    inputs: int
    units: int
    hidden: tuple[int, ...] | None
    batch: int
    embedding: int
    chunk_embedding: int
    chunk: int
    layers: tuple[int, ...]
    activation: str
    goal: float


_P100 = Paper(20, 1024, 1000, (1000, 1000), 128, 128, 12, 7500, (200, 250, 350), "relu", 4.0)
PAPERS = {
    "split_mnist": Paper(4, 784, 10, (400, 400), 128, 96, 96, 42_000, (10, 10), "relu", 2.0),
    "permuted_10": Paper(9, 1024, 100, (1000, 1000), 128, 24, 8, 78_000, (25, 25), "elu", 4.0),
    "permuted_100": _P100,
    "permuted_100_last": _P100._replace(tasks=99),
    "resnet32": Paper(5, 3072, 60, None, 32, 32, 32, 7000, (), "relu", 1.5),
}


def batch(paper: Paper) -> Batch:
    """Random inputs, flat for an MLP."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(paper.units, (paper.batch,), generator=generator)
    x = torch.rand(paper.batch, paper.inputs, generator=generator)
    x = x if paper.hidden else x.view(-1, 3, 32, 32)
    return Batch(x, y, torch.arange(paper.batch), None)


def ours(paper: Paper, *, plain: bool = True) -> tuple[Step, Hypernet]:
    """A step, and its method."""
    torch.manual_seed(0)
    data = batch(paper)
    shape = tuple(data.x.shape[1:])
    net = MainNetwork(
        MLP(shape, paper.units, hidden=paper.hidden)
        if paper.hidden
        else ResNet(shape, paper.units, n=5, conv_bias=True)
    )
    hypernet = ChunkedHMLP(
        net.target,
        ConditionSpec(count=paper.tasks + 1, size=paper.embedding),
        chunk_size=paper.chunk,
        chunk_embedding_size=paper.chunk_embedding,
        hidden=paper.layers,
        activation=paper.activation,
    )
    if plain:
        hypernet.origin.reset()
    spec = TaskSpec(name="t", kind="classification", in_shape=shape, out_shape=(paper.units,))
    split = Split.of(data.x, data.y)
    problem = Problem(
        net.module,
        [Task(spec, split, split)] * (paper.tasks + 1),
        Heads(kind="single", sizes=(paper.units,) * (paper.tasks + 1)),
        optimizer=Optimizations(Train(lr=1e-3)),
    )
    method = Hypernet.from_networks(problem, net, hypernet, protect=Protection(beta=BETA))
    method.begin(paper.tasks)

    def step() -> tuple[float, float]:
        losses = method.step(data)
        return losses["loss"].item(), losses["penalty"].item()

    return step, method


def theirs(paper: Paper, like: Any) -> Step:
    """The predecessor's step, from the same parameters."""
    regularizer = "hypnettorch.utils.hnet_regularizer"
    calc_fix_target_reg = predecessor(f"{regularizer}:calc_fix_target_reg")
    get_current_targets = predecessor(f"{regularizer}:get_current_targets")
    data = batch(paper)
    if paper.hidden:
        net = predecessor("hypnettorch.mnets:MLP")(
            n_in=paper.inputs,
            n_out=paper.units,
            hidden_layers=paper.hidden,
            no_weights=True,
            verbose=False,
        )
    else:
        net = predecessor("hypnettorch.mnets:ResNet")(
            in_shape=(32, 32, 3), num_classes=paper.units, n=5, no_weights=True, verbose=False
        )
    hypernet = predecessor("hypnettorch.hnets:ChunkedHMLP")(
        net.param_shapes,
        paper.chunk,
        chunk_emb_size=paper.chunk_embedding,
        cond_in_size=paper.embedding,
        layers=paper.layers,
        activation_fn=torch.nn.ELU() if paper.activation == "elu" else torch.nn.ReLU(),
        num_cond_embs=paper.tasks + 1,
        verbose=False,
    )
    copy_parameters(like, hypernet)
    targets = get_current_targets(paper.tasks, hypernet)
    for parameter in hypernet.conditional_params[: paper.tasks]:
        parameter.requires_grad_(requires_grad=False)
    optimizer = torch.optim.Adam([p for p in hypernet.internal_params if p.requires_grad], lr=1e-3)

    def step() -> tuple[float, float]:
        net.train()
        hypernet.train()
        optimizer.zero_grad()
        weights = hypernet.forward(cond_id=paper.tasks)
        task = F.cross_entropy(net.forward(data.x, weights=weights), data.y)
        penalty = calc_fix_target_reg(hypernet, paper.tasks, targets=targets)
        (task + BETA * penalty).backward()
        optimizer.step()
        return task.item(), penalty.item()

    return step


def check_same(name: str, mine: Step, their: Step) -> None:
    """Losses and penalties of two steps agree."""
    for number in range(2):
        (a, b), (c, d) = mine(), their()
        if number == 0 and abs(a - c) > 1e-3 * abs(c):
            raise SystemExit(f"{name}: losses differ: {a} and {c}")
        if number == 1 and abs(b - d) > 0.05 * abs(d):
            raise SystemExit(f"{name}: penalties differ: {b} and {d}")


def report(name: str, paper: Paper, rounds: int) -> None:
    """Print a line."""
    mine, method = ours(paper)
    their = theirs(paper, method.hypernet)
    if paper.hidden:
        # The predecessor's residual network takes its tensors in another order.
        check_same(name, mine, their)
    full, full_method = ours(paper, plain=False)
    times = interleaved({"theirs": their, "ours": mine, "full": full}, rounds=rounds)
    faster, low, high = ratio(times, "theirs", "ours")
    steps = full_method._steps  # noqa: SLF001
    form = "-" if steps is None or steps.regularizer is None else steps.regularizer.form
    kept = 0 if steps is None or steps.regularizer is None else steps.regularizer.memory_bytes
    stored = 4 * paper.tasks * method.hypernet.target.numel
    print(
        f"{name:<18}{paper.tasks:>6}{median_ms(times['theirs']):>11.1f} ms"
        f"{median_ms(times['ours']):>8.1f} ms{faster:>8.2f}x   {low:.2f} - {high:.2f}"
        f"   {paper.goal:>4}   {form:<7}{median_ms(times['full']):>8.1f} ms"
        f"   {kept / 2**20:.2f} of {stored / 2**20:.1f} MiB",
        flush=True,
    )


def main(rounds: int, names: list[str]) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print(f"1 thread, {rounds} rounds, medians")
    print(
        f"{'':<18}{'tasks':>6}{'hypnettorch':>14}{'hypnet':>11}{'faster':>9}   quartiles     "
        " goal   form    as run     targets"
    )
    for name in names or PAPERS:
        report(name, PAPERS[name], rounds)


if __name__ == "__main__":
    arguments: list[str] = sys.argv[1:]
    main(int(arguments[0]) if arguments else 7, arguments[1:])
