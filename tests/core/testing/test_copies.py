"""The comparison with fresh copies finds what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.testing import equals_fresh_copies, without_dropout

KEPT: dict[str, Tensor] = {}


class CachesElsewhere(nn.Module):
    """Keeps something derived from its weights where nobody can see it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight if self.training else KEPT.setdefault("w", self.layer.weight)
        return x @ weight.T


def test_a_hidden_cache_is_found() -> None:
    KEPT.clear()
    x = torch.randn(4, 3)
    with pytest.raises((AssertionError, RuntimeError)):
        equals_fresh_copies(CachesElsewhere(), (x,), training=False)
    assert equals_fresh_copies(CachesElsewhere(), (x,), training=True) == "vmap"


def test_a_plain_network_is_right_in_both_modes() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    for training, way in ((False, "vmap"), (True, "loop")):
        assert equals_fresh_copies(module, (torch.randn(6, 3),), training=training) == way
    assert module[2].p == 0.5


def test_a_refusal_is_raised() -> None:
    layer = nn.Linear(2, 2)
    vars(layer)["kept"] = [layer.bias]
    with pytest.raises(SpecError, match="kept holds the parameter bias"):
        equals_fresh_copies(layer, (torch.ones(2),), training=False)


def test_dropout_is_switched_off_wherever_it_is() -> None:
    layer = without_dropout(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True))
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(layer.train()(x), layer(x))
