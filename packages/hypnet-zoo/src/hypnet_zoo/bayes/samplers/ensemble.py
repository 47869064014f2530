"""Ensembles: members that start apart and climb to modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity
from hypnet_zoo.bayes.samplers._ascent import ascend
from hypnet_zoo.bayes.samplers._stochastic import Stochastic


class Ensemble(Stochastic):
    r"""An ensemble: each chain is a member that Adam trains to a mode.

    It does not draw from the distribution: the spread of its members comes from their
    starts alone. All members are trained in one batch, on the same samples where the
    log density is estimated from some. The warm-up is the training, and each member
    gives one draw.

    Args:
        log_density: The log density, or an estimate of it, batched over members.
        lr: Learning rate of Adam.

    Raises:
        ConfigError: An option is impossible.

    References:
        B. Lakshminarayanan, A. Pritzel, C. Blundell: Simple and scalable predictive
        uncertainty estimation using deep ensembles. NeurIPS 2017, arXiv:1612.01474.
    """

    climbs: ClassVar[bool] = True

    def __init__(self, log_density: LogDensity, *, lr: float = 0.01) -> None:
        if lr <= 0.0:
            raise ConfigError(f"lr must be positive, got {lr}")
        super().__init__(log_density, lr)

    def _beside(self, chains: Mapping[str, Tensor]) -> dict[str, Tensor]:
        zeros = torch.zeros_like(chains["position"])
        return {"mean": zeros, "square": zeros.clone()}

    def _moved(
        self, chains: Mapping[str, Tensor], count: int, generator: torch.Generator
    ) -> dict[str, Any]:
        del generator  # nothing is random
        moved = {name: chains[name].clone() for name in ("position", "mean", "square")}
        moments = [moved["mean"]], [moved["square"]]
        ascend([moved["position"]], [chains["gradient"]], moments, steps=count, lr=self.step_size)
        return moved
