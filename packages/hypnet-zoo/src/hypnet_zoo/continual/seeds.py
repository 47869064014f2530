"""Seeds of tasks, and the state of torch's generators."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def seed_of(*numbers: int) -> int:
    """A seed that depends on all the numbers.

    Neighbouring seeds and tasks therefore share no random stream.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    # A hash instead of a sum, so that (0, 1) and (1, 0) differ.
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:7], "big")


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed torch's generators for a block, and restore their states afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(*numbers))
        yield


def random_state() -> dict[str, Any]:
    """The states of torch's global generators."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": on_gpus}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set the states of torch's global generators, as far as there are GPUs."""
    torch.set_rng_state(state["cpu"].cpu())
    for device, kept in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(kept.cpu(), device)
