"""CelebA: photographs of faces, and their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

import torch

from hypnet_core.errors import DataError
from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Task
from hypnet_data._io.files import data_directory
from hypnet_data.ondisk.lists import check_images, entry_of, images_in, lines_of, needed
from hypnet_data.ondisk.task import Listing, check_size, image_spec, stretched
from hypnet_data.options import FolderOptions, ReadingOptions

_GUIDE = "celeba"
_FOLDERS = {"jpg": "img_align_celeba", "png": "img_align_celeba_png"}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CelebATask(Task):
    """The attributes of faces.

    Attributes:
        attribute_names: Names of the attributes, in the order of the targets.
    """

    attribute_names: tuple[str, ...]


class CelebAOptions(ReadingOptions, FolderOptions, total=False):
    """Options of CelebA."""


def celeba(
    *,
    format: Literal["jpg", "png"] = "jpg",  # noqa: A002  the option's natural name
    size: tuple[int, int] = (218, 178),
    **options: Unpack[CelebAOptions],
) -> CelebATask:
    """CelebA: 202,599 photographs of faces with 40 attributes.

    Provide the files yourself. 162,770 images are for training, 19,867 for validation
    and 19,962 for testing.
    Inputs are `(3, height, width)` between 0 and 1, of the aligned and cropped images.
    Targets are `(40,)`: 1 where a face has an attribute, else 0. A face has several
    attributes, so the task's kind is `regression`, not one class per sample; use binary
    cross-entropy as the loss.

    Images are read from `DATA_DIR/CelebA` batch by batch: `Img/img_align_celeba/*.jpg`
    (or `Img/img_align_celeba_png/*.png`), `Anno/list_attr_celeba.txt` and
    `Eval/list_eval_partition.txt`; `docs/data/celeba.md` says how to prepare them.

    Args:
        format: Whether the JPEG or the PNG images are read.
        size: Height and width that images are resized to; by default their own.
        **options: See `CelebAOptions`.

    Raises:
        DataError: A file is missing or damaged.
        ConfigError: The size is not possible.

    References:
        Z. Liu, P. Luo, X. Wang and X. Tang, *Deep Learning Face Attributes in the
        Wild*, ICCV, 2015, arXiv:1411.7766.
    """
    chosen = with_defaults(CelebAOptions, options)
    check_size(size)
    root = data_directory(chosen["data_dir"]) / "CelebA"
    images = needed(root / "Img" / _FOLDERS[format], "the folder of aligned images", _GUIDE)
    attribute_names, attributes = _attributes(root / "Anno" / "list_attr_celeba.txt")
    listing = _listed(images, attributes, root / "Eval" / "list_eval_partition.txt", format)
    splits = stretched(listing, size, only(ReadingOptions, chosen))
    spec = image_spec("celeba", size, len(attribute_names), regression=True, normalize=False)
    return CelebATask(spec, splits.train, splits.test, splits.val, attribute_names=attribute_names)


def _attributes(path: Path) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
    """The names of the attributes, and the values of each image."""
    lines = lines_of(path, "the attributes of each image", _GUIDE)
    count = max(len(lines.rows) - 2, 0)
    if not count or lines.rows[0][1] != [str(count)]:
        raise DataError(
            f"{path} is damaged: its first line should be the number of images, {count}"
        )
    names = lines.rows[1][1]
    if len(set(names)) < len(names):
        raise DataError(f"{path} is damaged: it names an attribute twice")
    found: dict[str, list[bool]] = {}
    for number, (image, *values) in lines.rows[2:]:
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise lines.damage(number, f"a name and {len(names)} values, each 1 or -1")
        name = entry_of(image, path)
        if name in found:
            raise DataError(f"{path} names {name} twice: it is damaged")
        # The list says -1 where a face lacks an attribute.
        found[name] = [value == "1" for value in values]
    return tuple(names), found


def _listed(images: Path, attributes: dict[str, list[bool]], path: Path, ending: str) -> Listing:
    lines = lines_of(path, "the training, validation and test images", _GUIDE)
    parts: Sequence[list[int]] = ([], [], [])
    entries: list[str] = []
    for place, (number, words) in enumerate(lines.rows):
        # Parts are 0 for training, 1 for validation and 2 for testing.
        if len(words) != 2 or words[1] not in {"0", "1", "2"}:
            raise lines.damage(number, "an image and 0, 1 or 2")
        entries.append(entry_of(words[0], path))
        if entries[-1] not in attributes:
            raise lines.damage(number, "an image of the attributes' list and 0, 1 or 2")
        parts[int(words[1])].append(place)
    if len(entries) < len(attributes):
        raise DataError(
            f"{path} names {len(entries)} images, the list of attributes {len(attributes)}: one of"
            " them is cut"
        )
    # The list names .jpg files, whichever format was unpacked.
    names = [
        name if name.endswith(f".{ending}") else str(Path(name).with_suffix(f".{ending}"))
        for name in entries
    ]
    there = [name for name in images_in(images) if name.endswith(f".{ending}")]
    check_images(names, images, there, path)
    targets = torch.tensor([attributes[name] for name in entries], dtype=torch.float32)
    train, val, test = (torch.tensor(part, dtype=torch.int64) for part in parts)
    return Listing(images, names, targets, (train, test, val if len(val) else None))
