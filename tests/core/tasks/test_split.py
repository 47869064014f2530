from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from hypnet_core.errors import DataError, SpecError
from hypnet_core.protocols import SplitLike
from hypnet_core.tasks import Augmentation, Batch, Samples, Split, Transform


class Jitter(Augmentation):
    """Adds noise; a class of the module, so that it can be pickled."""

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return values + torch.rand(values.shape, generator=generator)


def halved(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return values.to(torch.float32) / 2


def images(count: int = 20, **options: Any) -> Split:
    """Images whose pixels all hold the sample's number, and labels from 0 to 2."""
    x = (
        torch.arange(count, dtype=torch.uint8)[:, None, None, None]
        .expand(count, 1, 2, 2)
        .contiguous()
    )
    # Not `Split.of`, which would scale the bytes.
    samples = Samples.of(x, torch.arange(count) % 3, first_id=options.pop("first_id", 0))
    return Split(samples, torch.arange(count), tuple(options.pop("transforms", ())), **options)


indices_of_20 = st.lists(st.integers(0, 19), max_size=30)


def test_a_split_is_what_the_protocol_asks_for() -> None:
    assert isinstance(images(), SplitLike)


def test_samples_keep_their_dtype_until_a_transform_changes_it() -> None:
    assert next(images().batches(4)).x.dtype == torch.uint8
    assert next(images(transforms=[halved]).batches(4)).x.dtype == torch.float32


def test_integer_targets_of_any_width_come_as_int64() -> None:
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        split = Split.of(torch.zeros(3, 1), torch.tensor([0, 1, 2], dtype=dtype))
        assert (
            split[1][1].dtype
            == next(split.batches(3)).y.dtype
            == split.targets.dtype
            == torch.int64
        )


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_numbers_come_in_torchs_default_type(kind: Any) -> None:
    numbers = np.linspace(0, 1, 8, dtype=kind).reshape(4, 2)
    split = Split.of(numbers, numbers[:, :1])
    batch = next(split.batches(4))
    assert batch.x.dtype == batch.y.dtype == split.targets.dtype == torch.float32
    assert torch.equal(batch.x, torch.from_numpy(numbers).float())
    # What has the type already is not copied.
    assert (split.samples.x.data_ptr() == numbers.ctypes.data) == (kind is np.float32)


@pytest.mark.parametrize("kind", [">f8", "<f8", ">f4", "<f4"])
@pytest.mark.parametrize("step", [1, -1])
def test_arrays_may_be_turned_and_in_either_order_of_bytes(kind: str, step: int) -> None:
    numbers = np.linspace(0, 1, 12, dtype=kind).reshape(4, 3)[::step, ::-1]
    labels = np.array([0, 1, 2, 3], dtype=">i4")[::step]
    batch = Split.of(numbers, labels).all()
    assert batch.x.tolist() == numbers.astype("f4").tolist()
    assert batch.y.tolist() == labels.tolist()


@pytest.mark.parametrize("shape", [(256, 1, 2, 2), (256, 2, 2)])
def test_images_of_bytes_stay_bytes_and_come_between_0_and_1(shape: tuple[int, ...]) -> None:
    pixels = np.broadcast_to(
        np.arange(256, dtype=np.uint8).reshape(-1, *(1 for _ in shape[1:])), shape
    )
    split = Split.of(pixels, np.zeros(256, dtype=np.uint8))
    assert split.samples.x.dtype == torch.uint8
    assert torch.equal(split.all().x, torch.from_numpy(pixels / 255).float())
    # Other transforms replace the division.
    assert torch.equal(
        Split.of(pixels, np.zeros(256), transforms=[halved]).all().x,
        torch.from_numpy(pixels / 2).float(),
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 2), dtype=np.uint8), r"inputs are uint8 of shape \[4, 2\], should be float"),
        (np.zeros((4, 2), dtype=np.int64), "inputs are int64"),
        (np.zeros((4, 1, 2, 2), dtype=np.uint16), "inputs are uint16"),
        (np.zeros((4, 2), dtype=bool), "inputs are bool"),
        ([["a"], ["b"], ["c"], ["d"]], "inputs are not numbers in an array"),
        ([[1.0], [1.0, 2.0], [1.0], [1.0]], "inputs are not numbers in an array"),
        (np.array([object()] * 4), "inputs are not numbers in an array"),
        (3.0, "inputs must have one entry per sample"),
    ],
)
def test_inputs_that_no_network_reads_are_refused_by_name(x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split.of(x, [0, 1, 0, 1])


@given(first=indices_of_20, data=st.data())
def test_a_subset_of_a_subset_is_a_view_of_the_same_storage(
    first: list[int], data: st.DataObject
) -> None:
    whole = images(first_id=100)
    part = whole.subset(first)
    second = data.draw(
        st.lists(st.integers(0, len(first) - 1), max_size=10) if first else st.just([])
    )
    both = part.subset(second)
    assert both.samples is whole.samples
    assert both.samples.x.data_ptr() == whole.samples.x.data_ptr()
    assert both.ids.tolist() == [100 + first[i] for i in second]
    assert both.all().x[:, 0, 0, 0].tolist() == [first[i] for i in second]


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_flags_choose_the_samples_where_they_are_true(flags: list[bool]) -> None:
    assert images().subset(flags).ids.tolist() == [i for i, flag in enumerate(flags) if flag]
    assert (
        images().subset(torch.tensor(flags)).ids.tolist()
        == images().subset(np.array(flags)).ids.tolist()
    )


@given(st.slices(20))
def test_a_slice_chooses_as_it_does_in_a_list(chosen: slice) -> None:
    if chosen.step is not None and chosen.step < 0:
        chosen = slice(chosen.start, chosen.stop, -chosen.step)  # torch has no negative steps
    assert images().subset(chosen).ids.tolist() == list(range(20))[chosen]


@given(st.permutations(range(20)), st.lists(st.integers(0, 19), max_size=10))
def test_indices_of_is_the_inverse_of_ids(order: list[int], places: list[int]) -> None:
    split = images(first_id=7).subset(order)
    assert split.indices_of(split.ids[places]).tolist() == places


def test_indices_of_an_id_that_is_elsewhere_is_an_error_that_names_it() -> None:
    whole = images()
    with pytest.raises(DataError, match="no sample with id 15 in this split of 10"):
        whole.subset(slice(10)).indices_of([3, 15])
    with pytest.raises(DataError, match="no sample with id 3"):
        whole.subset([]).indices_of([3])


@given(count=st.integers(0, 40), size=st.integers(1, 45), drop_last=st.booleans())
def test_batches_laid_end_to_end_are_the_split(count: int, size: int, drop_last: bool) -> None:
    split = images(count)
    batches = list(split.batches(size, drop_last=drop_last))
    kept = count - count % size if drop_last else count
    assert all(len(batch) == size for batch in batches[:-1])
    assert [int(i) for batch in batches for i in batch.ids] == list(range(kept))
    assert [int(i) for batch in batches for i in batch.x[:, 0, 0, 0]] == list(range(kept))
    assert [int(y) for batch in batches for y in batch.y] == [i % 3 for i in range(kept)]


@given(seed=st.integers(0, 2**32), size=st.integers(1, 25))
def test_a_shuffled_pass_is_the_permutation_of_the_seed(seed: int, size: int) -> None:
    split = images(transforms=[Jitter()])
    one, other = (
        list(split.batches(size, shuffle=True, generator=torch.Generator().manual_seed(seed)))
        for _ in range(2)
    )
    expected = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    assert torch.cat([batch.ids for batch in one]).tolist() == expected.tolist()
    assert all(torch.equal(a.x, b.x) for a, b in zip(one, other, strict=True))


def test_without_a_generator_torch_manual_seed_decides() -> None:
    split = images(transforms=[Jitter()])
    with torch.random.fork_rng():
        drawn: list[Batch] = []
        for _ in range(2):
            torch.manual_seed(3)
            drawn.append(next(split.batches(20, shuffle=True)))
    assert torch.equal(drawn[0].x, drawn[1].x)
    assert torch.equal(drawn[0].ids, drawn[1].ids)


def test_a_given_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    split = images(transforms=[Jitter()])
    list(split.batches(3, shuffle=True, generator=torch.Generator()))
    next(split.stream(3, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_transform_that_works_in_place_does_not_reach_the_storage() -> None:
    split = Split.of(torch.ones(4, 1), torch.zeros(4), transforms=[lambda x, generator: x.mul_(5)])
    assert split.all().x.unique().item() == 5
    assert next(split.batches(4)).x.unique().item() == 5
    assert split.samples.x.unique().item() == 1


def test_transforms_are_applied_in_order_to_whole_batches() -> None:
    seen: list[tuple[int, ...]] = []

    def first(x: Tensor, generator: torch.Generator | None) -> Tensor:
        seen.append(tuple(x.shape))
        return x + 1

    split = Split.of(
        torch.zeros(5, 2), torch.zeros(5), transforms=[first, lambda x, generator: x * 10]
    )
    assert next(split.batches(3)).x.unique().item() == 10
    assert seen == [(3, 2)]


def test_target_transforms_shape_batches_and_targets_alike() -> None:
    split = images(target_transforms=[lambda y, generator: -y])
    assert split.targets.tolist() == split.all().y.tolist() == [-(i % 3) for i in range(20)]


def test_unaugmented_leaves_only_what_is_not_random() -> None:
    split = images(transforms=[Jitter(), halved])
    assert split.unaugmented().transforms == (halved,)
    assert split.with_transforms().all().x.dtype == torch.uint8


def test_unaugmented_takes_what_an_augmentation_has_for_evaluation() -> None:
    class Cropped(Jitter):
        def for_evaluation(self) -> Transform:
            return halved

    assert images(transforms=[Cropped()]).unaugmented().transforms == (halved,)


def test_an_index_counts_from_the_end_if_negative_and_is_refused_beyond() -> None:
    split = images()
    assert split[-1][0][0, 0, 0] == split[19][0][0, 0, 0] == split[np.int64(19)][0][0, 0, 0] == 19
    for beyond in (20, -21):
        with pytest.raises(IndexError, match="the split has 20"):
            split[beyond]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 20], "no sample 20: there are 20"),
        ([-1], "no sample -1"),
        ([[0], [1]], "one-dimensional"),
        ([True, False], "20 flags were expected"),
    ],
)
def test_a_subset_that_does_not_exist_is_an_error(indices: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        images().subset(indices)


def test_a_batch_size_below_one_is_refused_before_the_first_batch() -> None:
    for ask in (images().batches, images().stream):
        with pytest.raises(SpecError, match="at least 1, got 0"):
            ask(0)


def test_inputs_targets_and_lengths_must_be_as_many() -> None:
    with pytest.raises(DataError, match="3 inputs, but 2 targets"):
        Samples.of(torch.zeros(3, 1), [0, 1])
    with pytest.raises(DataError, match="3 inputs, but 1 lengths"):
        Samples.of(torch.zeros(3, 1), [0, 1, 2], lengths=[4])
    with pytest.raises(DataError, match="not be negative"):
        Samples.of(torch.zeros(1, 1), [0], first_id=-1)


def test_arrays_are_shared_and_read_only_ones_copied() -> None:
    array = np.zeros((3, 2), dtype=np.float32)
    assert Samples.of(array, [0, 1, 2]).x.data_ptr() == array.ctypes.data
    array.flags.writeable = False
    assert Samples.of(array, [0, 1, 2]).x.data_ptr() != array.ctypes.data


def test_lengths_come_with_their_samples() -> None:
    split = Split.of(
        torch.zeros(3, 5, 2), torch.zeros(3, 5, 1), lengths=np.array([5, 3, 1], dtype=np.uint8)
    )
    batch = split.subset([2, 0]).all()
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [1, 5]
    assert batch.lengths.dtype == torch.int64
    assert next(images().batches(2)).lengths is None


def test_a_batch_moves_to_a_device_with_everything_in_it() -> None:
    batch = next(
        Split.of(torch.zeros(3, 5, 2), torch.zeros(3), lengths=[5, 3, 1]).batches(2, device="meta")
    )
    assert {
        tensor.device.type
        for tensor in (batch.x, batch.y, batch.ids, batch.lengths)
        if tensor is not None
    } == {"meta"}
    assert len(batch) == 2
    assert batch.to(None) is batch
    again = next(images().batches(2)).to("meta")
    assert again.x.device.type == again.ids.device.type == "meta"
    assert again.lengths is None


def test_memory_is_counted_for_inputs_targets_and_lengths() -> None:
    assert (
        Samples.of(torch.zeros(3, 5), torch.zeros(3, dtype=torch.uint8), lengths=[5, 5, 5]).nbytes
        == 60 + 3 + 24
    )


def test_samples_are_transformed_on_the_device_that_they_go_to() -> None:
    devices: list[str] = []

    def noted(x: Tensor, generator: torch.Generator | None) -> Tensor:
        devices.append(x.device.type)
        return x

    next(images(transforms=[noted]).batches(2, device="meta"))
    assert devices == ["meta"]


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_a_data_loader_gives_the_same_samples_from_its_workers(context: str | None) -> None:
    # A spawned worker cannot import this file, and each takes seconds to import torch.
    split = images(transforms=[halved] if context != "spawn" else [])
    loader = DataLoader(
        split,
        batch_size=6,
        num_workers={None: 0, "fork": 2, "spawn": 1}[context],
        multiprocessing_context=context,
    )
    for (x, y), batch in zip(loader, split.batches(6), strict=True):
        assert torch.equal(x, batch.x)
        assert torch.equal(y, batch.y)


def test_augmentation_differs_between_the_workers_of_a_data_loader() -> None:
    split = images(transforms=[Jitter()]).subset([0] * 4)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        split, batch_size=2, num_workers=2, multiprocessing_context="fork", generator=generator
    )
    (first, _), (second, _) = loader
    assert not torch.equal(first, second)


def test_threads_that_share_a_split_get_what_one_alone_gets() -> None:
    split = images(200, transforms=[Jitter()])

    def epoch(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([batch.x for batch in split.batches(7, shuffle=True, generator=generator)])

    alone = [epoch(seed) for seed in range(8)]
    together: dict[int, Tensor] = {}

    def work(seed: int) -> None:
        together[seed] = epoch(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        torch.equal(a, b) for a, b in zip(alone, (together[seed] for seed in range(8)), strict=True)
    )


def test_a_split_never_changes() -> None:
    split = images()
    for frozen, name in ((split, "rows"), (split.samples, "x")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, torch.arange(3))


def test_a_split_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(images(transforms=[halved]).subset([3, 1])))
    assert copy.all().x[:, 0, 0, 0].tolist() == [1.5, 0.5]
    assert copy.ids.tolist() == [3, 1]


def test_it_says_what_it_is() -> None:
    assert repr(images()) == "Split of 20 samples [1, 2, 2] of torch.uint8"
