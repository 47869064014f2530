from .continual.images import (
    permuted_digits,
    permuted_mnist,
    split_cifar,
    split_digits,
    split_mnist,
)
from .continual.permuting import permuted_tasks
from .continual.polynomials import polynomials
from .continual.registered import permuted, split
from .continual.splitting import split_tasks
from .holdout import HoldOut, hold_out_first, hold_out_stratified
from .images.cifar import cifar10, cifar100
from .images.digits import digits
from .images.generated import generated_images
from .images.mnist import fashion_mnist, mnist
from .images.mnist_5000 import mnist_5000
from .images.svhn import svhn
from .interop import NumpyBatch, numpy_batches, to_numpy
from .ondisk.celeba import celeba
from .ondisk.cub200 import cub200
from .ondisk.imagenet import imagenet
from .ondisk.lists import images_in
from .ondisk.own_files import files_task
from .ondisk.udacity_ch2 import udacity_ch2
from .toy.bimodal import bimodal_regression
from .toy.donuts import donuts
from .toy.gaussian import gaussian, gaussian_mixture, gaussian_tasks
from .toy.regression import toy_regression
from .transforms import (
    ClassIndex,
    Cutout,
    Normalize,
    OneHot,
    Permute,
    RandomCrop,
    RandomFlip,
    Relabel,
    Scale,
    Shift,
)

__version__: str

__all__ = [
    "ClassIndex",
    "Cutout",
    "HoldOut",
    "Normalize",
    "NumpyBatch",
    "OneHot",
    "Permute",
    "RandomCrop",
    "RandomFlip",
    "Relabel",
    "Scale",
    "Shift",
    "bimodal_regression",
    "celeba",
    "cifar10",
    "cifar100",
    "cub200",
    "digits",
    "donuts",
    "fashion_mnist",
    "files_task",
    "gaussian",
    "gaussian_mixture",
    "gaussian_tasks",
    "generated_images",
    "hold_out_first",
    "hold_out_stratified",
    "imagenet",
    "images_in",
    "mnist",
    "mnist_5000",
    "numpy_batches",
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
    "svhn",
    "to_numpy",
    "toy_regression",
    "udacity_ch2",
]
