"""The fixed part of weights that are written by chunks."""

from __future__ import annotations

import pytest
import torch

from hypnet_core import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets import ChunkedHMLP
from hypnet_zoo.hypernets._shared.origin import Origin, signs


def splitmix64(seed: int, index: int) -> int:
    """The reference, in whole numbers."""
    mask = (1 << 64) - 1
    z = (seed + index * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_signs_are_bits_of_the_published_hash() -> None:
    for seed in (1, 12345, 2**31 - 1):
        expected = [1 - 2 * (splitmix64(seed, i) & 1) for i in range(1, 300)]
        assert signs(seed, 299).tolist() == expected
    many = signs(7, 100_000)
    assert abs(float(many.mean())) < 0.01
    assert abs(float((many[1:] * many[:-1]).mean())) < 0.01


def test_runs_of_equal_weights_are_kept_once_and_come_back() -> None:
    origin = Origin(1000)
    offset, scale = torch.zeros(1000), torch.ones(1000)
    offset[200:300], scale[250:] = 1.0, 0.1
    origin.place(offset, scale, seed=5)
    state = origin.state_dict()
    assert sum(one.numel() for one in state.values()) == 3 * 4 + 1
    torch.testing.assert_close(origin.scale, scale * signs(5, 1000))
    twin = Origin(1000)
    twin.load_state_dict(state)
    flat = torch.randn(3, 1000)
    torch.testing.assert_close(twin(flat), offset + scale * signs(5, 1000) * flat)
    twin.reset()
    assert twin(flat) is flat
    with pytest.raises(RuntimeError, match="does not fit the target"):
        Origin(999).load_state_dict(state)


def test_a_checkpoint_stays_as_small_as_the_hypernetwork() -> None:
    target = TargetSpec.from_shapes([[300, 200], [300], [10, 300], [10]])
    hypernet = ChunkedHMLP(target, ConditionSpec(count=2), chunk_size=1000, hidden=(10,))
    stored = sum(tensor.numel() for tensor in hypernet.state_dict().values())
    parameters = sum(p.numel() for p in hypernet.parameters())
    assert stored < parameters + 300
    assert parameters < target.numel / 3
