from ._importance.chosen import Mask, PerGroup
from ._importance.data import Data
from ._importance.estimate import FisherOptions
from ._importance.likelihood import FisherKind
from ._importance.precision import Precision
from .ewc import EWC, OnlineEWC
from .fisher import fisher
from .output import OutputRegularizer
from .si import SI

__all__ = [
    "EWC",
    "SI",
    "Data",
    "FisherKind",
    "FisherOptions",
    "Mask",
    "OnlineEWC",
    "OutputRegularizer",
    "PerGroup",
    "Precision",
    "fisher",
]
