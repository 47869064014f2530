from .diagnostics import ess_bulk, ess_mean, ess_tail, mcse_mean, mcse_sd, rhat
from .draws import Draws
from .leapfrog import leapfrog
from .likelihoods import Classification, Likelihood, Regression
from .log_posterior import LogPosterior, log_posterior
from .priors import Prior, PriorLike
from .sample import SamplerLike, extend, sample
from .summary import Summary

__all__ = [
    "Classification",
    "Draws",
    "Likelihood",
    "LogPosterior",
    "Prior",
    "PriorLike",
    "Regression",
    "SamplerLike",
    "Summary",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "extend",
    "leapfrog",
    "log_posterior",
    "mcse_mean",
    "mcse_sd",
    "rhat",
    "sample",
]
