from .cifar import cifar10, cifar100
from .digits import digits
from .mnist import fashion_mnist, mnist
from .mnist_5000 import mnist_5000
from .svhn import svhn

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "mnist",
    "mnist_5000",
    "svhn",
]
