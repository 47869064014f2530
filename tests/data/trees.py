"""Miniature datasets of image files, in their real layouts and formats."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 50)) -> Image.Image:
    """An invented photograph, smooth enough for JPEG to preserve it."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def write_picture(path: Path, seed: int, size: tuple[int, int] = (40, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)


def cub200_tree(root: Path, *, classes: int = 3, per_class: int = 6) -> Path:
    """A small CUB-200; half of the images of each class are for training."""
    folder = root / "CUB_200_2011"
    lists: dict[str, list[str]] = {
        "images": [],
        "image_class_labels": [],
        "train_test_split": [],
        "classes": [],
    }
    number = 0
    for kind in range(1, classes + 1):
        name = f"{kind:03d}.Bird_{kind}"
        lists["classes"].append(f"{kind} {name}")
        for index in range(per_class):
            number += 1
            file = f"{name}/Bird_{kind}_{index:04d}.jpg"
            write_picture(folder / "images" / file, number, (30 + index, 44))
            lists["images"].append(f"{number} {file}")
            lists["image_class_labels"].append(f"{number} {kind}")
            lists["train_test_split"].append(f"{number} {index % 2}")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def tar_of_tree(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    return packed.getvalue()


# In the order of the development kit; the folders' names are in another.
WORDNET_IDS = ("n03", "n01", "n02")


def imagenet_tree(root: Path, *, per_class: int = 4, flat: bool = False) -> Path:
    """A small ImageNet: three classes and a group of classes; two test images each."""
    from scipy.io import savemat

    folder = root / "imagenet"
    fields = [
        ("ILSVRC2012_ID", object),
        ("WNID", object),
        ("words", object),
        ("gloss", object),
        ("num_children", object),
    ]
    rows = [
        (number, name, f"a {name}, an alias", "…", 0) for number, name in enumerate(WORDNET_IDS, 1)
    ]
    synsets: Any = np.array([*rows, (4, "n99", "everything", "…", 3)], dtype=fields)
    meta = folder / "meta" / "data"
    meta.mkdir(parents=True)
    savemat(meta / "meta.mat", {"synsets": synsets[:, None]})
    truth = []
    for label, name in enumerate(WORDNET_IDS):
        for index in range(per_class):
            write_picture(folder / "train" / name / f"{name}_{index}.JPEG", 10 * label + index)
    for index in range(2 * len(WORDNET_IDS)):
        label = index % len(WORDNET_IDS)
        file = f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        write_picture(
            folder / "val" / (file if flat else f"{WORDNET_IDS[label]}/{file}"), 100 + index
        )
        truth.append(str(label + 1))
    if flat:
        (meta / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(truth) + "\n")
    return folder


def celeba_tree(root: Path, *, ending: str = "jpg", count: int = 12) -> Path:
    folder = root / "CelebA"
    names = ["5_o_Clock_Shadow", "Bald", "Smiling"]
    lines, partition = [str(count), " ".join(names)], []
    images = folder / "Img" / {"jpg": "img_align_celeba", "png": "img_align_celeba_png"}[ending]
    for number in range(1, count + 1):
        write_picture(images / f"{number:06d}.{ending}", number, (218, 178))
        values = " ".join(f"{1 if number >> bit & 1 else -1:2d}" for bit in range(3))
        lines.append(f"{number:06d}.jpg {values}")
        partition.append(f"{number:06d}.jpg {0 if number <= 6 else 1 if number <= 8 else 2}")
    for path, text in (
        ("Anno/list_attr_celeba.txt", lines),
        ("Eval/list_eval_partition.txt", partition),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("\n".join(text) + "\n")
    return folder


def udacity_tree(root: Path, *, test_angles: bool = True) -> Path:
    folder = root / "udacity_ch2"
    header = "index,timestamp,width,height,frame_id,filename,angle,torque,speed,lat,long,alt"
    for part, count in (("Ch2_002", 10), ("Ch2_001", 4)):
        rows = [header]
        for number in range(count):
            for camera in ("left", "center", "right"):
                file = f"{camera}/{1479424215880976321 + number}.jpg"
                if camera == "center":
                    write_picture(folder / part / file, number, (48, 64))
                rows.append(
                    f"t,{number},640,480,{camera}_camera,{file},{0.1 * number - 0.3:.6f}"
                    ",0,20.5,37.3,-122.1,40"
                )
        if part == "Ch2_002" or test_angles:
            (folder / part / "interpolated.csv").write_text("\n".join(rows) + "\n")
    return folder
