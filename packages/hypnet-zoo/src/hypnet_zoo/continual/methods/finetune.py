"""Fine-tuning: no protection at all."""

from __future__ import annotations

from typing import Unpack

from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import OneNetwork, SharedOptions


class Finetune(OneNetwork):
    """Trains one network on each task in turn: the lower bound, which forgets.

    Args:
        problem: The problem.
        **options: See `SharedOptions`.
    """

    def __init__(self, problem: Problem, **options: Unpack[SharedOptions]) -> None:
        super().__init__(problem, **options)
