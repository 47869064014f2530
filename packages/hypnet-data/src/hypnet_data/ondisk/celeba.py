"""CelebA: photographs of famous people, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Task
from hypnet_data._io.files import data_directory
from hypnet_data.ondisk.task import Listing, file_splits, image_spec, lines_of, needed

_GUIDE = "celeba"
_FOLDERS = {"jpg": "img_align_celeba", "png": "img_align_celeba_png"}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CelebATask(Task):
    """Which attributes a face has.

    Attributes:
        attribute_names: The attributes, in the order of the targets.
    """

    attribute_names: tuple[str, ...]


def celeba(
    *,
    format: Literal["jpg", "png"] = "jpg",  # noqa: A002 - the user's word
    size: tuple[int, int] = (218, 178),
    workers: int = 0,
    pin_memory: bool = False,
    data_dir: Path | str | None = None,
) -> CelebATask:
    """CelebA, 162,770 training, 19,867 validation and 19,962 test photographs of faces with 40 attributes; the files must be there.

    Inputs are `(3, height, width)` between 0 and 1, of the aligned and cropped images.
    Targets are `(40,)`: 1 where a face has an attribute, else 0. A face has several, so
    this is no classification in the sense of one class per sample; the task's kind is
    `regression`, and binary cross-entropy its loss. Images are read from
    `DATA_DIR/CelebA` when a batch asks for them: `Img/img_align_celeba/*.jpg` (or
    `Img/img_align_celeba_png/*.png`), `Anno/list_attr_celeba.txt` and
    `Eval/list_eval_partition.txt`; `docs/data/celeba.md` says how to prepare them.

    Args:
        format: Whether the JPEG or the PNG images are read.
        size: Height and width that images are resized to; by default they stay as they
            are.
        workers: Number of processes that read batches ahead; 0 for none.
        pin_memory: Whether batches of workers come in pinned memory, from which a GPU
            copies faster.
        data_dir: Folder of data; by default `$HYPNET_DATA`, else `~/.cache/hypnet`.

    Raises:
        DataError: Something is missing or damaged.
        ConfigError: The size is not possible.

    References:
        Z. Liu, P. Luo, X. Wang and X. Tang, *Deep Learning Face Attributes in the
        Wild*, ICCV, 2015, arXiv:1411.7766.
    """
    if min(size) < 1:
        raise ConfigError(
            f"size must be a height and a width of at least one pixel, got {size[0]} and {size[1]}"
        )
    root = data_directory(data_dir) / "CelebA"
    images = needed(root / "Img" / _FOLDERS[format], "the folder of aligned images", _GUIDE)
    attribute_names, attributes = _attributes(root / "Anno" / "list_attr_celeba.txt")
    listing = _listed(images, attributes, root / "Eval" / "list_eval_partition.txt", format)
    splits = file_splits(
        listing,
        size=size,
        fit="stretch",
        normalize=False,
        flips=False,
        classes=None,
        workers=workers,
        pin_memory=pin_memory,
    )
    spec = image_spec("celeba", size, len(attribute_names), regression=True, normalize=False)
    return CelebATask(spec, splits.train, splits.test, splits.val, attribute_names=attribute_names)


def _attributes(path: Path) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
    """The names of the attributes, and which of them each image has."""
    lines = lines_of(path, "the attributes of each image", _GUIDE)
    if len(lines) < 3 or lines[0] != [str(len(lines) - 2)]:
        raise DataError(
            f"{path} is damaged: its first line should be the number of images,"
            f" {max(len(lines) - 2, 0)}"
        )
    names = lines[1]
    found = {}
    for number, (image, *values) in enumerate(lines[2:], 3):
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise DataError(
                f"{path} is damaged: line {number} should be a name and {len(names)} values, each 1"
                " or -1"
            )
        found[image] = [value == "1" for value in values]
    return tuple(names), found


def _listed(images: Path, attributes: dict[str, list[bool]], path: Path, ending: str) -> Listing:
    lines = lines_of(path, "which images are for training, validation and testing", _GUIDE)
    parts: Sequence[list[int]] = ([], [], [])
    for number, words in enumerate(lines):
        if len(words) != 2 or words[1] not in {"0", "1", "2"} or words[0] not in attributes:
            raise DataError(
                f"{path} is damaged: line {number + 1} should be an image of the attributes' list"
                f" and 0, 1 or 2, is {' '.join(words)!r}"
            )
        parts[int(words[1])].append(number)
    names = [str(Path(words[0]).with_suffix(f".{ending}")) for words in lines]
    missing = next((name for name in (names[0], names[-1]) if not (images / name).is_file()), None)
    if missing is not None:
        raise DataError(
            f"{images / missing} is missing, but {path.name} names it: docs/data/{_GUIDE}.md says"
            " how to unpack the images"
        )
    targets = torch.tensor([attributes[words[0]] for words in lines], dtype=torch.float32)
    train, val, test = (torch.tensor(part, dtype=torch.int64) for part in parts)
    return Listing(images, names, targets, (train, test, val if len(val) else None))
