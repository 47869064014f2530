from .bimodal import bimodal_regression
from .donuts import donuts
from .functions import Function, function_named
from .gaussian import MixtureTask, gaussian, gaussian_mixture, gaussian_tasks
from .mixture_model import Coverage, GaussianMixture, Mesh
from .regression import Interval, RegressionTask, regression_task, toy_regression

__all__ = [
    "Coverage",
    "Function",
    "GaussianMixture",
    "Interval",
    "Mesh",
    "MixtureTask",
    "RegressionTask",
    "bimodal_regression",
    "donuts",
    "function_named",
    "gaussian",
    "gaussian_mixture",
    "gaussian_tasks",
    "regression_task",
    "toy_regression",
]
