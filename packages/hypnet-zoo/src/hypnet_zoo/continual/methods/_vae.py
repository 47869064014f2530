"""A variational autoencoder whose decoder a hypernetwork generates for each task."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from hypnet_core.networks import HyperNetwork, MainNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._networks import copied, hypernet_groups, train_embeddings
from hypnet_zoo.regularizers.output import OutputRegularizer

DEFAULT_DECODER: Any = {"name": "chunked_hmlp", "chunk_size": 1000, "hidden": (32, 32)}


class GeneratorOptions(TypedDict, total=False):
    """Options of the generative model."""

    hidden: Annotated[
        tuple[PositiveInt, ...],
        Field(default=(128, 128), description="Widths of encoder and decoder."),
    ]
    latent: Annotated[PositiveInt, Field(default=16, description="Dimensions of the latent.")]
    likelihood: Annotated[
        Literal["auto", "bernoulli", "gaussian"],
        Field(
            default="auto",
            description=(
                "Distribution of inputs: `bernoulli` for numbers in [0, 1], else `gaussian`; told"
                " by the first samples by default."
            ),
        ),
    ]
    decoder: Annotated[
        HypernetChoice,
        Field(
            default=DEFAULT_DECODER,
            validate_default=True,
            description="The hypernetwork that generates the decoder, and its options.",
        ),
    ]
    decoder_beta: Annotated[
        NonNegativeFloat,
        Field(default=0.05, description="Strength of the regulariser of earlier decoders."),
    ]
    decoder_embedding: Annotated[
        PositiveInt, Field(default=8, description="Length of the decoder's task embeddings.")
    ]
    replay_batch: Annotated[
        PositiveInt | None,
        Field(
            default=None,
            description="Generated samples per training step; as many as new ones by default.",
        ),
    ]


class GeneratedVAE(nn.Module):
    r"""Learns to generate the inputs of each task.

    The loss of a batch is the negative evidence lower bound per input dimension,

    $$ \tfrac{1}{d} \bigl( -\log p(x | z; h(e_t, \theta))
    + KL(q(z | x) \,\|\, N(0, I)) \bigr) $$

    The encoder is shared by all tasks; only the decoder must remember them.

    Args:
        problem: The problem, whose inputs are generated.
        options: See `GeneratorOptions`, complete.

    References:
        D. P. Kingma, M. Welling: Auto-encoding variational Bayes. ICLR 2014,
        arXiv:1312.6114. The generated decoder: von Oswald et al., arXiv:1906.00695,
        section 2.
    """

    def __init__(self, problem: Problem, options: GeneratorOptions) -> None:
        super().__init__()
        hidden, self.latent = options["hidden"], options["latent"]
        self.in_shape = tuple(problem.tasks[0].train[0][0].shape)
        self.size = math.prod(self.in_shape)
        self.beta = options["decoder_beta"]
        self.bernoulli = _is_bernoulli(problem, options["likelihood"])
        self.encoder = mlp((self.size, *hidden, 2 * self.latent))
        self.net = MainNetwork(mlp((self.latent, *reversed(hidden), self.size)))
        conditions = ConditionSpec(count=len(problem.tasks), size=options["decoder_embedding"])
        self.hypernet: HyperNetwork = HypernetChoice.of(options["decoder"]).build(
            self.net.target, conditions
        )
        self.regularizer: OutputRegularizer | None = None
        self._start: dict[str, Tensor] = {}
        self.to(problem.device)

    def begin(self, task: int) -> None:
        """Begin a task: fix the decoders of the earlier ones as they are now."""
        self._start = copied(self.hypernet) if task else {}
        self._protect(task)

    def _protect(self, task: int) -> None:
        train_embeddings(self.hypernet, {task})
        earlier = range(task)
        self.regularizer = OutputRegularizer(self.hypernet, earlier) if task and self.beta else None

    def groups(self) -> dict[str, list[str]]:
        """Names of the hypernetwork's parameters within a method, by their group."""
        return hypernet_groups(self.hypernet, "vae.hypernet.")

    def saved(self) -> dict[str, Any]:
        """The state, and the hypernetwork as it was when the present task began."""
        return {"now": dict(self.state_dict()), "start": self._start}

    def resume(self, state: Mapping[str, Any], task: int) -> None:
        """Continue from what `saved` gave, in the middle of a task."""
        self._start = dict(state["start"])
        # The regulariser's targets come from the hypernetwork of that time.
        if self._start:
            self.hypernet.load_state_dict(self._start)
        self._protect(task)
        self.load_state_dict(state["now"])

    def kept_bytes(self, task: int) -> int:
        """Memory of the decoders of earlier tasks."""
        element = next(self.hypernet.parameters()).element_size()
        return self.net.target.numel * max(task, 0) * element

    def loss(self, x: Tensor, task: int) -> Tensor:
        """The loss of inputs of the present task, protection included."""
        flat = x.flatten(1)
        mean, log_var = self.encoder(flat).chunk(2, dim=1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        decoded = self.net(z, weights=self.hypernet(task))
        divergence = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(dim=1)
        loss: Tensor = (self._reconstruction(decoded, flat) + divergence).mean() / self.size
        if self.regularizer is None:
            return loss
        return loss + self.beta * self.regularizer()

    def _reconstruction(self, decoded: Tensor, flat: Tensor) -> Tensor:
        if self.bernoulli:
            found = F.binary_cross_entropy_with_logits(decoded, flat, reduction="none")
        else:
            found = 0.5 * (decoded - flat).square()
        return found.sum(dim=1)

    @torch.no_grad()
    def sample(self, tasks: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
        """Inputs of several tasks.

        Args:
            tasks: Numbers of tasks.
            count: Samples of each.

        Returns:
            Inputs `[len(tasks) * count, *in_shape]`, and the task of each.
        """
        training = self.hypernet.training
        self.hypernet.eval()
        weights = self.hypernet(list(tasks))
        self.hypernet.train(training)
        like = weights.flat
        z = torch.randn(len(tasks), count, self.latent, dtype=like.dtype, device=like.device)
        decoded = self.net(z, weights=weights, paired=True)
        x = decoded.sigmoid() if self.bernoulli else decoded
        ids = torch.tensor(list(tasks), device=like.device).repeat_interleave(count)
        return x.reshape(-1, *self.in_shape), ids

    def replayed(self, before: int, size: int) -> tuple[Tensor, Tensor]:
        """About `size` samples of the tasks before one, at random if there are many."""
        chosen = torch.randperm(before)[:size].tolist()
        return self.sample(chosen, max(size // len(chosen), 1))


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with rectifiers between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _is_bernoulli(problem: Problem, likelihood: Literal["auto", "bernoulli", "gaussian"]) -> bool:
    if likelihood != "auto":
        return likelihood == "bernoulli"
    first = problem.tasks[0].train
    # A generator of its own: looking at samples must not move the global one.
    generator = torch.Generator().manual_seed(0)
    x = next(iter(first.batches(min(len(first), 256), generator=generator))).x
    return bool(((x >= 0) & (x <= 1)).all())
