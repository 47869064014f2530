"""Splits whose samples are read when a batch asks for them; here from small text files, one number each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hypnet_core.errors import DataError, SpecError
from hypnet_core.tasks.batch import Samples
from hypnet_core.tasks.loaded import LoadedSplit


@dataclass(frozen=True)
class ReadNumbers:
    folder: Path

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        try:
            return torch.tensor(
                [[float((self.folder / str(int(number))).read_text())] for number in values]
            )
        except FileNotFoundError as error:
            raise DataError(f"{error.filename} is missing") from error


@dataclass(frozen=True)
class AddNoise:
    augments: bool = True

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return values + torch.rand(values.shape, generator=generator)


Make = Callable[..., LoadedSplit]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number * number))

    def made(*steps: AddNoise, workers: int = 0) -> LoadedSplit:
        samples = Samples(torch.arange(10), torch.arange(10) % 2, first_id=50)
        return LoadedSplit(
            samples, torch.arange(10), (ReadNumbers(tmp_path), *steps), workers=workers
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
