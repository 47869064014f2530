"""Continual learning with a task-conditioned hypernetwork."""

from __future__ import annotations

from typing import ClassVar

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import MethodChoice
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.methods.hypernet import Hypernet
from hypnet_zoo.experiments._continual.config import HyperCLConfig, LoopConfig
from hypnet_zoo.experiments.continual import Continual


class HyperCL(Continual):
    r"""Learns a sequence of tasks without forgetting and without old data.

    This is the experiment `continual` with the method `hypernet`, whose options stand
    at the top: each task $t$ has an embedding $e_t$; a hypernetwork generates the main
    network's weights $h(e_t, \theta)$. While task $t$ is learned, a regulariser keeps
    the weights of earlier tasks in place:

    $$ \mathcal{L}_t(\theta, e_t) + \frac{\beta}{t - 1} \sum_{t' < t} \lVert h(e_{t'},
    \theta) - h(e_{t'}, \theta^*) \rVert^2 $$

    with $\theta^*$ the parameters before task $t$.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695.
    """

    Config: ClassVar[type[LoopConfig]] = HyperCLConfig

    def method_of(self, config: HyperCLConfig) -> MethodChoice:
        """The method `hypernet`, with the options of the configuration."""
        return MethodChoice(
            name="hypernet",
            hnet=config.hnet,
            embedding_size=config.embedding_size,
            generate=config.generate,
            protect=config.cl,
            statistics=config.statistics,
            distillation=config.distillation,
        )

    def check(self, config: HyperCLConfig, learning: Learning) -> None:
        """Refuse a start of parameters that the main network does not keep.

        Raises:
            ConfigError: All weights and biases are generated.
        """
        method = learning.method
        # It would only move the random stream, and results would look different.
        if (
            config.mnet_init.scheme != "own"
            and isinstance(method, Hypernet)
            and not method.starts_own
        ):
            raise ConfigError(
                f"mnet_init.scheme={config.mnet_init.scheme}: all weights and biases of the main"
                " network are generated: use hnet.init"
            )
