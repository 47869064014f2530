from .cifar import cifar10, cifar100
from .digits import digits
from .generated import generated_images
from .mnist import fashion_mnist, mnist
from .mnist_5000 import mnist_5000
from .svhn import svhn

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "generated_images",
    "mnist",
    "mnist_5000",
    "svhn",
]
