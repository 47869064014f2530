from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hypnet_core.errors import SpecError
from hypnet_data import digits, numpy_batches, to_numpy

PAGE = Path(__file__).parents[2] / "docs" / "data" / "interoperation.md"


def test_numpy_batches_are_the_tensors_batches_without_a_copy() -> None:
    task = digits()
    for batch, arrays in zip(task.test.batches(100), numpy_batches(task.test, 100), strict=True):
        assert np.array_equal(batch.x, arrays.x)
        assert np.array_equal(batch.y, arrays.y)
        assert np.array_equal(batch.ids, arrays.ids)
        assert arrays.lengths is None
    batch = next(task.test.batches(5))
    assert np.shares_memory(to_numpy(batch).x, batch.x.numpy())


def test_channels_may_come_last() -> None:
    task = digits()
    first, last = (
        next(numpy_batches(task.test, 7)),
        next(numpy_batches(task.test, 7, channels_last=True)),
    )
    assert last.x.shape == (7, 8, 8, 1)
    assert last.x.flags.c_contiguous
    assert np.array_equal(first.x.transpose(0, 2, 3, 1), last.x)


def test_the_order_follows_the_seed_and_the_last_batch_may_be_left_out() -> None:
    train = digits(augmentation=True).train
    one, two, three = (
        next(numpy_batches(train, 64, shuffle=True, seed=seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.x, two.x)
    assert not np.array_equal(one.ids, three.ids)
    assert [len(batch.x) for batch in numpy_batches(digits().test, 100)] == [100, 100, 100, 60]
    assert [len(batch.x) for batch in numpy_batches(digits().test, 100, drop_last=True)] == [
        100
    ] * 3
    with pytest.raises(SpecError, match="batch size"):
        numpy_batches(train, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_gives_every_sample_once(workers: int) -> None:
    task = digits()
    dataset: Any = task.test  # a SplitLike, which a DataLoader takes without being a Dataset
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=50, num_workers=workers)
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    expected = next(task.test.batches(360))
    assert torch.equal(x, expected.x)
    assert torch.equal(y, expected.y)


def test_the_examples_of_the_page_run() -> None:
    with torch.random.fork_rng():
        results = doctest.testfile(
            str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert results.attempted >= 5
    assert results.failed == 0


def test_the_way_into_tf_data_is_a_python_program_whose_batches_fit_the_signature() -> None:
    """TensorFlow is too large for the tests, so a stand-in checks its arguments."""
    text = PAGE.read_text(encoding="utf-8")
    code = text[text.index("import tensorflow as tf") :].partition("```")[0]
    compile(code, str(PAGE), "exec")
    before, _, _ = code.partition("data = tf.data")
    names: dict[str, object] = {}
    exec(before.replace("import tensorflow as tf", ""), names)  # the page's own lines
    batches = names["batches"]
    assert callable(batches)
    for _ in range(2):  # it is called anew for each pass
        for x, y in batches():
            assert x.shape[1:] == (8, 8, 1)
            assert (x.dtype, y.dtype, y.ndim) == (np.float32, np.int64, 1)
