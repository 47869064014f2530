from .ensemble import Ensemble
from .hmc import HMC
from .metropolis import Metropolis
from .nuts import NUTS
from .sghmc import SGHMC
from .sgld import SGLD

__all__ = ["HMC", "NUTS", "SGHMC", "SGLD", "Ensemble", "Metropolis"]
