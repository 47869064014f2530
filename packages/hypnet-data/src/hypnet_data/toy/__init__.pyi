from .bimodal import bimodal_regression
from .donuts import donuts
from .functions import Function, function_named
from .gaussian import gaussian, gaussian_mixture, gaussian_tasks
from .mesh import Mesh, mesh
from .mixture_model import Coverage, GaussianMixture
from .mixture_task import MixtureTask
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
    "mesh",
    "regression_task",
    "toy_regression",
]
