from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_data import hold_out_first, hold_out_stratified

labels_and_count = st.lists(st.integers(0, 5), min_size=1, max_size=80).flatmap(
    lambda labels: st.tuples(st.just(labels), st.integers(0, len(labels) - 1))
)


@given(labels_and_count)
def test_first_holds_out_the_first_samples(case: tuple[list[int], int]) -> None:
    labels, count = case
    assert hold_out_first(torch.tensor(labels), count).tolist() == [True] * count + [False] * (
        len(labels) - count
    )


@given(labels_and_count)
def test_stratified_holds_out_of_every_class_its_share(case: tuple[list[int], int]) -> None:
    labels, count = case
    flags = hold_out_stratified(torch.tensor(labels), count).tolist()
    assert sum(flags) == count
    chosen = Counter(label for label, flag in zip(labels, flags, strict=True) if flag)
    for label, size in Counter(labels).items():
        assert abs(chosen[label] - count * size / len(labels)) < 1


def test_stratified_spreads_its_choice_evenly_over_the_file() -> None:
    flags = hold_out_stratified(torch.zeros(100, dtype=torch.uint8), 10)
    assert torch.nonzero(flags).flatten().tolist() == list(range(5, 100, 10))


@pytest.mark.parametrize("hold_out", [hold_out_first, hold_out_stratified])
@pytest.mark.parametrize(
    ("count", "message"), [(10, "only 10"), (11, "only 10"), (-1, "must not be negative")]
)
def test_nothing_left_to_learn_from_is_an_error(
    hold_out: Callable[[Tensor, int], Tensor], count: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        hold_out(torch.arange(10), count)
