from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from hypnet_core.errors import CheckpointError, DataError, SpecError
from hypnet_core.tasks import Batch, Batchable, Split, Stream


def noisy(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return values + torch.rand(values.shape, generator=generator)


def split_of(count: int = 10, *, augmented: bool = True) -> Split:
    return Split.of(
        torch.zeros(count, 1), torch.arange(count), transforms=[noisy] if augmented else []
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.x, other.x)
        and torch.equal(one.y, other.y)
        and torch.equal(one.ids, other.ids)
    )


@given(
    count=st.integers(1, 12),
    size=st.integers(1, 14),
    drop_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_stream_is_one_shuffled_pass_after_the_other(
    count: int, size: int, drop_last: bool, seed: int
) -> None:
    if drop_last and count < size:
        return
    split, generator = split_of(count), seeded(seed)
    passes = [
        batch
        for _ in range(3)
        for batch in split.batches(size, shuffle=True, generator=generator, drop_last=drop_last)
    ]
    stream = split.stream(size, generator=seeded(seed), drop_last=drop_last)
    assert all(
        same(one, other) for one, other in zip(passes, islice(stream, len(passes)), strict=True)
    )
    assert stream.epoch == 3


@settings(deadline=None)
@given(
    count=st.integers(1, 12),
    size=st.integers(1, 5),
    before=st.integers(0, 9),
    drop_last=st.booleans(),
)
def test_a_stream_that_was_saved_anywhere_goes_on_exactly(
    count: int, size: int, before: int, drop_last: bool
) -> None:
    if drop_last and count < size:
        return
    stream = split_of(count).stream(size, generator=seeded(1), drop_last=drop_last)
    list(islice(stream, before))
    state = stream.state_dict()
    expected = list(islice(stream, 7))
    other = split_of(count).stream(size, generator=seeded(99), drop_last=drop_last)
    list(islice(other, 2))
    other.load_state_dict(state)
    assert all(same(one, two) for one, two in zip(expected, islice(other, 7), strict=True))
    assert (other.epoch, other.position) == (stream.epoch, stream.position)


def test_the_state_survives_a_file_of_tensors_and_integers() -> None:
    stream = split_of().stream(4, generator=seeded(1))
    next(stream)
    state = stream.state_dict()
    numbers = {name: value for name, value in state.items() if isinstance(value, int)}
    tensors = load(
        save({name: value for name, value in state.items() if isinstance(value, torch.Tensor)})
    )
    assert len(numbers) + len(tensors) == len(state)
    other = split_of().stream(4, generator=seeded(2))
    other.load_state_dict({**numbers, **tensors})
    assert same(next(stream), next(other))


def test_making_a_stream_draws_nothing() -> None:
    generator = seeded(1)
    before = generator.get_state()
    split_of().stream(4, generator=generator)
    assert torch.equal(generator.get_state(), before)


def test_without_a_generator_a_stream_has_one_of_its_own_that_follows_manual_seed() -> None:
    with torch.random.fork_rng():
        streams = []
        for _ in range(2):
            torch.manual_seed(5)
            streams.append(split_of().stream(4))
        torch.rand(100)
        assert same(next(streams[0]), next(streams[1]))
        assert not same(next(split_of().stream(10)), next(split_of().stream(10)))


def test_the_last_batch_of_a_pass_is_smaller_or_left_out() -> None:
    assert [len(batch) for batch in islice(split_of(5).stream(2, generator=seeded(0)), 6)] == [
        2,
        2,
        1,
        2,
        2,
        1,
    ]
    assert [
        len(batch)
        for batch in islice(split_of(5).stream(2, generator=seeded(0), drop_last=True), 4)
    ] == [2] * 4


def test_batches_go_to_the_device() -> None:
    assert next(split_of(augmented=False).stream(2, device="meta")).x.device.type == "meta"


def test_a_stream_that_could_give_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="the split is empty"):
        split_of(0).stream(2)
    with pytest.raises(SpecError, match="3 samples give no batch of 4"):
        split_of(3).stream(4, drop_last=True)


def test_a_state_that_belongs_to_something_else_is_refused() -> None:
    state = split_of().stream(4, generator=seeded(1)).state_dict()
    with pytest.raises(CheckpointError, match="batch_size 4, but here it is 5"):
        split_of().stream(5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="size 10, but here it is 9"):
        split_of(9).stream(4).load_state_dict(state)


@pytest.mark.parametrize(
    "lost", ["epoch", "generator", "epoch_start", "position", "size", "batch_size"]
)
def test_an_incomplete_state_is_refused_by_name(lost: str) -> None:
    state = split_of().stream(4, generator=seeded(1)).state_dict()
    del state[lost]
    with pytest.raises(CheckpointError, match=f"lacks {lost}"):
        split_of().stream(4).load_state_dict(state)


@pytest.mark.parametrize(
    "damaged", [torch.zeros(3, dtype=torch.uint8), torch.zeros(5056), "nonsense"]
)
@pytest.mark.parametrize("which", ["generator", "epoch_start"])
def test_a_damaged_state_is_refused_and_changes_nothing(damaged: Any, which: str) -> None:
    stream, twin = (split_of().stream(4, generator=seeded(1)) for _ in range(2))
    state = stream.state_dict()
    next(stream)
    next(twin)
    with pytest.raises(CheckpointError, match="is damaged"):
        stream.load_state_dict({**state, which: damaged})
    assert all(same(one, other) for one, other in islice(zip(stream, twin, strict=False), 6))


def test_a_stream_draws_from_anything_that_gives_batches() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 5

        def batch(
            self,
            indices: Tensor,
            *,
            generator: torch.Generator | None = None,
            device: torch.device | str | None = None,
        ) -> Batch:
            return Batch(indices[:, None] / 5, indices, indices).to(device)

    assert isinstance(Numbers(), Batchable)
    stream = Stream(Numbers(), 2, generator=seeded(3))
    ids = torch.cat([next(stream).ids for _ in range(3)])
    assert ids.tolist() == torch.randperm(5, generator=seeded(3)).tolist()


def test_a_split_without_batches_at_indices_cannot_be_streamed() -> None:
    numbers: Any = [1, 2, 3]
    with pytest.raises(SpecError, match=r"a list has no method batch\(indices, …\)"):
        Stream(numbers, 2)
