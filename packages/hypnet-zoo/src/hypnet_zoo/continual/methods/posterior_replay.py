"""Posterior replay: a distribution over weights for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import Weights
from hypnet_core.plugins import with_defaults
from hypnet_core.protocols import BatchLike, OptimizerLike
from hypnet_core.tasks import Problem
from hypnet_zoo.bayes.posteriors import (
    Gaussian,
    HasDensity,
    Posterior,
    Radial,
    gaussian_prior,
)
from hypnet_zoo.continual.methods._base import PredictsByDraws
from hypnet_zoo.continual.methods._networks import bytes_of, check_samples, copied, train_embeddings
from hypnet_zoo.continual.methods._posterior.between import BetweenPosteriors, between_posteriors
from hypnet_zoo.continual.methods._posterior.coreset import Coreset
from hypnet_zoo.continual.methods._posterior.network import PosteriorNetwork
from hypnet_zoo.continual.methods._posterior.objective import Objective
from hypnet_zoo.continual.methods._posterior.options import PosteriorOptions
from hypnet_zoo.continual.seeds import seed_of
from hypnet_zoo.regularizers import OutputRegularizer


class PosteriorReplay(PredictsByDraws):
    r"""Writes a posterior over weights for each task, and keeps earlier ones.

    Each task $t$ has an embedding $e_t$, from which a hypernetwork writes a
    distribution $q_t$ over the main network's weights. While task $t$ is learned,

    $$ -\mathbb{E}_{q_t} [\log p(\mathcal{D}_t | w)] + KL(q_t \,\|\, p) + \beta \,
    \frac{1}{t-1} \sum_{u < t} D(q_u^{*}, q_u) $$

    is minimised per sample, with $q_u^*$ the posterior before task $t$. Predictions are
    means over draws. Where the task of a sample is unknown, it is the one whose
    posterior is the most certain (`infer=entropy`), or whose draws agree best
    (`agreement`).

    Args:
        problem: The problem.
        **options: See `PosteriorOptions`.

    Raises:
        ConfigError: Options do not fit together.

    References:
        C. Henning, M. R. Cervera et al.: Posterior meta-replay for continual learning.
        NeurIPS 2021, arXiv:2103.01133. `gaussian`: C. Blundell et al., ICML 2015,
        arXiv:1505.05424; `radial`: S. Farquhar et al., arXiv:1907.00865; `avb`: L.
        Mescheder et al., arXiv:1701.04722; `ssge`: J. Shi et al., arXiv:1806.02925.
        Prior-focused: C. V. Nguyen et al.: Variational continual learning. ICLR 2018,
        arXiv:1710.10628.
    """

    has_hypernetwork: ClassVar[bool] = True

    def __init__(self, problem: Problem, **options: Unpack[PosteriorOptions]) -> None:
        super().__init__(problem)
        self.options = with_defaults(PosteriorOptions, options)
        _check(problem, self.options)
        self.network = PosteriorNetwork.build(problem, self.options)
        like = next(self.network.hypernet.parameters())
        self._prior: HasDensity = gaussian_prior(
            self.network.net.target, self.options["prior_scale"], like=like
        )
        self._coreset = Coreset(problem, self.options["coreset"])
        self._start_state: dict[str, Tensor] = {}
        self._objective: Objective | None = None
        self._between: OutputRegularizer | BetweenPosteriors | None = None

    def condition(self, task: int) -> int:
        """The condition whose posterior a task has."""
        return 0 if self.options["prior_focused"] else task

    def begin(self, task: int) -> None:
        """Begin a task: earlier posteriors are to stay as they are now."""
        self._start_state = copied(self.network.hypernet) if task else {}
        super().begin(task)

    def _start(self) -> None:
        train_embeddings(self.network.hypernet, {self.condition(self.task)})
        self._optimizer = self._new_optimizer()
        self._objective = Objective(self.problem, self.task, self._prior_now(), self.options)
        protects = self.task and self.options["beta"] and not self.options["prior_focused"]
        self._between = (
            between_posteriors(self.network, range(self.task), self.options["between"])
            if protects
            else None
        )

    def _new_optimizer(self) -> OptimizerLike:
        parameters = dict(self.network.named_parameters())
        return self.problem.optimizer(parameters, groups=self.network.groups())

    def _prior_now(self) -> HasDensity:
        """The prior of the present task; the hypernetwork is as it began."""
        if not self.task or not self.options["prior_focused"]:
            return self._prior
        with torch.no_grad():
            before = self.network.posterior(self.network.hypernet(0).flat)
        if not isinstance(before, HasDensity):
            raise ConfigError(
                "prior_focused: an implicit posterior has no density that could be a prior"
            )
        return before

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One training step."""
        if self._objective is None:
            raise SpecError("begin a task before the first step")
        self.network.train()
        self.optimizer.zero_grad()
        condition = self.condition(self.task)
        posterior = self.network.posterior(self.network.hypernet(condition).flat)
        draws = posterior.sample(self.options["draws"])
        outputs = self._outputs(batch.x, posterior, draws)
        loss, fit = self._objective.fit(outputs, batch)
        total, divergence = self._objective.total(posterior, draws, fit)
        losses = {"loss": loss.detach()}
        if bool(divergence.isfinite()):
            losses["kl"] = divergence
        if self._between is not None:
            penalty = self.options["beta"] * self._between()
            total = total + penalty
            losses["penalty"] = penalty.detach()
        total.backward()
        self.optimizer.step()
        self._objective.train_discriminator(draws.flat)
        return losses

    def _outputs(self, x: Tensor, posterior: Posterior, draws: Weights) -> Tensor:
        """Outputs `[draws, B, *outputs]` of the present task, to learn from."""
        condition = self.condition(self.task)
        if (
            self.options["local"]
            and isinstance(posterior, Gaussian)
            and not isinstance(posterior, Radial)
        ):
            return self.network.run_locally(x, posterior, condition, self.options["draws"])
        return self.network.run(x, draws, condition)

    def end(self, task: int) -> None:
        """End a task: keep samples of it, and tune all posteriors on those of all."""
        if not self.options["coreset"]:
            return
        self._coreset.keep(task)
        if task:
            self._tune()

    def _tune(self) -> None:
        network, conditions = self.network, sorted(set(map(self.condition, range(self.seen))))
        train_embeddings(network.hypernet, conditions)
        optimizer = self._new_optimizer()
        between = between_posteriors(network, conditions, self.options["between"])

        def outputs(x: Tensor, task: int) -> Tensor:
            condition = self.condition(task)
            posterior = network.posterior(network.hypernet(condition).flat)
            return network.run(x, posterior.sample(self.options["draws"]), condition)

        network.train()
        for _ in range(self.options["coreset_steps"]):
            optimizer.zero_grad()
            loss = self._coreset.loss(outputs, self.seen)
            (loss + self.options["beta"] * between()).backward()
            optimizer.step()

    @torch.no_grad()
    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Outputs by draws of the posterior of each task, `[draws, B, *outputs]`."""
        self.network.eval()
        return [
            self.problem.answer(self.network.run(x, self.draws(task), self.condition(task)), task)
            for task in tasks
        ]

    def draws(self, task: int, count: int | None = None) -> Weights:
        """Draws of the weights of a task, the same ones each time.

        Args:
            task: Number of the task.
            count: Number of draws, `predict_draws` by default.
        """
        condition = self.condition(task)
        generator = torch.Generator().manual_seed(seed_of(self.problem.seed, condition))
        posterior = self.network.posterior(self.network.hypernet(condition).flat)
        number = self.options["predict_draws"] if count is None else count
        return posterior.sample(number, generator=generator)

    def sizes(self) -> dict[str, int]:
        """Parameters, and what is kept of earlier tasks."""
        kept = self._coreset.kept.nbytes
        if self._between is not None:
            kept += self._between.memory_bytes
        if self.options["prior_focused"]:
            kept += bytes_of(*self._start_state.values())
        return {
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "generated": self.network.hypernet.target.numel,
            "memory_bytes": kept,
        }

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, and the hypernetwork as it was when the task began."""
        objective = self._objective
        return {
            **super().state_dict(),
            "network": dict(self.network.state_dict()),
            "start": self._start_state,
            "objective": {} if objective is None else objective.state_dict(),
            "coreset": self._coreset.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.task = state["task"]
        self._start_state = dict(state["start"])
        # Earlier posteriors, and priors, are those of that time.
        if self._start_state:
            self.network.hypernet.load_state_dict(self._start_state)
            self._start_state = copied(self.network.hypernet)
        self._load_optimizer(state)
        if self._objective is not None:
            with torch.no_grad():
                self._objective.load_state_dict(state["objective"], self.draws(self.task, 1))
        self.network.load_state_dict(state["network"])
        self._coreset.load_state_dict(state["coreset"])


def _check(problem: Problem, options: PosteriorOptions) -> None:
    """Refuse options that do not fit together.

    Raises:
        ConfigError: They do not.
    """
    kind, between = options["posterior"], options["between"]
    if kind == "dirac" and between in {"forward_kl", "reverse_kl"}:
        raise ConfigError(f"between={between}: points have no divergence: use outputs or means")
    if kind == "implicit" and between != "outputs":
        raise ConfigError(
            f"between={between}: implicit posteriors are kept by what the hypernetwork writes:"
            " use between=outputs"
        )
    if options["coreset"]:
        _check_coreset(problem, options["coreset"])
    if not options["prior_focused"]:
        return
    if kind not in {"gaussian", "radial"}:
        raise ConfigError(
            f"prior_focused: a {kind} posterior has no density that could be the next task's"
            " prior: use gaussian or radial"
        )
    if problem.heads.kind != "multi" and len(problem.tasks) > 1 and problem.scenario != "domain":
        raise ConfigError(
            "prior_focused: one posterior for all tasks needs outputs of each task: use heads=multi"
        )


def _check_coreset(problem: Problem, size: int) -> None:
    """Refuse kept samples that cannot teach uncertainty, or are not there.

    Raises:
        ConfigError: The tasks are regressions or sequences, or have fewer samples.
    """
    first = problem.specs[0]
    if first.kind != "classification" or first.sequence:
        what = "sequences" if first.sequence else "regressions"
        raise ConfigError(
            f"coreset: posteriors learn to be undecided between classes, which {what} do not have"
        )
    check_samples(problem, "coreset", size)
