from .output import OutputRegularizer

__all__ = [
    "OutputRegularizer",
]
