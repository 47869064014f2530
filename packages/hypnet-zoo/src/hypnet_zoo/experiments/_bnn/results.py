"""Results of a Bayesian network: predictions, measures and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hypnet_core.networks import Weights
from hypnet_zoo.bayes.log_posterior import LogPosterior
from hypnet_zoo.bayes.predictive import (
    Mixture,
    calibration,
    calibration_error,
    coverage,
    expected_calibration_error,
    reliability,
    set_coverage,
)
from hypnet_zoo.continual.report import png_of
from hypnet_zoo.experiments._bnn.data import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AT_ONCE = 1 << 22
"""Outputs that are computed together, which bounds memory."""


@torch.no_grad()
def outputs_of(density: LogPosterior, draws: Weights, x: Tensor, classes: int) -> Tensor:
    """Outputs `[S, N, F]` of draws `[S]` at scaled inputs."""
    weights, _ = density.parts(draws)
    size = max(1, _AT_ONCE // (len(x) * classes))
    parts = (Weights(flat, weights.spec) for flat in weights.flat.split(size))
    return torch.cat([density.outputs(part, x) for part in parts])


class RegressionResults:
    """Predictions of a regression, in the original units.

    Args:
        density: The log posterior.
        draws: Draws of batch shape `[S]`.
        data: The data.
    """

    def __init__(self, density: LogPosterior, draws: Weights, data: Data) -> None:
        self.data = data
        self._density, self._draws = density, draws
        self.test = self._mixture(data.test_x)

    def _mixture(self, x: Tensor) -> Mixture:
        scale = self.data.scale_y
        size = self.data.spec.out_shape[0]
        found = outputs_of(self._density, self._draws, self.data.scale_x(x), size)
        outputs = scale.back(found).flatten(1)
        _, own = self._density.parts(self._draws)
        likelihood: Any = self._density.likelihood
        # One deviation for each output of a target, in its own units.
        noise = likelihood.std(own)[:, :, None] * scale.std.expand(size)
        return Mixture(outputs, noise.expand(-1, len(x), size).flatten(1))

    def measures(self) -> dict[str, Any]:
        """NLL, error, calibration and coverage; inside the data and outside."""
        y, test, size = self.data.test_y.flatten(), self.test, self.data.spec.out_shape[0]
        hit = coverage(test, y)
        inside = self.data.inside.repeat_interleave(size)
        found = {
            "rmse": float((test.mean - y).square().mean().sqrt()),
            "nll": -float(test.log_prob(y).mean()),
            "calibration_error": calibration_error(test, y),
            "coverage": float(hit.double().mean()),
            "noise": float(test.noise.mean()),
        }
        if bool(inside.any()) and not bool(inside.all()):
            within, beyond = test.std[inside].mean(), test.std[~inside].mean()
            near = Mixture(test.outputs[:, inside], test.noise[:, inside])
            found |= {
                "coverage_inside": float(hit[inside].double().mean()),
                "nll_inside": -float(near.log_prob(y[inside]).mean()),
                "band_inside": float(within),
                "band_outside": float(beyond),
                "band_ratio": float(beyond / within),
            }
        return found

    def pictures(self) -> dict[str, bytes]:
        """The calibration curve, and for one input and output the band."""
        y = self.data.test_y.flatten()
        levels, shares = calibration(self.test, y)
        found = {"calibration": png_of(_curve(levels, shares, "probability", "targets inside"))}
        if self.data.spec.in_shape == (1,) and self.data.spec.out_shape == (1,):
            found["band"] = png_of(self._band())
        return found

    def _band(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        axes = figure.subplots()
        ends = torch.cat([self.data.x, self.data.test_x])
        x = torch.linspace(
            float(ends.min()), float(ends.max()), 300, dtype=ends.dtype, device=ends.device
        )[:, None]
        mixture = self._mixture(x)
        places = _array(x[:, 0])
        for level, alpha in ((0.9, 0.2), (0.5, 0.35)):
            low, high = (mixture.quantile(0.5 + sign * level / 2) for sign in (-1, 1))
            label = f"{level:.0%} of the targets"
            axes.fill_between(
                places, _array(low), _array(high), alpha=alpha, color="C0", lw=0, label=label
            )
        axes.plot(places, _array(mixture.mean), color="C0", label="mean")
        order = self.data.test_x[:, 0].argsort()
        axes.plot(
            _array(self.data.test_x[order, 0]),
            _array(self.data.test_y[order, 0]),
            color="0.4",
            lw=0.8,
            ls="--",
            label="test samples",
        )
        axes.plot(
            _array(self.data.x[:, 0]), _array(self.data.y[:, 0]), "k.", label="training samples"
        )
        axes.set(xlabel="x", ylabel="y")
        axes.legend(fontsize=8)
        return figure


class ClassificationResults:
    """Predictions of a classification.

    Args:
        density: The log posterior.
        draws: Draws of batch shape `[S]`.
        data: The data.
    """

    def __init__(self, density: LogPosterior, draws: Weights, data: Data) -> None:
        self.data = data
        x = data.scale_x(data.test_x)
        logits = outputs_of(density, draws, x, data.spec.classes)
        self.probabilities = logits.softmax(dim=-1).mean(dim=0)
        y = data.test_y
        self.labels = y.argmax(dim=-1) if y.is_floating_point() else y

    def measures(self) -> dict[str, Any]:
        """Accuracy in percent, NLL, calibration error and coverage."""
        p, y = self.probabilities, self.labels
        own = p.gather(1, y[:, None])
        return {
            "accuracy": 100.0 * float((p.argmax(dim=-1) == y).double().mean()),
            "nll": -float(own.clamp(min=torch.finfo(p.dtype).tiny).log().mean()),
            "calibration_error": expected_calibration_error(p, y),
            "coverage": float(set_coverage(p, y).double().mean()),
        }

    def pictures(self) -> dict[str, bytes]:
        """Accuracy by confidence."""
        confidences, accuracies, _ = reliability(self.probabilities, self.labels)
        return {"calibration": png_of(_curve(confidences, accuracies, "confidence", "accuracy"))}


def _curve(x: Tensor, y: Tensor, x_label: str, y_label: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls="--")
    axes.plot(_array(x), _array(y), "o-", color="C0")
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1))
    return figure


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return found


def rounded(summary: Mapping[str, Any]) -> dict[str, str]:
    """A summary as text, for the table at the end."""
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in summary.items()
        if value is not None
    }
