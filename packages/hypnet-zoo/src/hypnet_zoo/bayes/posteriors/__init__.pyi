from .discriminator import Discriminator
from .divergences import between_means, kl, wasserstein
from .families import DiracFamily, Family, GaussianFamily, ImplicitFamily, RadialFamily
from .gaussian import Dirac, Gaussian, Radial
from .implicit import Implicit
from .local import LocalWeights
from .posterior import HasDensity, Posterior
from .priors import LearnedPrior, ScaleMixture, gaussian_prior
from .scores import ssge, stein_direction

__all__ = [
    "Dirac",
    "DiracFamily",
    "Discriminator",
    "Family",
    "Gaussian",
    "GaussianFamily",
    "HasDensity",
    "Implicit",
    "ImplicitFamily",
    "LearnedPrior",
    "LocalWeights",
    "Posterior",
    "Radial",
    "RadialFamily",
    "ScaleMixture",
    "between_means",
    "gaussian_prior",
    "kl",
    "ssge",
    "stein_direction",
    "wasserstein",
]
