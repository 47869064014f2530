from .bbb import BBB
from .ensemble import Ensemble
from .hmc import HMC
from .implicit import Implicit
from .metropolis import Metropolis
from .nuts import NUTS
from .sghmc import SGHMC
from .sgld import SGLD

__all__ = ["BBB", "HMC", "NUTS", "SGHMC", "SGLD", "Ensemble", "Implicit", "Metropolis"]
