from .celeba import CelebATask, celeba
from .cub200 import cub200
from .imagenet import ImageNetTask, imagenet
from .reading import ReadImages
from .task import NamedClassesTask
from .udacity_ch2 import SteeringTask, udacity_ch2

__all__ = [
    "CelebATask",
    "ImageNetTask",
    "NamedClassesTask",
    "ReadImages",
    "SteeringTask",
    "celeba",
    "cub200",
    "imagenet",
    "udacity_ch2",
]
