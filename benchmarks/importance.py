"""Fisher information, EWC and SI against the predecessor.

    python benchmarks/importance.py [THREADS] [ROUNDS]

1. Empirical Fisher information of 1,000 samples, gradients of single samples: goal at
   least 20x for an MLP 784-100-100-10, 4x for LeNet (431,080 weights).
2. SI's bookkeeping around one optimiser step: goal at least 4.5x for the MLP, 30x for
   ResNet-32. On one thread it is about 4x for both: ten floats per weight have to be
   touched, and memory sets the pace. With two threads on a busy machine the
   predecessor's operations wait for each other, ours do not.
3. The penalties and their gradients, after four tasks.

Both sides work on the same parameters and samples, and their results are compared
before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from measure import interleaved, median_ms, predecessor, ratio
from torch import Tensor, nn

from hypnet_zoo.mainnets import MLP, LeNet, ResNet
from hypnet_zoo.regularizers import EWC, SI, fisher

TheirMLP = predecessor("hypnettorch.mnets.mlp:MLP")
TheirLeNet = predecessor("hypnettorch.mnets.lenet:LeNet")
their_fisher = predecessor("hypnettorch.utils.ewc_regularizer:compute_fisher")
their_ewc = predecessor("hypnettorch.utils.ewc_regularizer:ewc_regularizer")
si_before = predecessor("hypnettorch.utils.si_regularizer:si_pre_optim_step")
si_after = predecessor("hypnettorch.utils.si_regularizer:si_post_optim_step")
si_importance = predecessor("hypnettorch.utils.si_regularizer:si_compute_importance")
si_penalty = predecessor("hypnettorch.utils.si_regularizer:si_regularizer")

SAMPLES = 1000
Sides = dict[str, Callable[[], object]]


class Handler:
    """The part of the predecessor's data handlers that its Fisher information needs."""

    classification, is_one_hot, num_classes, out_shape = True, False, 10, [10]

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.num_train_samples, self.next = x, y, len(x), 0

    def reset_batch_generator(self, **_: bool) -> None:
        """Start again."""
        self.next = 0

    def next_train_batch(self, size: int, **_: bool) -> tuple[Tensor, Tensor]:
        """The next samples."""
        rows = slice(self.next, self.next + size)
        self.next += size
        return self.x[rows], self.y[rows]

    def input_to_torch_tensor(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Samples are tensors already."""
        return x

    output_to_torch_tensor = input_to_torch_tensor


def pair(name: str) -> tuple[nn.Module, Any, Tensor, Tensor]:
    """Both networks with the same weights, and the inputs of each."""
    torch.manual_seed(0)
    if name == "mlp":
        ours: nn.Module = MLP((784,), 10, hidden=(100, 100))
        theirs, x = (
            TheirMLP(784, 10, hidden_layers=(100, 100), verbose=False),
            torch.randn(SAMPLES, 784),
        )
        their_x = x
    else:
        ours, theirs = LeNet((1, 28, 28), 10), TheirLeNet(verbose=False)
        x = torch.randn(SAMPLES, 1, 28, 28)
        their_x = x.permute(0, 2, 3, 1).flatten(1).contiguous()
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.weights, strict=True):
            other.copy_(own)
    torch.testing.assert_close(ours(x), theirs(their_x), atol=1e-4, rtol=1e-4)
    return ours, theirs, x, their_x


def fisher_sides(name: str) -> Sides:
    ours, theirs, x, their_x = pair(name)
    y = torch.randint(10, (SAMPLES,))

    def run_theirs() -> None:
        their_fisher(0, Handler(their_x, y), theirs.weights, torch.device("cpu"), theirs)

    def run_ours() -> dict[str, Tensor]:
        return fisher(ours, (x, y), kind="empirical")

    run_theirs()
    for i, found in enumerate(run_ours().values()):
        expected = getattr(theirs, f"ewc_fisher_estimate_task_0_weights_{i}")
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    return {"ours": run_ours, "theirs": run_theirs}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MLP((784,), 10, hidden=(100, 100)) if name == "mlp" else ResNet((3, 32, 32), 10)


def si_sides(name: str) -> Sides:
    model, holder = network(name), nn.Module()
    parameters = list(model.parameters())
    penalty = SI(model)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)

    def run_ours() -> None:
        penalty.before_step()
        penalty.after_step()

    def run_theirs() -> None:
        si_before(holder, parameters)
        si_after(holder, parameters)

    optimizer = torch.optim.SGD(parameters, lr=0.1)
    penalty.before_step()
    si_before(holder, parameters)
    optimizer.step()
    penalty.after_step()
    si_after(holder, parameters)
    penalty.after_task()
    si_importance(holder, parameters)
    for i, found in enumerate(penalty.importance.values()):
        torch.testing.assert_close(found, getattr(holder, f"si_omega_weights_{i}"))
    return {"ours": run_ours, "theirs": run_theirs}


def gradients(value: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(model.parameters())))


def si_penalty_sides(name: str) -> Sides:
    model, holder = network(name), nn.Module()
    parameters = list(model.parameters())
    penalty = SI(model)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        penalty.before_step()
        si_before(holder, parameters)
        optimizer.step()
        penalty.after_step()
        si_after(holder, parameters)
        if not penalty.tasks:
            penalty.after_task()
            si_importance(holder, parameters)
    torch.testing.assert_close(penalty(), si_penalty(holder, parameters))
    return {
        "ours": lambda: gradients(penalty(), model),
        "theirs": lambda: gradients(si_penalty(holder, parameters), model),
    }


def ewc_penalty_sides(name: str) -> Sides:
    ours, theirs, x, their_x = pair(name)
    y = torch.randint(10, (SAMPLES,))
    penalty = EWC(ours, kind="empirical")
    for task in range(4):
        rows = slice(20 * task, 20 * task + 20)
        penalty.after_task((x[rows], y[rows]))
        handler = Handler(their_x[rows], y[rows])
        their_fisher(task, handler, theirs.weights, torch.device("cpu"), theirs)
        with torch.no_grad():
            for own, other in zip(ours.parameters(), theirs.weights, strict=True):
                own.add_(0.1 * torch.randn_like(own))
                other.copy_(own)

    def their_penalty() -> Any:
        return their_ewc(4, theirs.weights, theirs)

    torch.testing.assert_close(penalty(), their_penalty(), rtol=1e-3, atol=0)
    return {
        "ours": lambda: gradients(penalty(), ours),
        "theirs": lambda: torch.autograd.grad(their_penalty(), list(theirs.weights)),
    }


CASES: list[tuple[str, Callable[[str], Sides], str, float]] = [
    ("Fisher information, 1,000 samples", fisher_sides, "mlp", 20.0),
    ("Fisher information, 1,000 samples", fisher_sides, "lenet", 4.0),
    ("SI's bookkeeping of one step", si_sides, "mlp", 4.5),
    ("SI's bookkeeping of one step", si_sides, "resnet32", 30.0),
    ("SI's penalty and gradient", si_penalty_sides, "mlp", 1.0),
    ("SI's penalty and gradient", si_penalty_sides, "resnet32", 1.0),
    ("EWC's penalty and gradient, 4 tasks", ewc_penalty_sides, "mlp", 1.0),
    ("EWC's penalty and gradient, 4 tasks", ewc_penalty_sides, "lenet", 1.0),
]


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), medians of {rounds} interleaved rounds, milliseconds")
    print(f"{'what':<48}{'ours':>9}{'theirs':>10}{'ratio':>8}   quartiles        goal")
    for what, make, name, goal in CASES:
        slow = make is fisher_sides
        times = interleaved(make(name), rounds=max(3, rounds // 3) if slow else rounds)
        middle, low, high = ratio(times, "theirs", "ours")
        print(
            f"{f'{what}: {name}':<48}{median_ms(times['ours']):>9.3f}"
            f"{median_ms(times['theirs']):>10.3f}{middle:>8.2f}"
            f"   {low:.2f} to {high:.2f}   {goal:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
