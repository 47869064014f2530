"""Trajectories of the No-U-Turn sampler: balanced binary trees, grown in a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from hypnet_core.protocols import StepInfo
from hypnet_zoo.bayes._metric import Steps
from hypnet_zoo.bayes.samplers._adaptive import Tuning, chosen, uniform
from hypnet_zoo.bayes.samplers._hamiltonian import joint

Gradient: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From positions to log densities and gradients."""

Place: TypeAlias = tuple[Tensor, Tensor]
"""How far a state lies along a trajectory, and its momentum."""

_KEPT = 16
"""States that are kept at once; then one of them is drawn."""


class End(NamedTuple):
    """An end of the trajectory of each chain: tensors `[chains, numel]`."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor


def _where(condition: Tensor, new: End, old: End) -> End:
    return End(*(torch.where(condition, a, b) for a, b in zip(new, old, strict=True)))


class Tree:
    """The trajectories of all chains for one draw.

    Distances are sums of white momenta at half steps: differences of positions under
    the inverse of the mass, in units of the step size and forward in time in either
    direction.

    Args:
        gradient: Evaluates log density and gradient.
        start: The tensors of the chains.
        momentum: White momenta.
        tuning: Step size and mass.
        generator: The source of randomness.
        delta_max: The largest error of the energy.
    """

    def __init__(
        self,
        gradient: Gradient,
        start: Mapping[str, Tensor],
        momentum: Tensor,
        tuning: Tuning,
        generator: torch.Generator,
        *,
        delta_max: float,
    ) -> None:
        self.chains = start
        self.gradient = gradient
        self._tuning = tuning
        self.generator = generator
        self.delta_max = delta_max
        self._left = self._right = End(start["position"], momentum, start["gradient"])
        self._energy = joint(start["log_density"], momentum)
        self.nothing = self._span = torch.zeros_like(momentum)
        self._weight = torch.zeros_like(self._energy)
        self._drawn = self._weight  # error of the energy of the draw
        self._growing = torch.ones_like(self._energy, dtype=torch.bool)
        self._divergent = ~self._growing
        self._accepted = self._divergent
        self._acceptance = self._weight
        self._count = torch.zeros_like(self._growing, dtype=torch.int64)
        self._depth = self._count

    @property
    def ended(self) -> bool:
        """Whether the trajectories of all chains have ended."""
        return not bool(self._growing.any())

    def double(self, depth: int, *, forward: Tensor) -> None:
        """Add as many states as there are.

        Args:
            depth: Number of doublings so far.
            forward: Whether time goes forward (bool `[chains]`).
        """
        ahead = forward[:, None]
        start = _where(ahead, self._right, self._left)
        outer = torch.where(ahead, self._left.momentum, self._right.momentum)
        sizes = torch.where(ahead, self._tuning.step_size, -self._tuning.step_size)
        sizes = (sizes * self._growing[:, None]).to(start.position.dtype)
        part = _Part(self, start, Steps(self._tuning.lower, sizes), self._growing, depth)
        part.grow()
        self._count = self._count + part.count
        self._acceptance = self._acceptance + part.acceptance
        self._divergent = self._divergent | part.divergent
        whole = part.live
        # Biased towards the later part, which explores more.
        takes = whole & (self.luck().log_() < part.weight - self._weight)
        self.chains = chosen(takes, part.draw, self.chains)
        self._drawn = torch.where(takes, part.drawn, self._drawn)
        self._accepted = self._accepted | takes
        self._weight = torch.where(whole, torch.logaddexp(self._weight, part.weight), self._weight)
        # Chains that have ended never look at their ends again.
        self._right = _where(ahead, part.end, self._right)
        self._left = _where(ahead, self._left, part.end)
        self._depth = self._depth + whole
        self._growing = whole & ~self._turned(start, outer, part)
        self._span = self._span + part.along

    def _turned(self, start: End, outer: Tensor, part: _Part) -> Tensor:
        """Whether the tree and its new part have turned back, `[chains]`.

        Backwards in time all momenta count with the opposite sign, which changes no
        product.
        """
        far, last = (-self._span, outer), (part.along, part.end.momentum)
        if not part.depth:
            return turns(far, last)
        near = (self.nothing, start.momentum)
        return turns_inside(far, near, part.first, last)

    def error(self, log_density: Tensor, momentum: Tensor) -> Tensor:
        """How much smaller the energy is than at the start, `[chains]`."""
        return joint(log_density, momentum) - self._energy

    def luck(self) -> Tensor:
        """A uniform number for each chain."""
        return uniform(self._energy, self.generator)

    def info(self) -> StepInfo:
        """Statistics of the draw."""
        return StepInfo(
            self._accepted,
            self._acceptance / self._count.clamp(min=1),
            -(self._energy + self._drawn),
            self._depth,
            self._divergent,
            self._count,
        )


class _Part:
    """One doubling: a subtree that starts next to an end of the tree.

    Args:
        tree: The tree.
        start: That end.
        steps: The integrator.
        live: The chains that still grow (bool `[chains]`).
        depth: The logarithm of the number of states to add.
    """

    def __init__(self, tree: Tree, start: End, steps: Steps, live: Tensor, depth: int) -> None:
        self._tree = tree
        self._steps = steps
        self.depth = depth
        self.end = start
        self.live = live
        self.along = tree.nothing
        self.divergent = torch.zeros_like(live)
        self.count = live * (1 << depth)
        self._some_ended = not bool(live.all())
        self.acceptance = self.weight = self.drawn = start.momentum.new_zeros(len(live))
        self.draw: Mapping[str, Tensor] = {}
        self._ends: list[End] = []
        self._values: list[Tensor] = []
        self._errors: list[Tensor] = []
        # Where the balanced part of 2^k states that is being built begins, by k, and
        # the state before it.
        self._previous: Place = (self.along, start.momentum)
        self._beginnings = [(self._previous, self._previous)] * (depth + 1)
        self.first = self._previous

    def grow(self) -> None:
        """Take steps, until the subtree is complete or all chains have turned back."""
        size = 1 << self.depth
        reduced = 0
        for number in range(size):
            self._step()
            here = (self.along, self.end.momentum)
            for level in range(self.depth + 1):
                if number % (1 << level):
                    break
                self._beginnings[level] = (here, self._previous)
            self.first = self.first if number else here
            done = number + 1
            # Balanced parts end after an even number of steps.
            ended = (done % 2 == 0 or size == 1) and self._check(done)
            if ended or done == size or len(self._errors) == _KEPT:
                self._reduce(reduced)
                reduced = done
            if ended:
                return
            self._previous = here

    def _step(self) -> None:
        position, momentum, gradient = self.end
        momentum = self._steps.kick(momentum, gradient)
        self.along = self.along + momentum
        position = self._steps.drift(position, momentum)
        value, gradient = self._tree.gradient(position)
        momentum = self._steps.kick(momentum, gradient)
        self.end = End(position, momentum, gradient)
        self._ends.append(self.end)
        self._values.append(value)
        self._errors.append(self._tree.error(value, momentum))

    def _check(self, done: int) -> bool:
        """Look for chains that diverge or turn back; whether none is left."""
        worst = self._errors[-1]
        if len(self._errors) > 1:
            worst = torch.minimum(worst, self._errors[-2])
        goes_on = kept = worst > -self._tree.delta_max  # NaN is not
        for level in range(1, self.depth + 1):
            if done % (1 << level):
                break
            turned = self._turned(level)
            goes_on = goes_on & ~turned
        live = self.live & goes_on
        if torch.equal(live, self.live):
            return False
        self.divergent = self.divergent | (self.live & ~kept)
        self.count = torch.where(self.live & ~goes_on, done, self.count)
        self.live = live
        self._some_ended = True
        # Others may go on for long; those that ended must not leave all bounds.
        self._steps.freeze(live)
        return not bool(live.any())

    def _turned(self, level: int) -> Tensor:
        """Whether the part of `2^level` states that ends here has turned back."""
        first, _ = self._beginnings[level]
        last = (self.along, self.end.momentum)
        if level == 1:
            return turns(first, last)
        after, before = self._beginnings[level - 1]
        return turns_inside(first, before, after, last)

    def _reduce(self, first: int) -> None:
        """Draw one of the states that are kept, from number `first` on."""
        errors = torch.stack(self._errors).nan_to_num_(-torch.inf, -torch.inf, -torch.inf)
        moves = errors.clamp(max=0.0).exp_()
        if self._some_ended:
            numbers = torch.arange(first, first + len(errors), device=errors.device)
            moves = moves * (numbers[:, None] < self.count)
        self.acceptance = self.acceptance + moves.sum(dim=0)
        draw, drawn, weight = self._drawn(errors)
        self._ends, self._values, self._errors = [], [], []
        if not self.draw:
            self.draw, self.drawn, self.weight = draw, drawn, weight
            return
        total = torch.logaddexp(self.weight, weight)
        takes = self._tree.luck().log_() < weight - total
        self.draw = chosen(takes, draw, self.draw)
        self.drawn = torch.where(takes, drawn, self.drawn)
        self.weight = total

    def _drawn(self, errors: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """A state of each chain, its error, and the weight of all that are kept."""
        if len(errors) == 1:
            position, _, gradient = self.end
            draw = {"position": position, "log_density": self._values[0], "gradient": gradient}
            return draw, errors[0], errors[0]
        luck = torch.empty_like(errors).exponential_(generator=self._tree.generator)
        pick = (errors - luck.log_()).argmax(dim=0)[None]  # Gumbel's trick
        draw = {
            "position": _picked([end.position for end in self._ends], pick),
            "log_density": torch.stack(self._values).gather(0, pick)[0],
            "gradient": _picked([end.gradient for end in self._ends], pick),
        }
        return draw, errors.gather(0, pick)[0], errors.logsumexp(dim=0)


def _picked(states: Sequence[Tensor], pick: Tensor) -> Tensor:
    """The chosen state of each chain, `[chains, numel]`."""
    index = pick[..., None].expand(-1, -1, states[0].shape[-1])
    return torch.stack(list(states)).gather(0, index)[0]


def turns(first: Place, last: Place) -> Tensor:
    """Whether two states have turned towards each other, `[chains]`."""
    distance = last[0] - first[0]
    return torch.minimum(_dot(distance, first[1]), _dot(distance, last[1])) <= 0.0


def turns_inside(first: Place, before: Place, after: Place, last: Place) -> Tensor:
    """The same for a part, and for each half with the nearest state of the other one.

    Args:
        first: The first state.
        before: The last one of the first half.
        after: The first one of the second half.
        last: The last state.
    """
    begins, momenta = torch.stack([first[0], first[0], before[0]]), (first[1], first[1], before[1])
    distance = torch.stack([last[0], after[0], last[0]]) - begins
    nearer = torch.minimum(
        _dot(distance, torch.stack(momenta)),
        _dot(distance, torch.stack([last[1], after[1], last[1]])),
    )
    return nearer.amin(dim=0) <= 0.0


def _dot(a: Tensor, b: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vecdot(a, b)
    return found
