from .images import permuted_digits, permuted_mnist, split_cifar, split_digits, split_mnist
from .permuting import permuted_tasks
from .polynomials import Polynomial, polynomials
from .registered import permuted, split
from .splitting import label_groups, split_tasks

__all__ = [
    "Polynomial",
    "label_groups",
    "permuted",
    "permuted_digits",
    "permuted_mnist",
    "permuted_tasks",
    "polynomials",
    "split",
    "split_cifar",
    "split_digits",
    "split_mnist",
    "split_tasks",
]
