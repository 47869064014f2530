"""Batch norm with running, batch, frozen or learned statistics."""

from __future__ import annotations

from typing import ClassVar, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hypnet_core.errors import SpecError, did_you_mean

Statistics = Literal["running", "batch", "frozen", "learnable"]


class BatchNorm(_BatchNorm):
    r"""Batch norm over vectors or feature maps, with a choice of statistics.

    $$ y = \frac{x - m}{\sqrt{v + \epsilon}} \odot \gamma + \beta $$

    for each feature, where $m$ and $v$ are, by `statistics`:

    | statistics | in training | in evaluation |
    | --- | --- | --- |
    | `running` | of the batch; running ones are updated | running |
    | `batch` | of the batch | of the batch |
    | `frozen` | 0 and 1 | 0 and 1 |
    | `learnable` | of the batch; the parameters move towards them | the parameters |

    Statistics given to `forward` have priority: in training those of the batch are used
    and the given ones are updated in place, in evaluation the given ones are used.
    Computed statistics, from a hypernetwork for example, are never updated, since an
    update could not be stored. With `running` it is torch's own batch norm.
    `MainNetwork` passes the running statistics of a condition as buffers.

    Shapes:
        - Input: `[N, num_features]` or `[N, num_features, *space]`
        - Output: the same

    Args:
        num_features: Number of features, the size of dimension 1.
        eps: $\epsilon$, added to the variance.
        momentum: Weight of the batch's statistics in the running ones; `None` for the
            plain mean over all batches, where the layer keeps them as `running`, and
            0.1 elsewhere.
        affine: Whether there are gains $\gamma$ and shifts $\beta$.
        statistics: Source of $m$ and $v$, see above.

    Raises:
        SpecError: `num_features` is not positive, or there are no such `statistics`.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> BatchNorm(1, statistics="frozen", eps=0.0)(x) * 2
        tensor([[2.],
                [6.]], grad_fn=<MulBackward0>)

    References:
        Ioffe and Szegedy, Batch Normalization, ICML 2015, arXiv:1502.03167.
    """

    param_kinds: ClassVar[dict[str, str]] = {
        "running_mean": "norm_shift",
        "running_var": "norm_scale",
    }

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        statistics: Statistics = "running",
    ) -> None:
        if statistics not in get_args(Statistics):
            raise SpecError(
                "there are no statistics"
                f" {statistics!r}{did_you_mean(statistics, get_args(Statistics))}"
            )
        if num_features < 1:
            raise SpecError(f"num_features must be positive, got {num_features}")
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats=statistics == "running"
        )
        self.statistics = statistics
        if statistics == "learnable":
            # An attribute that is still registered as a buffer cannot hold a parameter.
            # torch registers both names as empty buffers when statistics are not
            # tracked.
            del self.running_mean, self.running_var
            self.running_mean = nn.Parameter(torch.zeros(num_features))
            self.running_var = nn.Parameter(torch.ones(num_features))

    def forward(
        self, x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None
    ) -> Tensor:
        """Normalise `x`, with given statistics `[num_features]` or the layer's own.

        Raises:
            SpecError: `x` does not have `num_features` features, or only one of the two
                statistics is given.
        """
        self._check_input_dim(x)
        if (running_mean is None) != (running_var is None):
            raise SpecError("running_mean and running_var must be given together")
        if running_mean is None or running_var is None:
            if self.statistics in {"running", "batch"}:
                return super().forward(x)
            if self.statistics == "frozen":
                zeros = x.new_zeros(self.num_features)
                return self._normalise(x, zeros, zeros + 1)
            mean, var = cast("Tensor", self.running_mean), cast("Tensor", self.running_var)
            # An update of generated statistics could not be stored.
            return self._with(x, mean, var, update=isinstance(mean, nn.Parameter))
        return self._with(
            x,
            running_mean,
            running_var,
            # Statistics with a history, such as generated ones, must not change in
            # place.
            update=running_mean.grad_fn is None and running_var.grad_fn is None,
        )

    def _with(self, x: Tensor, mean: Tensor, var: Tensor, *, update: bool) -> Tensor:
        """Use and update statistics that may carry a gradient."""
        if not self.training:
            return self._normalise(x, mean, var)
        y = F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        if not update:
            return y
        # All dimensions but that of the features.
        others = [d for d in range(x.ndim) if d != 1]
        # Given statistics count no batches, so torch's cumulative average (momentum
        # `None`) is not possible.
        factor = self.momentum if self.momentum is not None else 0.1
        with torch.no_grad():
            mean.lerp_(x.mean(others), factor)
            # Unbiased, as torch keeps it, although the batch itself is normalised by
            # the biased variance.
            var.lerp_(x.var(others, unbiased=True), factor)
        return y

    def _normalise(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        # Written out, because torch's function has no derivative for statistics.
        shape = (1, -1) + (1,) * (x.ndim - 2)  # [1, F, 1, ...]
        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        return x * scale.view(shape) + shift.view(shape)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise SpecError(
                f"batch norm expects inputs [N, {self.num_features}, ...], got {list(x.shape)}"
            )

    def extra_repr(self) -> str:
        """Sizes and statistics, for `print`."""
        return f"{self.num_features}, statistics={self.statistics!r}, affine={self.affine}"
