"""Elastic weight consolidation, with all earlier tasks or online."""

from __future__ import annotations

from typing import Annotated, Unpack

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from hypnet_core.networks import evaluating
from hypnet_core.plugins import only, with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem, answering_steps
from hypnet_zoo import regularizers
from hypnet_zoo.continual.methods._networks import check_samples, fisher_targets
from hypnet_zoo.continual.methods._penalized import Penalized, PenalizedOptions
from hypnet_zoo.regularizers import FisherKind, FisherOptions


class EWCOptions(PenalizedOptions, total=False):
    """Options of elastic weight consolidation."""

    strength: Annotated[
        NonNegativeFloat, Field(default=1000.0, description="Strength λ of the penalty.")
    ]
    fisher: Annotated[
        FisherKind,
        Field(
            default="exact",
            description=(
                "Labels of the Fisher information: all of the network's own (`exact`), drawn from"
                " it (`sampled`), the true ones (`empirical`), or those of whole batches"
                " (`batched`)."
            ),
        ),
    ]
    samples: Annotated[
        PositiveInt | None,
        Field(
            default=None,
            description="Samples for the Fisher information; all training samples by default.",
        ),
    ]
    fisher_batch: Annotated[
        PositiveInt, Field(default=128, description="Samples per batch of the Fisher information.")
    ]
    prior_precision: Annotated[
        NonNegativeFloat,
        Field(default=0.0, description="Precision of a Gaussian prior, added to the importances."),
    ]
    noise_variance: Annotated[
        PositiveFloat,
        Field(default=1.0, description="Variance of the noise of regression targets."),
    ]
    proper_scaling: Annotated[
        bool,
        Field(
            default=False,
            description=(
                "Use the precision of the Laplace posterior, the sum over all samples, instead of"
                " the mean; the strength is then 1 over their number for a mean loss."
            ),
        ),
    ]


class EWC(Penalized):
    r"""Elastic weight consolidation: important parameters stay near their old values.

    $$ \mathcal{L}_t + \frac{\lambda}{2} \sum_{u<t} \sum_i F_{ui} (\theta_i -
    \theta_{ui})^2 $$

    with the Fisher information $F_u$ and the parameters $\theta_u$ at the end of task
    $u$. `hypnet_zoo.regularizers.EWC` is the penalty for a loop of one's own.

    Args:
        problem: The problem.
        **options: See `EWCOptions`.

    Raises:
        ConfigError: A task has fewer samples than the Fisher information asks for.

    References:
        J. Kirkpatrick et al.: Overcoming catastrophic forgetting in neural networks.
        PNAS 2017, arXiv:1612.00796.
    """

    penalizer: regularizers.EWC | regularizers.OnlineEWC

    def __init__(self, problem: Problem, **options: Unpack[EWCOptions]) -> None:
        self._options = with_defaults(EWCOptions, options)
        check_samples(problem, "samples", self._options["samples"])
        super().__init__(problem, only(PenalizedOptions, self._options))

    def make_penalty(self) -> regularizers.EWC | regularizers.OnlineEWC:
        """A quadratic penalty for all earlier tasks."""
        return regularizers.EWC(
            self.protected,
            strength=self._options["strength"],
            parameters=self.mask,
            prior_precision=self._options["prior_precision"],
            **self._fisher_options(),
        )

    def _fisher_options(self) -> FisherOptions:
        options = self._options
        regression = self.problem.tasks[0].spec.kind == "regression"
        return {
            "kind": options["fisher"],
            "batch_size": options["fisher_batch"],
            "likelihood": "gaussian" if regression else "categorical",
            "noise_variance": options["noise_variance"],
            "proper_scaling": options["proper_scaling"],
        }

    def end(self, task: int) -> None:
        """Estimate how much each parameter matters for a task."""
        spec = self.problem.specs[task]

        def forward(batch: BatchLike) -> Tensor:
            return answering_steps(self.model(batch.x, task), batch, spec)

        # A generated network is more than the hypernetwork that is protected.
        with evaluating(self.model):
            self.penalizer.after_task(
                self.problem.tasks[task].train,
                samples=self._options["samples"],
                forward=forward,
                **fisher_targets(self.problem, task),
            )


class OnlineEWC(EWC):
    r"""Online elastic weight consolidation: one penalty, whose importances decay.

    $$ \mathcal{L}_t + \frac{\lambda}{2} \sum_i \Lambda_i (\theta_i - \theta_{t-1,i})^2,
    \qquad \Lambda = \sum_{u<t} \gamma^{t-1-u} F_u $$

    `hypnet_zoo.regularizers.OnlineEWC` is the penalty for a loop of one's own.

    Args:
        problem: The problem.
        decay: $\gamma$, applied once per task.
        **options: See `EWCOptions`.

    References:
        J. Schwarz et al.: Progress & compress: a scalable framework for continual
        learning. ICML 2018, arXiv:1805.06370.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0,
        **options: Unpack[EWCOptions],
    ) -> None:
        self.decay = decay
        super().__init__(problem, **options)

    def make_penalty(self) -> regularizers.OnlineEWC:
        """A quadratic penalty around the latest parameters."""
        return regularizers.OnlineEWC(
            self.protected,
            strength=self._options["strength"],
            decay=self.decay,
            parameters=self.mask,
            prior_precision=self._options["prior_precision"],
            **self._fisher_options(),
        )
