from .diagnostics import ess_bulk, ess_mean, ess_tail, mcse_mean, mcse_sd, rhat
from .draws import Draws
from .leapfrog import leapfrog
from .sample import SamplerLike, extend, sample
from .summary import Summary

__all__ = [
    "Draws",
    "SamplerLike",
    "Summary",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "extend",
    "leapfrog",
    "mcse_mean",
    "mcse_sd",
    "rhat",
    "sample",
]
