"""Fixtures of the zoo's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.fixture
def inspected(in_process: Callable[..., Any]) -> Callable[..., Any]:
    """The JSON of `hypnet inspect`, run in this process."""

    def run(*arguments: str) -> Any:
        torch.manual_seed(0)
        done = in_process("inspect", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


LONG = ("hypercl_permuted_mnist_100-a_short_run", "hypercl_permuted_mnist_250-a_short_run")
"""Checks that take ten seconds, for hypernetworks whose sizes are published."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave long checks to `nox -s slow`."""
    for item in items:
        if any(name in item.name for name in LONG):
            item.add_marker(pytest.mark.slow)
