"""Fixtures of the zoo's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hypnet_core.cli import main


@pytest.fixture
def inspected(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The JSON of `hypnet inspect`, run in this process."""

    def run(*arguments: str) -> Any:
        torch.manual_seed(0)
        with pytest.raises(SystemExit) as end:
            main(["inspect", *arguments, "--json"])
        assert not end.value.code
        return json.loads(capsys.readouterr().out)

    return run
