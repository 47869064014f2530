from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Batch, Split, Task, TaskSequence, splits_of, stored_bytes

WHOLE = Split.of(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.zeros(10, dtype=torch.uint8))
STORED = 10 * 4 + 10


def task_of(number: int = 0, *, val: bool = True) -> Task:
    spec = TaskSpec(
        name=f"piece_{number}", kind="classification", in_shape=(1, 2, 2), out_shape=(2,)
    )
    return Task(
        spec,
        WHOLE.subset(slice(6)),
        WHOLE.subset(slice(8, 10)),
        WHOLE.subset(slice(6, 8)) if val else None,
    )


def test_a_task_is_what_the_protocol_asks_for() -> None:
    assert isinstance(task_of(), TaskLike)
    assert not isinstance(TaskSequence("pieces", (task_of(),)), TaskLike)


def test_splits_holds_those_that_there_are() -> None:
    assert list(task_of().splits) == ["train", "test", "val"]
    assert list(task_of(val=False).splits) == ["train", "test"]


def test_the_summary_says_kind_shapes_and_sizes() -> None:
    assert task_of().summary() == "piece_0: classification 1x2x2 -> 2, 6 train, 2 test, 2 val"
    assert repr(task_of(val=False)) == "<Task piece_0: classification 1x2x2 -> 2, 6 train, 2 test>"


def test_shared_samples_are_counted_once() -> None:
    sequence = TaskSequence("pieces", tuple(task_of(number) for number in range(100)))
    assert task_of().nbytes == sequence.nbytes == WHOLE.samples.nbytes == STORED


def test_separate_samples_are_counted_each() -> None:
    other = Split.of(torch.zeros(2, 1, 2, 2), torch.zeros(2, 2) + 0.5)
    assert Task(task_of().spec, WHOLE, other).nbytes == STORED + 2 * 4 * 4 + 2 * 2 * 4


def test_a_sequence_is_a_sequence_and_so_are_its_slices() -> None:
    tasks = tuple(task_of(number) for number in range(4))
    sequence = TaskSequence("pieces", tasks)
    assert len(sequence) == 4
    assert list(sequence) == list(tasks)
    assert sequence[-1] is tasks[3]
    assert sequence.index(tasks[2]) == 2
    assert isinstance(sequence[1:3], TaskSequence)
    assert sequence[1:3].tasks == tasks[1:3]
    assert sequence.summary().splitlines() == [task.summary() for task in tasks]
    assert repr(sequence) == "<TaskSequence pieces of 4 tasks>"
    with pytest.raises(IndexError):
        sequence[4]


def test_map_changes_every_split_and_keeps_ids_and_storage() -> None:
    changed = task_of().map(lambda split: split.subset([0]))
    assert {name: split.ids.tolist() for name, split in changed.splits.items()} == {
        "train": [0],
        "test": [8],
        "val": [6],
    }
    assert changed.spec is task_of().spec or changed.spec == task_of().spec
    assert stored_bytes([changed, task_of()]) == STORED
    assert task_of(val=False).map(lambda split: split).val is None


def test_map_can_change_the_spec() -> None:
    spec = task_of().spec.model_copy(update={"name": "other"})
    assert task_of().map(lambda split: split, spec=spec).spec.name == "other"


def test_splits_of_another_class_cannot_be_changed() -> None:
    class Foreign:
        ids = torch.arange(2)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(1), torch.zeros(())

        def batches(self, batch_size: int, **options: object) -> Iterator[Batch]:
            raise NotImplementedError

    task = Task(task_of().spec, WHOLE, Foreign())
    assert list(splits_of(task)) == ["train", "test"]
    with pytest.raises(
        ConfigError, match=r"'piece_0' cannot be cut .* in a Foreign, not in a Split"
    ):
        task.map(lambda split: split)


def test_tasks_and_sequences_never_change() -> None:
    for frozen, name in ((task_of(), "train"), (TaskSequence("pieces", ()), "tasks")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, WHOLE)
