"""Output layers of networks that learn several tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from hypnet_core.errors import SpecError

Scenario = Literal["task", "domain", "class"]
"""Whether the task of a test sample is known (`task`), need not be known (`domain`), or
must be found out together with the class (`class`): van de Ven and Tolias,
arXiv:1904.07734."""

HeadKind = Literal["single", "multi", "growing"]


class Heads(BaseModel):
    """Which outputs of a network belong to which task.

    | kind | outputs of a task | outputs that compete while it is learned |
    | --- | --- | --- |
    | `single` | the first ones, shared by all tasks | its own |
    | `multi` | its own, after those of earlier tasks | its own |
    | `growing` | its own, after those of earlier tasks | its own and all earlier ones |

    Attributes:
        kind: How tasks share outputs.
        sizes: Number of outputs of each task, in order.

    Example:
        >>> heads = Heads(kind="growing", sizes=(2, 3))
        >>> heads.out_features, heads.units(1), heads.competing(1)
        (5, range(2, 5), range(0, 5))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: HeadKind
    sizes: tuple[PositiveInt, ...]

    @property
    def out_features(self) -> int:
        """Outputs that the network needs."""
        return max(self.sizes) if self.kind == "single" else sum(self.sizes)

    def units(self, task: int) -> range:
        """The outputs of one task.

        Raises:
            SpecError: There is no such task.
        """
        self._check(task)
        start = 0 if self.kind == "single" else sum(self.sizes[:task])
        return range(start, start + self.sizes[task])

    def competing(self, task: int) -> range:
        """The outputs over which the softmax runs while a task is learned."""
        own = self.units(task)
        return range(own.stop) if self.kind == "growing" else own

    def classes(self, task: int) -> range:
        """The classes of a task among those of all tasks, laid end to end."""
        self._check(task)
        start = sum(self.sizes[:task])
        return range(start, start + self.sizes[task])

    def _check(self, task: int) -> None:
        if not 0 <= task < len(self.sizes):
            raise SpecError(f"there is no task {task}: there are {len(self.sizes)}, from 0")
