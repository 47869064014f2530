"""Elastic weight consolidation, with all earlier tasks or online."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import DataError, SpecError
from hypnet_zoo.regularizers._importance.chosen import Mask, PerGroup
from hypnet_zoo.regularizers._importance.data import Data
from hypnet_zoo.regularizers._importance.estimate import FisherOptions, check_options, estimate
from hypnet_zoo.regularizers._importance.precision import Precision, flat_precision
from hypnet_zoo.regularizers._importance.quadratic import QuadraticPenalty


class _FisherPenalty(QuadraticPenalty):
    """A quadratic penalty whose importances are Fisher information."""

    factor: ClassVar[float] = 0.5

    def __init__(
        self,
        model: nn.Module,
        *,
        strength: PerGroup = 1.0,
        parameters: Mask = None,
        prior_precision: Precision = 0.0,
        **options: Unpack[FisherOptions],
    ) -> None:
        super().__init__(model, strength=strength, parameters=parameters)
        self._prior_precision = prior_precision
        self._options = options
        # Refused now, not after the first task.
        check_options(options)
        flat_precision(self._chosen, prior_precision)

    def after_task(self, data: Data | None = None, **options: Unpack[FisherOptions]) -> None:
        """Protect the parameters as they are now, at the end of a task.

        Args:
            data: The task's training data, see `fisher`.
            **options: Options of `fisher` for this task, such as `output_units` or
                `forward`, in place of those of the constructor.

        Raises:
            DataError: There are no samples, or fewer than asked for.
            SpecError: An option is impossible, or shapes do not fit.
            DivergedError: Gradients are NaN or infinite. The penalty is as before.
        """
        if data is None:
            raise DataError(
                f"{type(self).__name__} estimates importances from the task's data:"
                " after_task(data)"
            )
        merged: FisherOptions = {**self._options, **options}
        check_options(merged)
        found = estimate(self._chosen, data, **merged)
        with torch.no_grad():
            self._fit()
            flat = torch.cat([tensor.reshape(-1) for tensor in found.values()])
            here = self._chosen.flat().detach().to(flat.dtype)
            self._fold(flat, here)
        self.tasks += 1

    def _fold(self, information: Tensor, here: Tensor) -> None:
        """Add a task.

        Args:
            information: Its Fisher information `[numel]`.
            here: The parameters at its end `[numel]`.
        """
        raise NotImplementedError


class EWC(_FisherPenalty):
    r"""Elastic weight consolidation: one quadratic for each earlier task.

    $$ R(\theta) = \frac{\lambda}{2} \sum_{t} \sum_i F_{ti} (\theta_i - \theta_{ti})^2
    = \frac{\lambda}{2} \Bigl[ c + \sum_i \Lambda_i (\theta_i - m_i)^2 \Bigr] $$

    with the diagonal Fisher information $F_t$ and the parameters $\theta_t$ at the end
    of task $t$, $\Lambda = \sum_t F_t$ and $m = \sum_t F_t \theta_t / \Lambda$. The
    sum is kept in the second form, which is updated without cancellation: memory and
    time do not grow with the number of tasks.

    With three tasks or more these quadratics count earlier tasks again, since
    $\theta_2$ depends on the penalty for the first (Huszár 2018); `OnlineEWC` does
    not.

    Args:
        model: The module that owns the parameters: a network, a hypernetwork, or a
            `MainNetwork` with parameters of its own.
        strength: $\lambda$, for all parameters or for each named group.
        parameters: Which parameters: all that need gradients by default; a glob over
            names (`"trunk.*"`), a kind (`"weight"`), a group of the module
            (`"unconditional"` of a hypernetwork), several of these, a predicate over
            `ParamSpec`, or a mapping from names of groups to any of these.
        prior_precision: $1 / \sigma^2$ of a Gaussian prior: a number, a flat tensor, or
            numbers and tensors by name. It joins the importances of the first task.
        **options: Options of `fisher`. With `proper_scaling` and a `strength` of 1 the
            penalty is the negative logarithm of a Laplace posterior; the loss to add
            it to is then the sum over samples, not their mean.

    Raises:
        SpecError: Nothing is chosen, or an option is impossible.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> penalty = EWC(model, strength=3.0, likelihood="gaussian")
        >>> penalty()
        tensor(0.)
        >>> penalty.after_task(([[2.0]], [[1.0]]))  # F = x² = 4
        >>> _ = nn.init.constant_(model.weight, 1.5)
        >>> penalty()  # 3 / 2 · 4 · 0.5²
        tensor(1.5000, grad_fn=<AddBackward0>)

    References:
        J. Kirkpatrick et al.: Overcoming catastrophic forgetting in neural networks.
        PNAS 2017, arXiv:1612.00796, eq. 3. F. Huszár: Note on the quadratic penalties
        in elastic weight consolidation. PNAS 2018, arXiv:1712.03847.
    """

    def _fold(self, information: Tensor, here: Tensor) -> None:
        if not self.tasks:
            information = information + flat_precision(self._chosen, self._prior_precision)
        before, center = self._buffers["importance"], self._buffers["center"]
        after = before + information
        # Where nothing is known, the centre does not matter.
        share = torch.where(after > 0, information / after, 0.0)
        gap = here - center
        # A weighted mean, updated as West (1979) does: nothing cancels.
        # In double precision, since it only ever grows.
        constants = self._group_sums((self.factor * before * share * gap.square()).double())
        for group, constant in constants.items():
            self._offsets[group] += float(constant)
        center.add_(share * gap)
        before.copy_(after)


class OnlineEWC(_FisherPenalty):
    r"""Online elastic weight consolidation: one quadratic around the latest parameters.

    $$ R(\theta) = \frac{\lambda}{2} \sum_i \Lambda_i (\theta_i - \theta_{Ti})^2, \qquad
    \Lambda = \sigma^{-2} + \sum_t \gamma^{T - t} F_t $$

    after $T$ tasks, with the diagonal Fisher information $F_t$ of task $t$ and the
    parameters $\theta_T$ at the end of the latest. The decay $\gamma$ is applied once
    at the end of each task, never by evaluating the penalty, and not to the prior.

    Args:
        model: The module that owns the parameters, see `EWC`.
        strength: $\lambda$, for all parameters or for each named group.
        decay: $\gamma$, from 0 to 1.
        parameters: Which parameters, see `EWC`.
        prior_precision: $\sigma^{-2}$, see `EWC`. Parameters that are added after the
            first task have none.
        **options: Options of `fisher`, see `EWC`.

    Raises:
        SpecError: Nothing is chosen, or an option is impossible.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> penalty = OnlineEWC(model, decay=0.5, likelihood="gaussian")
        >>> penalty.after_task(([[2.0]], [[1.0]]))  # F = x² = 4
        >>> penalty.after_task(([[1.0]], [[1.0]]))
        >>> penalty.importance  # 0.5 · 4 + 1
        {'weight': tensor([[3.]])}

    References:
        J. Schwarz et al.: Progress & compress: a scalable framework for continual
        learning. ICML 2018, arXiv:1805.06370, eq. 8 and 9. F. Huszár: Note on the
        quadratic penalties in elastic weight consolidation. PNAS 2018,
        arXiv:1712.03847.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        strength: PerGroup = 1.0,
        decay: float = 1.0,
        parameters: Mask = None,
        prior_precision: Precision = 0.0,
        **options: Unpack[FisherOptions],
    ) -> None:
        if not 0 <= decay <= 1:
            raise SpecError(f"decay must be between 0 and 1, got {decay}")
        super().__init__(
            model,
            strength=strength,
            parameters=parameters,
            prior_precision=prior_precision,
            **options,
        )
        self.decay = decay

    @staticmethod
    def _more_buffers() -> tuple[str, ...]:
        return ("prior",)

    def _precision(self) -> Tensor:
        return self._buffers["importance"] + self._buffers["prior"]

    def _fold(self, information: Tensor, here: Tensor) -> None:
        if not self.tasks:
            self._buffers["prior"] = flat_precision(self._chosen, self._prior_precision).clone()
        self._buffers["importance"].mul_(self.decay).add_(information)
        self._buffers["center"].copy_(here)
