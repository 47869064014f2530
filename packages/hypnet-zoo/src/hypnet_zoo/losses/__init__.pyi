from .classification import accuracy, cross_entropy, distillation

__all__ = [
    "accuracy",
    "cross_entropy",
    "distillation",
]
