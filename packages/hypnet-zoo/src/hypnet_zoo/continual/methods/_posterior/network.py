"""A main network, and a hypernetwork that writes distributions over its weights."""

from __future__ import annotations

from torch import Tensor, nn

from hypnet_core.networks import HyperNetwork, MainNetwork, Weights
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_core.tasks import Problem
from hypnet_zoo.bayes.posteriors import (
    DiracFamily,
    Family,
    Gaussian,
    GaussianFamily,
    ImplicitFamily,
    LocalWeights,
    Posterior,
    RadialFamily,
)
from hypnet_zoo.continual.methods._networks import generated_groups
from hypnet_zoo.continual.methods._posterior.options import PosteriorOptions
from hypnet_zoo.continual.preparation import named


class PosteriorNetwork(nn.Module):
    """Writes a posterior for each condition, and runs the main network by its draws.

    Args:
        net: The main network.
        family: Makes distributions from what is written.
        hypernet: Writes them.
    """

    def __init__(self, net: MainNetwork, family: Family, hypernet: HyperNetwork) -> None:
        super().__init__()
        self.net = net
        self.family = family
        self.hypernet = hypernet

    @classmethod
    def build(cls, problem: Problem, options: PosteriorOptions) -> PosteriorNetwork:
        """Networks for a problem.

        Raises:
            ConfigError: The main network cannot be wrapped as the options say, or
                options do not fit together.
        """
        with named("generate"):
            net = MainNetwork(problem.module, generate=options["generate"])
        family = make_family(options, net.target)
        count = 1 if options["prior_focused"] else len(problem.tasks)
        conditions = ConditionSpec(count=count, size=options["embedding_size"])
        with named("hnet"):
            made: HyperNetwork = HypernetChoice.of(options["hnet"]).build(family.target, conditions)
        return cls(net, family, made).to(problem.device)

    def groups(self) -> dict[str, list[str]]:
        """Names of parameters, by the name of their group."""
        return generated_groups(self.net, self.hypernet)

    def posterior(self, written: Tensor) -> Posterior:
        """The distribution that something written stands for."""
        found: Posterior = self.family(written)
        return found

    def run(self, x: Tensor, draws: Weights, condition: int) -> Tensor:
        """Outputs `[count, B, *outputs]` by some draws of a condition's posterior."""
        outputs: Tensor = self.net(x, weights=draws.belonging_to(condition))
        return outputs

    def run_locally(self, x: Tensor, posterior: Gaussian, condition: int, count: int) -> Tensor:
        """Outputs `[count, B, *outputs]`, each row of which has noise of its own.

        Args:
            x: Inputs `[B, *in_shape]`.
            posterior: The distribution over weights.
            condition: Whose it is.
            count: Times that the inputs are repeated.
        """
        many = x.expand(count, *x.shape).flatten(0, 1)
        outputs: Tensor = self.net(many, weights=LocalWeights(posterior), condition=condition)
        return outputs.view(count, len(x), *outputs.shape[1:])


def make_family(options: PosteriorOptions, spec: TargetSpec) -> Family:
    """The family of distributions that options choose."""
    kind = options["posterior"]
    if kind == "dirac":
        return DiracFamily(spec)
    if kind == "gaussian":
        return GaussianFamily(spec, options["scale_start"])
    if kind == "radial":
        return RadialFamily(spec, options["scale_start"])
    return ImplicitFamily(
        spec,
        latent=options["latent_dim"],
        latent_std=options["latent_std"],
        hidden=options["writer_hidden"],
        spread=options["spread"],
    )
