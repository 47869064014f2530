from .celeba import CelebATask, celeba
from .cub200 import cub200
from .imagenet import ImageNetTask, imagenet
from .lists import images_in
from .own_files import ReadFiles, files_task
from .reading import ReadImages
from .task import NamedClassesTask
from .udacity_ch2 import SteeringTask, udacity_ch2

__all__ = [
    "CelebATask",
    "ImageNetTask",
    "NamedClassesTask",
    "ReadFiles",
    "ReadImages",
    "SteeringTask",
    "celeba",
    "cub200",
    "files_task",
    "imagenet",
    "images_in",
    "udacity_ch2",
]
