"""Deterministic algorithms, and the names of operations that have none."""

from __future__ import annotations

import pytest
import torch

from hypnet_core.errors import RunError
from hypnet_core.runs import deterministic


def settings() -> tuple[bool, ...]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        torch.are_deterministic_algorithms_enabled(),
        bool(cudnn.deterministic),
        not cudnn.benchmark,
        not cudnn.allow_tf32,
        not matmul.allow_tf32,
    )


def test_settings_hold_inside_and_are_restored() -> None:
    before = settings()
    with deterministic():
        assert all(settings())
    assert settings() == before
    with deterministic(False):
        assert settings() == before
    with pytest.raises(ZeroDivisionError), deterministic():
        raise ZeroDivisionError
    assert settings() == before


def test_an_operation_without_a_deterministic_form_is_named() -> None:
    x, index = torch.zeros(3), torch.tensor([0, 0])
    refusal = pytest.raises(RunError, match=r"^deterministic: put_.* has no deterministic form")
    with refusal, deterministic():
        x.put_(index, torch.tensor([1.0, 2.0]))
    x.put_(index, torch.tensor([1.0, 2.0]))  # outside it works


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="size"), deterministic():
        torch.ones(2) + torch.ones(3)
