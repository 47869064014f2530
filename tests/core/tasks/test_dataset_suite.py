"""The conformance suite of datasets: it accepts right ones and finds faults."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from hypnet_core.plugins.component import Component
from hypnet_core.plugins.registry import Entry
from hypnet_core.testing.dataset import CHECKS
from hypnet_core.testing.kit import Outcome, run_checks

MODULE = dedent("""
    from dataclasses import replace
    from itertools import count
    import torch
    from hypnet_core.specs import TaskSpec
    from hypnet_core.tasks import Augmentation, LoadedSplit, Samples, Split, Task, TaskSequence

    built = count()


    def task(
        *,
        kind="classification",
        name="good",
        x=None,
        y=None,
        in_shape=(3,),
        out_shape=(4,),
        **spec,
    ):
        x = torch.linspace(0, 1, 60).reshape(20, 3) if x is None else x
        y = torch.arange(20) % 4 if y is None else y
        whole = Split(Samples.of(x, y), torch.arange(len(x)))
        spec = TaskSpec(name=name, kind=kind, in_shape=in_shape, out_shape=out_shape, **spec)
        return Task(
            spec,
            whole.subset(range(12)),
            whole.subset(range(16, 20)),
            whole.subset(range(12, 16)),
        )


    def good():
        return task()


    def regression():
        return task(kind="regression", y=torch.zeros(20, 4))


    def one_hot():
        return task(y=torch.eye(4).repeat(5, 1))


    def sequences():
        whole = Split.of(
            torch.zeros(20, 5, 3), torch.zeros(20, dtype=torch.uint8), lengths=[5] * 20
        )
        spec = TaskSpec(
            name="sequences", kind="classification", in_shape=(3,), out_shape=(4,), sequence=True
        )
        return Task(spec, whole.subset(range(12)), whole.subset(range(12, 20)))


    def several():
        return TaskSequence("several", (task(name="a"), task(name="b")))


    def number():
        return 7


    def nothing():
        return []


    def numbers():
        return [7, 8]


    def twins():
        return (task(), task())


    def empty():
        return replace(task(), val=task().val.subset([]))


    def other_inputs():
        return task(in_shape=(4,))


    def other_targets():
        return task(kind="regression", y=torch.zeros(20, 3))


    def bytes_as_inputs():
        return task(x=torch.zeros(20, 3, dtype=torch.uint8))


    def infinite():
        return task(x=torch.full((20, 3), float("inf")))


    def classes_beyond():
        return task(out_shape=(3,))


    def classes_of_a_regression():
        return task(kind="regression")


    def double_targets():
        return task(kind="regression", y=torch.zeros(20, 4, dtype=torch.float64))


    def two_hot():
        return task(y=torch.ones(20, 4))


    def no_lengths():
        return replace(
            sequences(),
            spec=sequences().spec.model_copy(update={"sequence": True}),
            train=task(x=torch.zeros(20, 5, 3)).train,
        )


    def lengths_of_vectors():
        return replace(
            task(),
            spec=sequences().spec.model_copy(update={"sequence": False, "in_shape": (5, 3)}),
            train=sequences().train,
        )


    def overlap():
        return replace(task(), val=task().train)


    def augmented_test():
        return replace(
            task(), test=task().test.with_transforms(lambda x, generator: x + torch.rand(x.shape))
        )


    def jitter(x, generator=None):
        return x + torch.rand(x.shape, generator=generator)


    class Jitter(Augmentation):
        def __call__(self, values, generator=None):
            return jitter(values, generator)


    def augmented():
        return replace(task(), train=task().train.with_transforms(Jitter()))


    def hidden_augmentation():
        return replace(task(), train=task().train.with_transforms(jitter))


    class Doubling:
        def __init__(self, is_random):
            self.is_random = is_random

        def __call__(self, stored, generator=None):
            read = 2 * stored
            return jitter(read, generator) if self.is_random else read

        def for_evaluation(self):
            return Doubling(False)


    def read_by(reader):
        given = task()
        train, test, val = (
            LoadedSplit(split.samples, split.rows, reader=one)
            for split, one in (
                (given.train, reader),
                (given.test, Doubling(False)),
                (given.val, Doubling(False)),
            )
        )
        return replace(given, train=train, test=test, val=val)


    def loaded():
        return read_by(Doubling(True))


    def bare_reader():
        return read_by(lambda stored, generator: stored)


    class Foreign:
        # Not a `Split`: the protocol and nothing else.
        def __init__(self, split):
            self.split = split
            self.ids = split.ids

        def __len__(self):
            return len(self.split)

        def __getitem__(self, index):
            return self.split[index]

        def batches(self, *args, **options):
            return self.split.batches(*args, **options)


    def foreign():
        given = task()
        return replace(given, train=Foreign(given.train), test=Foreign(given.test), val=None)


    def unrepeatable():
        return task(x=torch.full((20, 3), float(next(built))))


    def seeding():
        torch.manual_seed(0)
        return task()


    class Careless(Split):
        def batches(
            self, batch_size, *, shuffle=False, generator=None, device=None, drop_last=False
        ):
            return super().batches(
                max(batch_size, 1),
                shuffle=False,
                generator=generator,
                device=device,
                drop_last=False,
            )


    def careless():
        given = task()
        return replace(given, train=Careless(given.train.samples, given.train.rows))


    class Backwards(Split):
        def __getitem__(self, index):
            return super().__getitem__(len(self) - 1 - index)


    def backwards():
        given = task()
        return replace(given, test=Backwards(given.test.samples, given.test.rows))


    class Forgetful(Split):
        def stream(self, batch_size, *, generator=None, device=None, drop_last=False):
            stream = super().stream(batch_size, generator=generator)
            stream.load_state_dict = lambda state: None
            return stream


    def forgetful():
        given = task()
        return replace(given, train=Forgetful(given.train.samples, given.train.rows))
    """)

FAULTS = [
    ("number", "it_gives_a_task_or_a_sequence_of_tasks"),
    ("nothing", "it_gives_a_task_or_a_sequence_of_tasks"),
    ("numbers", "it_gives_a_task_or_a_sequence_of_tasks"),
    ("twins", "tasks_have_distinct_names"),
    ("empty", "no_split_is_empty"),
    ("other_inputs", "samples_have_the_shapes_of_the_spec"),
    ("other_targets", "samples_have_the_shapes_of_the_spec"),
    ("bytes_as_inputs", "inputs_are_finite_numbers"),
    ("infinite", "inputs_are_finite_numbers"),
    ("classes_beyond", "targets_fit_the_kind_of_task"),
    ("classes_of_a_regression", "targets_fit_the_kind_of_task"),
    ("double_targets", "targets_fit_the_kind_of_task"),
    ("two_hot", "targets_fit_the_kind_of_task"),
    ("no_lengths", "sequences_come_with_lengths"),
    ("lengths_of_vectors", "sequences_come_with_lengths"),
    ("careless", "one_pass_gives_every_sample_once"),
    ("backwards", "a_sample_is_its_row_of_a_batch"),
    ("augmented_test", "evaluation_is_not_random"),
    ("hidden_augmentation", "unaugmented_training_samples_are_not_random"),
    ("overlap", "splits_of_a_task_share_no_sample"),
    ("unrepeatable", "building_again_gives_the_same"),
    ("forgetful", "a_stream_continues_where_it_was_saved"),
    ("seeding", "global_randomness_is_left_alone"),
    ("careless", "a_shuffled_pass_follows_the_generator"),
    ("careless", "a_batch_size_of_zero_is_refused"),
]


def entry(name: str) -> Entry:
    component = Component.dataset(name, f"datasets_under_test:{name}", "A dataset under test.")
    return Entry(component, plugin="tests", distribution="tests", version="0")


@pytest.fixture(autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "datasets_under_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "good",
        "regression",
        "one_hot",
        "sequences",
        "several",
        "augmented",
        "loaded",
        "foreign",
    ],
)
def test_a_dataset_that_is_right_passes_every_check(name: str) -> None:
    failures = [
        (result.check, result.message)
        for result in run_checks(entry(name), checks=CHECKS)
        if result.outcome is Outcome.FAILED
    ]
    assert failures == []


def test_a_reader_that_lacks_a_part_of_the_protocol_is_found() -> None:
    check = "unaugmented_training_samples_are_not_random"
    [found] = [known for known in CHECKS if known.__name__ == check]
    [result] = run_checks(entry("bare_reader"), checks=[found])
    assert result.outcome is Outcome.FAILED
    assert "lacks is_random" in result.message


@pytest.mark.parametrize(("name", "check"), FAULTS)
def test_a_fault_is_found_by_the_check_that_names_it(name: str, check: str) -> None:
    found = next(known for known in CHECKS if known.__name__ == check)
    [result] = run_checks(entry(name), checks=[found])
    assert result.outcome is Outcome.FAILED
    assert result.message


def test_every_check_says_in_one_sentence_what_must_hold() -> None:
    for check in CHECKS:
        first_line = (check.__doc__ or "").splitlines()[0]
        assert first_line.endswith(".")
        assert first_line[0].isupper()
