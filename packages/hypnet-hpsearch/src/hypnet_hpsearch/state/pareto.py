"""Several objectives and constraints: feasible results, and their Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.ledger import TrialRecord

__all__ = ["costs_of", "front_of", "is_feasible", "number_in", "violations_of"]


def number_in(record: TrialRecord, spec: SearchSpec, name: str) -> float | None:
    """The metric of a trial, or another number that its search keeps."""
    return record.metric if name == spec.metric else record.numbers.get(name)


def violations_of(record: TrialRecord, spec: SearchSpec) -> dict[str, float] | None:
    """How far a trial violates each constraint; `None` if a number is missing."""
    found = {}
    for text, constraint in spec.bounds.items():
        value = number_in(record, spec, constraint.name)
        if value is None or math.isnan(value):
            return None
        found[text] = constraint.violation(value)
    return found


def is_feasible(record: TrialRecord, spec: SearchSpec) -> bool:
    """Whether a trial fulfils all constraints of its search."""
    violations = violations_of(record, spec)
    return violations is not None and all(one <= 0 for one in violations.values())


def costs_of(record: TrialRecord, spec: SearchSpec) -> tuple[float, ...] | None:
    """The objectives, small ones good; `None` if one of them is not finite."""
    costs = []
    for name, direction in spec.objectives:
        value = number_in(record, spec, name)
        if value is None or not math.isfinite(value):
            return None
        costs.append(-value if direction == "maximize" else value)
    return tuple(costs)


def front_of(points: Sequence[tuple[float, ...]]) -> list[int]:
    """The numbers of the points that no other point dominates, in lexicographic order.

    A point dominates another one if it is nowhere larger, and somewhere smaller. The
    cost is that of comparing each point with the front.

    Example:
        >>> front_of([(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (2.0, 2.0), (4.0, 1.0)])
        [0, 1, 3, 4]
    """
    front: list[int] = []
    # Whatever dominates a point comes before it in lexicographic order.
    for number in sorted(range(len(points)), key=lambda one: points[one]):
        point = points[number]
        if not any(
            points[other] != point and all(map(float.__le__, points[other], point))
            for other in front
        ):
            front.append(number)
    return front
