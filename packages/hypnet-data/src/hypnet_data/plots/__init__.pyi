from .datasets import plot_any
from .figures import FigureOptions, new_figure, save
from .mixtures import (
    plot_classification_map,
    plot_gaussians,
    plot_real_fake,
    plot_uncertainty_map,
)
from .regression import (
    plot_regression,
    plot_regression_predictions,
    plot_regression_samples,
    plot_regressions,
)
from .samples import plot_samples
from .uncertainty import uncertainty

__all__ = [
    "FigureOptions",
    "new_figure",
    "plot_any",
    "plot_classification_map",
    "plot_gaussians",
    "plot_real_fake",
    "plot_regression",
    "plot_regression_predictions",
    "plot_regression_samples",
    "plot_regressions",
    "plot_samples",
    "plot_uncertainty_map",
    "save",
    "uncertainty",
]
