from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnet_core.errors import DataError
from hypnet_data._io.files import Source
from hypnet_data._io.prepared import Arrays, prepared

ARRAYS: Arrays = {
    "x": np.arange(60, dtype=np.uint8).reshape(5, 3, 4),
    "y": np.array([3, 1, 2]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "one": np.array(7, dtype=np.int16),
    "none": np.zeros((0, 2), dtype=np.float32),
}


class Original:
    """A source file, and a count of how often it was read."""

    def __init__(self, root: Path) -> None:
        self.source = Source(root / "original")
        self.source.path.write_bytes(b"original")
        self.kept = root / "kept.arrays"
        self.reads = 0

    def arrays(self) -> Arrays:
        return prepared(self.kept, [self.source], self._read, download=False)

    def _read(self) -> Arrays:
        self.reads += 1
        return ARRAYS


@pytest.fixture
def original(tmp_path: Path) -> Original:
    made = Original(tmp_path)
    made.arrays()
    return made


def same(found: Arrays) -> bool:
    return list(found) == list(ARRAYS) and all(
        array.dtype == ARRAYS[name].dtype
        and array.shape == ARRAYS[name].shape
        and np.array_equal(array, ARRAYS[name])
        for name, array in found.items()
    )


def test_arrays_of_every_shape_and_type_are_kept_as_they_are(original: Original) -> None:
    assert same(original.arrays())
    assert original.reads == 1


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_flipped_bit_anywhere_is_taken_for_whole(
    original: Original, data: st.DataObject
) -> None:
    whole = bytearray(original.kept.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    original.kept.write_bytes(whole)
    before = original.reads
    assert same(original.arrays())
    assert original.reads == before + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole + b"x",
        lambda whole: whole[:-1],
        lambda whole: b"\x93NUMPY\x01\x00" + whole,
        lambda whole: b"PK\x03\x04" + whole,
        lambda whole: b"x" * (3 << 20),
        lambda whole: b"",
    ],
)
def test_a_file_of_something_else_is_read_anew_from_the_original(
    original: Original, damage: Callable[[bytes], bytes]
) -> None:
    original.kept.write_bytes(damage(original.kept.read_bytes()))
    assert same(original.arrays())
    assert original.reads == 2
    assert same(original.arrays())
    assert original.reads == 2  # it was kept anew


def test_without_the_original_damage_is_an_error(original: Original) -> None:
    whole = original.kept.read_bytes()
    original.kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    original.source.path.unlink()
    with pytest.raises(DataError, match="original is missing"):
        original.arrays()


def test_a_damaged_image_in_what_was_kept_of_mnist_is_noticed(few: Any, tmp_path: Path) -> None:
    from hypnet_data import mnist

    few.write(tmp_path)
    options: dict[str, Any] = {
        "validation_size": 0,
        "data_dir": tmp_path,
        "download": False,
        "verify": False,
    }
    mnist(**options)
    kept = tmp_path / "prepared" / "MNIST.arrays"
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255
    kept.write_bytes(content)
    split: Any = mnist(**options).train
    assert np.array_equal(split.samples.x[:, 0].numpy(), few.arrays["train-images-idx3-ubyte"])
