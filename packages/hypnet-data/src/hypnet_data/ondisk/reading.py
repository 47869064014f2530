"""Reading batches of images of one size from files."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # area and proportions of random crops
_TRIES = 10  # as torchvision's RandomResizedCrop
_MARGIN = 256 / 224  # size before a centre crop, relative to the crop


@dataclass(frozen=True)
class ReadImages:
    """Read colour images from files and bring them to one size.

    The reader of splits whose stored samples are file names (see
    `hypnet_core.tasks.Reader`). There are three ways to bring images to one size:

    - `stretch`: resized, whatever their proportions;
    - `centre`: resized so that the shorter side is a seventh larger than required (256
      for 224), then cropped at the centre;
    - `random`: a random crop of between 8 % and all of the image, with proportions
      between 3:4 and 4:3, is resized. For training alone; evaluation uses `centre`
      instead.

    Args:
        root: The folder that names are relative to.
        size: Height and width.
        fit: The way to bring images to that size.
        threads: Number of threads that decode the images of a batch; no threads are
            started for 0 and 1.

    Shapes:
        File names `[B, L]` as bytes, padded with zeros; images `[B, 3, height, width]`,
        bytes. Photographs are turned as their EXIF data say; grey values of 16 bits are
        scaled to bytes.

    References:
        The random crops follow C. Szegedy et al., *Going Deeper with
        Convolutions*, CVPR, 2015, arXiv:1409.4842.
    """

    root: Path
    size: tuple[int, int]
    fit: Literal["stretch", "centre", "random"] = "stretch"
    threads: int = 0

    def __call__(self, values: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Read the images with these names.

        Raises:
            DataError: A file is missing, or is not an image.
        """
        names = file_names(values)
        if not names:
            # `stack` refuses an empty list.
            return torch.empty(0, 3, *self.size, dtype=torch.uint8)
        # All random numbers of a batch at once: threads must not share the generator.
        chances = (
            torch.rand(len(names), _TRIES, 4, generator=generator) if self.fit == "random" else None
        )
        jobs = [
            (name, None if chances is None else chances[number])
            for number, name in enumerate(names)
        ]
        if self.threads > 1:
            # Decoders release the interpreter lock, so threads do help.
            with ThreadPoolExecutor(self.threads) as pool:
                return torch.stack(list(pool.map(lambda job: self._read(*job), jobs)))
        return torch.stack([self._read(*job) for job in jobs])

    @property
    def is_random(self) -> bool:
        """Whether the crops are random."""
        return self.fit == "random"

    def for_evaluation(self) -> ReadImages:
        """The reader of validation and test images."""
        return replace(self, fit="centre") if self.fit == "random" else self

    def _read(self, name: str, chances: Tensor | None) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        path = self.root / name
        # Decoders raise many types of errors on damaged files.
        damage = (
            UnidentifiedImageError,
            Image.DecompressionBombError,
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            struct.error,
        )
        try:
            with Image.open(path) as file:
                return self._fitted(colours(upright(file)), chances)
        except FileNotFoundError as error:
            raise DataError(
                f"{path} is missing, but the dataset's lists name it: unpack the images again"
            ) from error
        except damage as error:
            raise DataError(
                f"{path} is not an image that can be decoded ({error}): replace it by the original"
            ) from error

    def _fitted(self, image: Image, chances: Tensor | None) -> Tensor:
        from torchvision.transforms.v2 import functional

        height, width = self.size
        if self.fit == "stretch":
            fitted = (
                image
                if image.size == (width, height)
                else functional.resize(image, [height, width])
            )
        elif chances is None:
            fitted = functional.center_crop(
                functional.resize(image, round(min(self.size) * _MARGIN)), [height, width]
            )
        else:
            fitted = functional.resized_crop(
                image, *rectangle(image.height, image.width, chances), [height, width]
            )
        found: Tensor = functional.pil_to_tensor(fitted)
        return found


def upright(image: Image) -> Image:
    """Turn a photograph as its camera was held, as its EXIF data say."""
    from PIL import ExifTags
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    # Formats that Pillow turns by itself (TIFF) are turned by now, and say so.
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    # Damaged EXIF data say nothing; the pixels may still be right.
    except (SyntaxError, ValueError, OSError, LookupError, TypeError, EOFError, struct.error):
        return image
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def colours(image: Image) -> Image:
    """An image as three channels of bytes; grey values of 16 bits are scaled.

    Raises:
        ValueError: Grey values are numbers of another range.
    """
    from PIL.Image import fromarray

    # Pillow would clip them, so that all but the darkest are white.
    if image.mode == "F" or image.mode[:1] == "I":
        grey = np.asarray(image)
        if image.mode == "F" or int(grey.min()) < 0 or int(grey.max()) > 0xFFFF:
            raise ValueError("its grey values are not whole numbers of 8 or 16 bits")
        image = fromarray(np.rint(grey / 257).astype(np.uint8))
    return image.convert("RGB")


def rectangle(height: int, width: int, chances: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random rectangle in an image.

    Args:
        height: The image's height.
        width: Its width.
        chances: Numbers between 0 and 1 `[tries, 4]`: for the area, the proportions,
            top and left of each try. If no try fits, the result is the largest centred
            rectangle with possible proportions.
    """
    # A crop that does not fit is drawn again, as in the paper.
    for area, proportion, top, left in chances.tolist():
        wanted = height * width * (_SCALE[0] + area * (_SCALE[1] - _SCALE[0]))
        # Uniform in logarithms, so that 3:4 and 4:3 are equally probable.
        ratio = math.exp(
            math.log(_RATIO[0]) + proportion * (math.log(_RATIO[1]) - math.log(_RATIO[0]))
        )
        across, down = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < across <= width and 0 < down <= height:
            return int(top * (height - down + 1)), int(left * (width - across + 1)), down, across
    ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
    down, across = min(height, round(width / ratio)), min(width, round(height * ratio))
    return (height - down) // 2, (width - across) // 2, down, across


def stored_names(names: Sequence[str]) -> Tensor:
    """Encode file names as bytes `[N, L]`, padded with zeros, for a split to store."""
    # Numpy pads the names to the longest one with zero bytes.
    # Systems allow names that are not text; Python keeps their bytes as surrogates.
    packed = np.array([name.encode("utf-8", "surrogatepass") for name in names])
    return torch.from_numpy(packed.view(np.uint8).reshape(len(names), packed.itemsize).copy())


def file_names(stored: Tensor) -> list[str]:
    """Decode file names: the inverse of `stored_names`."""
    # Zero bytes at the end are padding: no file name holds any.
    return [
        bytes(row).rstrip(b"\0").decode("utf-8", "surrogatepass") for row in stored.cpu().numpy()
    ]
