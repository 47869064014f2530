"""Datasets whose folders are linked, shifted, doubled, or no folders at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.io import savemat

from hypnet_core.errors import DataError
from hypnet_core.tasks import LoadedSplit, Task
from hypnet_data import celeba, cub200, imagenet, udacity_ch2
from hypnet_data.ondisk import ReadImages
from hypnet_data.ondisk.reading import stored_names

TRUTH = "meta/data/ILSVRC2012_validation_ground_truth.txt"


def one_class_in_two_folders(root: Path) -> None:
    shutil.rmtree(root / "train" / "n01")
    (root / "train" / "n01").symlink_to(root / "train" / "n02")


def training_images_for_testing(root: Path) -> None:
    shutil.rmtree(root / "train" / "n01")
    (root / "train" / "n01").symlink_to(root / "val" / "n01")


def one_folder_for_both(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").symlink_to(root / "train")


def an_image_in_two_parts(root: Path) -> None:
    (root / "train").rename(root / "train.X1")
    (root / "train.X2" / "n01").mkdir(parents=True)
    shutil.copy(root / "train.X1" / "n01" / "n01_1.JPEG", root / "train.X2" / "n01")


def a_link_to_nothing(root: Path) -> None:
    (root / "train" / "n01" / "gone.JPEG").symlink_to(root / "train" / "n01" / "no.JPEG")


def a_link_in_a_circle(root: Path) -> None:
    path = root / "train" / "n01" / "loop.JPEG"
    path.symlink_to(path)


def a_link_to_a_folder(root: Path) -> None:
    (root / "train" / "n01" / "inside").mkdir()
    (root / "train" / "n01" / "folder.JPEG").symlink_to("inside")


def a_file_for_a_folder(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").write_text("no folder")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (one_class_in_two_folders, r"train/n02 and .*train/n01 are the same folder"),
        (training_images_for_testing, r"val/n01 and .*train/n01 are the same folder"),
        (one_folder_for_both, "are the same folder"),
        (an_image_in_two_parts, r"X2/n01/n01_1\.JPEG and .*X1/n01/n01_1\.JPEG are the same image"),
        (a_link_to_nothing, r"gone\.JPEG is a broken link"),
        (a_link_in_a_circle, r"loop\.JPEG is a broken link"),
        (a_link_to_a_folder, r"folder\.JPEG is a link to .*inside, which is not a file"),
        (a_file_for_a_folder, r"cannot read .*train: Not a directory"),
    ],
)
def test_images_that_are_there_twice_or_not_at_all_are_refused(
    trees: Any, tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(trees.imagenet_tree(tmp_path))
    with pytest.raises(DataError, match=message):
        imagenet(data_dir=tmp_path)


def test_a_foreign_image_for_a_missing_one_shifts_no_classes(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path, flat=True) / "val"
    (folder / "ILSVRC2012_val_00000002.JPEG").rename(folder / "zebra.JPEG")
    with pytest.raises(DataError, match=r"00000003\.JPEG should be ILSVRC2012_val_00000002\.JPEG"):
        imagenet(data_dir=tmp_path)


@pytest.mark.parametrize("number", ["9" * 5000, "1_0", "1.0", "-1", "²"])
def test_a_class_of_the_ground_truth_that_is_no_number_is_named(
    trees: Any, tmp_path: Path, number: str
) -> None:
    path = trees.imagenet_tree(tmp_path, flat=True) / TRUTH
    path.write_text(f"{number}\n2\n3\n1\n2\n3\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1 should be the number of a class") as caught:
        imagenet(data_dir=tmp_path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("numbers", "names", "message"),
    [
        ((np.inf, 2.0, 3.0), "321", "is not the development kit's list of classes"),
        ((np.nan, 2.0, 3.0), "321", "is not the development kit's list of classes"),
        ((1.5, 2.0, 3.0), "321", r"1\.5 is not a whole number"),
        ((1j, 2j, 3j), "321", "is not the development kit's list of classes"),
        ((1, 2, 3), "122", "is damaged: it names a class twice"),
        ((1, 1, 2), "321", "should have the numbers 1 to 3"),
    ],
)
def test_a_damaged_development_kit_is_named(
    trees: Any, tmp_path: Path, numbers: tuple[Any, ...], names: str, message: str
) -> None:
    fields = ("ILSVRC2012_ID", "WNID", "words", "num_children")
    rows = [(number, f"n0{name}", "words", 0) for number, name in zip(numbers, names, strict=True)]
    synsets: Any = np.array(rows, dtype=[(field, object) for field in fields])
    path = trees.imagenet_tree(tmp_path) / "meta" / "data" / "meta.mat"
    savemat(path, {"synsets": synsets[:, None]})
    with pytest.raises(DataError, match=message):
        imagenet(data_dir=tmp_path)


def test_classes_of_birds_have_one_number_each(trees: Any, tmp_path: Path) -> None:
    path = trees.cub200_tree(tmp_path, classes=1) / "classes.txt"
    path.write_text("1 001.Bird_1\n2 001.Bird_1\n")
    with pytest.raises(DataError, match=r"classes\.txt is damaged: it names a class twice"):
        cub200(data_dir=tmp_path, download=False)


@pytest.mark.parametrize("angle", ["1e39", "-1e39", "3.4028236e38", "inf", "1_0", "٣", "0x1", ""])
def test_angles_are_numbers_of_32_bits(trees: Any, tmp_path: Path, angle: str) -> None:
    path = trees.udacity_tree(tmp_path) / "Ch2_002" / "interpolated.csv"
    path.write_text(path.read_text().replace("-0.300000", angle), encoding="utf-8")
    with pytest.raises(DataError, match=f"the angle '{angle}' is not a number of 32 bits"):
        udacity_ch2(data_dir=tmp_path)


def test_test_images_are_not_the_training_images(trees: Any, tmp_path: Path) -> None:
    folder = trees.udacity_tree(tmp_path)
    table = folder / "Ch2_001" / "interpolated.csv"
    table.unlink()
    table.symlink_to(folder / "nothing.csv")
    with pytest.raises(DataError, match=r"Ch2_001/interpolated\.csv is missing"):
        udacity_ch2(data_dir=tmp_path)
    shutil.rmtree(folder / "Ch2_001")
    (folder / "Ch2_001").symlink_to(folder / "Ch2_002")
    with pytest.raises(DataError, match="are the same folder"):
        udacity_ch2(data_dir=tmp_path)


def test_folders_are_no_images(trees: Any, tmp_path: Path) -> None:
    folder = trees.celeba_tree(tmp_path) / "Img" / "img_align_celeba"
    (folder / "album.jpg").mkdir()
    assert len(celeba(data_dir=tmp_path).train) == 6
    (folder / "000003.jpg").unlink()
    (folder / "000003.jpg").mkdir()
    with pytest.raises(DataError, match=r"000003\.jpg is missing, but"):
        celeba(data_dir=tmp_path)


def build(name: str, root: Path | str) -> Task:
    options: dict[str, Any] = {"download": False} if name == "cub200" else {}
    datasets: dict[str, Any] = {
        "celeba": celeba,
        "cub200": cub200,
        "imagenet": imagenet,
        "udacity_ch2": udacity_ch2,
    }
    task: Task = datasets[name](data_dir=root, **options)
    return task


@pytest.mark.parametrize("name", ["celeba", "cub200", "imagenet", "udacity_ch2"])
@pytest.mark.parametrize(
    ("root", "reason"),
    [("x" * 300, "File name too long"), ("a\0b", "null byte"), ("~nobody_of_this_name/x", "home")],
)
def test_impossible_folders_are_named(name: str, root: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"cannot use the folder .*{reason}.*; choose another"):
        build(name, root)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not text")
def test_names_of_files_need_not_be_text(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path) / "train" / "n01"
    try:
        (folder / "n01_1.JPEG").rename(folder / os.fsdecode(b"caf\xe9.JPEG"))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    train = imagenet(data_dir=tmp_path, augmentation=False).train
    assert isinstance(train, LoadedSplit)
    assert next(train.batches(12)).x.isfinite().all()


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_photographs_of_every_format_are_turned_once(tmp_path: Path, ending: str) -> None:
    """Pillow turns TIFF by itself when it is decoded."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:24, :32], pixels[24:, 32:] = (255, 0, 0), (0, 255, 0)
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        Image.fromarray(pixels).save(path, exif=tags)
        with Image.open(path) as file:
            expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        read = ReadImages(tmp_path, expected.shape[:2])(stored_names([path.name]))[0]
        assert torch.equal(read, torch.from_numpy(expected.copy()).permute(2, 0, 1)), orientation
