"""Splits that read their samples when a batch needs them, here from text files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hypnet_core.errors import DataError, SpecError
from hypnet_core.tasks import Augmentation, LoadedSplit, Reader, Samples, Transform


@dataclass(frozen=True)
class ReadNumbers:
    folder: Path
    noise: bool = False

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        try:
            texts = [(self.folder / str(int(number))).read_text() for number in values]
        except FileNotFoundError as error:
            raise DataError(f"{error.filename} is missing") from error
        numbers = torch.tensor([[float(text)] for text in texts])
        return AddNoise()(numbers, generator) if self.noise else numbers

    @property
    def is_random(self) -> bool:
        return self.noise

    def for_evaluation(self) -> ReadNumbers:
        return ReadNumbers(self.folder)


@dataclass(frozen=True)
class AddNoise(Augmentation):
    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return values + torch.rand(values.shape, generator=generator)


Make = Callable[..., LoadedSplit]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number * number))

    def made(*steps: Transform, workers: int = 0, noise: bool = False) -> LoadedSplit:
        samples = Samples(torch.arange(10), torch.arange(10) % 2, first_id=50)
        return LoadedSplit(
            samples,
            torch.arange(10),
            steps,
            reader=ReadNumbers(tmp_path, noise),
            workers=workers,
        )

    return made


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_read_when_a_batch_asks_for_them(make: Make, workers: int) -> None:
    batches = list(make(workers=workers).batches(4))
    assert [batch.x.flatten().tolist() for batch in batches] == [
        [0, 1, 4, 9],
        [16, 25, 36, 49],
        [64, 81],
    ]
    assert torch.cat([batch.ids for batch in batches]).tolist() == list(range(50, 60))
    assert [len(batch) for batch in make(workers=workers).batches(4, drop_last=True)] == [4, 4]


def test_workers_change_nothing_but_the_time(make: Make) -> None:
    passes = [
        list(
            make(AddNoise(), workers=workers).batches(
                3, shuffle=True, generator=torch.Generator().manual_seed(1)
            )
        )
        for workers in (0, 1, 2)
    ]
    for other in passes[1:]:
        for one, two in zip(passes[0], other, strict=True):
            assert torch.equal(one.x, two.x)
            assert torch.equal(one.ids, two.ids)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_randomness_is_neither_seeded_nor_used(make: Make, workers: int) -> None:
    before = torch.get_rng_state()
    list(make(workers=workers).batches(3))
    list(
        make(AddNoise(), workers=workers).batches(
            3, shuffle=True, generator=torch.Generator().manual_seed(1)
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_noise_follows_the_global_seed(make: Make) -> None:
    with torch.random.fork_rng():
        passes = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            passes.append(torch.cat([batch.x for batch in make(AddNoise()).batches(4)]))
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_comes_as_it_was(make: Make, tmp_path: Path, workers: int) -> None:
    (tmp_path / "5").unlink()
    with pytest.raises(DataError) as caught:
        list(make(workers=workers).batches(4))
    assert str(caught.value) == f"{tmp_path / '5'} is missing"


def test_views_are_read_in_the_same_way(make: Make) -> None:
    part = make(AddNoise(), workers=1).subset([9, 2]).unaugmented()
    assert isinstance(part, LoadedSplit)
    assert next(part.batches(2)).x.tolist() == [[81], [4]]
    assert part[1][0].tolist() == [4]
    assert part.targets.tolist() == [1, 0]
    assert [x.flatten().tolist() for x, _ in DataLoader(part, batch_size=2)] == [[81, 4]]


@pytest.mark.parametrize("workers", [0, 1])
def test_transforms_act_on_what_was_read_whatever_they_are(make: Make, workers: int) -> None:
    """With the reader among the transforms, the first two gave the stored numbers."""
    split = make(AddNoise(), workers=workers).subset([3, 4])
    assert next(split.with_transforms().batches(2)).x.tolist() == [[9], [16]]
    halved = split.with_transforms(lambda x, _generator: x / 2)
    assert halved[1][0].tolist() == [8]
    assert next(split.unaugmented().batches(2)).x.tolist() == [[9], [16]]


def test_a_random_reader_is_replaced_for_evaluation(make: Make) -> None:
    split = make(noise=True)
    assert isinstance(split.reader, Reader)
    assert split.reader.is_random
    draws = [split.batch([2], generator=torch.Generator().manual_seed(seed)).x for seed in (1, 2)]
    assert not torch.equal(*draws)
    assert split.with_transforms().reader.is_random
    assert split.unaugmented().all().x.flatten().tolist() == [n * n for n in range(10)]


def test_a_loaded_split_can_be_made_of_arrays(make: Make) -> None:
    reader = make().reader
    split = LoadedSplit.of([2, 3], [0, 1], reader=reader, transforms=[lambda x, _: -x])
    assert split.all().x.tolist() == [[-4], [-9]]


def test_a_stream_goes_on_where_it_was_saved(make: Make) -> None:
    stream = make(AddNoise()).stream(4, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        next(stream)
    other = make(AddNoise()).stream(4, generator=torch.Generator().manual_seed(7))
    other.load_state_dict(stream.state_dict())
    assert all(torch.equal(next(stream).x, next(other).x) for _ in range(5))


def test_a_pass_that_is_left_early_leaves_no_processes(make: Make) -> None:
    import multiprocessing

    batches = make(workers=2).batches(2)
    next(batches)
    assert multiprocessing.active_children()
    del batches
    assert not multiprocessing.active_children()


def test_a_negative_number_of_workers_is_an_error(make: Make) -> None:
    with pytest.raises(SpecError, match="workers must not be negative"):
        make(workers=-1)
