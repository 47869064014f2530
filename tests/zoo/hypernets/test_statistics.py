"""Batch norm in hypernetworks: statistics of one condition do not touch another's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import ConditionError, SpecError, WeightsError
from hypnet_core.networks import named_statistics
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP, HDeconv, StatisticsPerCondition

TARGET = TargetSpec.from_shapes([[10, 5], [10]])
CONDITIONS = ConditionSpec(count=3, size=4, input_size=6)
MAKERS: dict[str, Any] = {
    "full": lambda: HMLP(TARGET, CONDITIONS, hidden=(8, 8), batch_norm=True),
    "chunked": lambda: ChunkedHMLP(TARGET, CONDITIONS, hidden=(8,), chunk_size=20, batch_norm=True),
    "deconvolutions": lambda: HDeconv(
        TARGET, CONDITIONS, num_layers=3, filters=(8, 8), attention_after=(), batch_norm=True
    ),
}


def noise(seed: int) -> torch.Tensor:
    return torch.randn(16, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_statistics_are_those_of_one_hypernetwork_per_condition(make: Any) -> None:
    """The oracle: a copy of the hypernetwork for each condition."""
    torch.manual_seed(0)
    inner: HyperNetwork = make()
    alone = {condition: copy.deepcopy(inner) for condition in (0, 2)}
    hypernet = StatisticsPerCondition(inner)
    for step in range(6):
        condition = (0, 2)[step % 2]
        expected = alone[condition](condition, uncond_input=noise(step))
        torch.testing.assert_close(
            hypernet(condition, uncond_input=noise(step)).flat, expected.flat
        )
    hypernet.eval()
    for condition, copied in alone.items():
        copied.eval()
        found = hypernet.statistics(condition)
        for name, buffer in named_statistics(copied):
            if name in found:
                torch.testing.assert_close(found[name], buffer)
        torch.testing.assert_close(
            hypernet(condition, uncond_input=noise(9)).flat,
            copied(condition, uncond_input=noise(9)).flat,
        )
    assert hypernet.statistics(1).flat.equal(hypernet.statistics(7).flat), (
        "an untrained condition has the hypernetwork's own"
    )


def test_a_batch_of_conditions_equals_one_by_one() -> None:
    torch.manual_seed(0)
    hypernet = StatisticsPerCondition(MAKERS["full"]())
    for condition in range(3):
        hypernet(condition, uncond_input=noise(condition))
    hypernet.eval()
    ids = [2, 0, 2, 1]
    batch = hypernet(ids, uncond_input=noise(5)[:4])
    for row, condition in enumerate(ids):
        torch.testing.assert_close(
            batch.index(row).flat, hypernet(condition, uncond_input=noise(5)[row]).flat
        )


def test_statistics_may_be_another_conditions_or_come_from_outside() -> None:
    torch.manual_seed(0)
    hypernet = StatisticsPerCondition(MAKERS["full"]())
    hypernet(1, uncond_input=noise(1))
    hypernet.eval()
    z = noise(2)
    distilled = hypernet.statistics(1)
    expected = hypernet(0, uncond_input=z, statistics_of=1).flat
    assert not torch.equal(expected, hypernet(0, uncond_input=z).flat)
    torch.testing.assert_close(hypernet(0, uncond_input=z, stats=distilled).flat, expected)
    own = hypernet(cond_input=hypernet.inner.embedding(0), uncond_input=z).flat
    torch.testing.assert_close(own, hypernet(0, uncond_input=z).flat)
    before = distilled.flat.clone()
    hypernet.train()(0, uncond_input=z, stats=distilled)
    assert torch.equal(distilled.flat, before)
    assert torch.equal(hypernet.statistics(1).flat, before)
    with pytest.raises(WeightsError, match="missing"):
        hypernet(0, uncond_input=z, stats={})


def test_its_state_can_be_saved_and_loaded() -> None:
    first, second = (StatisticsPerCondition(MAKERS["full"]()) for _ in range(2))
    first(2, uncond_input=noise(0))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(
        second.eval()(2, uncond_input=noise(1)).flat, first.eval()(2, uncond_input=noise(1)).flat
    )


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(SpecError, match="HMLP has no running statistics"):
        StatisticsPerCondition(HMLP(TARGET, CONDITIONS))
    hypernet = StatisticsPerCondition(MAKERS["full"]())
    with pytest.raises(ConditionError, match="at least two conditions"):
        hypernet([0, 1], uncond_input=noise(0)[:2])
    with pytest.raises(ConditionError, match="there is no condition 3"):
        hypernet(3, uncond_input=noise(0))
