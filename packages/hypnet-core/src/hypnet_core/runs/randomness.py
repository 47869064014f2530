"""The global random generators as one object with a state."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class RandomStates:
    """The states of the global generators of torch, numpy and Python.

    Saved in a checkpoint beside networks and optimisers, they make a loop that uses
    global randomness continue as if it had never stopped. A `torch.Generator` of one's
    own is saved by itself.

    Example:
        >>> states = RandomStates().state_dict()
        >>> first = torch.rand(2)
        >>> RandomStates().load_state_dict(states)
        >>> bool((torch.rand(2) == first).all())
        True
    """

    def state_dict(self) -> dict[str, Any]:
        """The states now."""
        return {
            "torch": torch.get_rng_state(),
            # An empty list where there is no GPU.
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": np.random.get_state(),  # noqa: NPY002  the generator that libraries share
            "python": random.getstate(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the states. Those of GPUs are set for as many as there are here."""
        torch.set_rng_state(state["torch"].cpu())
        for device, kept in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(kept.cpu(), device)
        np.random.set_state(state["numpy"])  # noqa: NPY002  see above
        random.setstate(state["python"])
