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
