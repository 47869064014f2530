from .adversarial import (
    GanLoss,
    discriminator_accuracy,
    discriminator_loss,
    generator_loss,
    with_mean_statistics,
)
from .classification import accuracy, cross_entropy, distillation

__all__ = [
    "GanLoss",
    "accuracy",
    "cross_entropy",
    "discriminator_accuracy",
    "discriminator_loss",
    "distillation",
    "generator_loss",
    "with_mean_statistics",
]
