from .hmc import HMC
from .metropolis import Metropolis
from .nuts import NUTS

__all__ = ["HMC", "NUTS", "Metropolis"]
