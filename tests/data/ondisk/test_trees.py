"""CUB-200, ImageNet, CelebA and Udacity's challenge, from small trees of files."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import LoadedSplit, Stream, Task
from hypnet_data import (
    Scale,
    celeba,
    cub200,
    imagenet,
    permuted_tasks,
    split_tasks,
    udacity_ch2,
)
from hypnet_data._io.files import preparation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
THEIRS = v2.Compose(
    [
        v2.Resize(256),
        v2.CenterCrop(224),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
)


def split_of(task: Task, name: str) -> LoadedSplit:
    split = task.splits[name]
    assert isinstance(split, LoadedSplit)
    return split


# CUB-200-2011


def test_birds_are_split_as_the_lists_say(trees: Any, tmp_path: Path) -> None:
    folder = trees.cub200_tree(tmp_path)
    task = cub200(data_dir=tmp_path, download=False, validation_per_class=1)
    assert task.spec.in_shape == (3, 224, 224)
    assert task.class_names == ("001.Bird_1", "002.Bird_2", "003.Bird_3")
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 6,
        "test": 9,
        "val": 3,
    }
    assert split_of(task, "test").ids.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert split_of(task, "val").ids.tolist() == [1, 7, 13]
    assert split_of(task, "test").targets.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    files = sorted((folder / "images").rglob("*.jpg"))
    expected = torch.stack([THEIRS(Image.open(files[number])) for number in (0, 2, 4)])
    assert torch.allclose(next(task.test.batches(3)).x, expected, atol=1e-5)


def test_training_images_are_cut_out_at_random_and_evaluation_is_not(
    trees: Any, tmp_path: Path
) -> None:
    trees.cub200_tree(tmp_path)
    task = cub200(data_dir=tmp_path, download=False)
    one, two, three = (
        next(task.train.batches(9, generator=torch.Generator().manual_seed(seed))).x
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    plain = cub200(data_dir=tmp_path, download=False, augmentation=False)
    before = torch.get_rng_state()
    assert torch.equal(
        next(plain.train.batches(9)).x, split_of(task, "train").unaugmented().all().x
    )
    assert torch.equal(torch.get_rng_state(), before)  # where nothing is random, nothing is drawn


def test_the_archive_is_downloaded_and_unpacked_once(
    trees: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = trees.tar_of_tree(trees.cub200_tree(tmp_path / "source"))
    (server.folder / "CUB_200_2011.tgz").write_bytes(archive)
    from hypnet_data._io.published import Published

    entry = Published((server.url,), (("CUB_200_2011.tgz", hashlib.md5(archive).hexdigest()),))
    monkeypatch.setattr(import_module("hypnet_data.ondisk.cub200"), "CUB200", entry)
    for _ in range(2):
        assert len(cub200(data_dir=tmp_path / "data").test) == 9
    assert server.requests == ["CUB_200_2011.tgz"]
    assert sorted(path.name for path in (tmp_path / "data").glob("[!.]*")) == [
        "CUB_200_2011",
        "CUB_200_2011.tgz",
    ]


def hostile(name: str, **fields: Any) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        good = tarfile.TarInfo("CUB_200_2011/classes.txt")
        good.size = 3
        tar.addfile(good, io.BytesIO(b"1 a"))
        member = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(member, field, value)
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    return packed.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        hostile("../outside.txt", size=3),
        hostile("CUB_200_2011/../../outside.txt", size=3),
        hostile("/outside.txt", size=3),
        hostile("CUB_200_2011/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        hostile("CUB_200_2011/link", type=tarfile.LNKTYPE, linkname="../outside.txt"),
        hostile("CUB_200_2011/device", type=tarfile.CHRTYPE),
    ],
)
def test_an_archive_with_paths_that_climb_out_or_links_is_refused(
    tmp_path: Path, archive: bytes
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "CUB_200_2011.tgz").write_bytes(archive)
    with pytest.raises(
        DataError, match=r"CUB_200_2011\.tgz holds '.*', a link or a path out of the archive"
    ):
        cub200(data_dir=tmp_path / "data", download=False, verify=False)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in (tmp_path / "data").glob("[!.]*")] == ["CUB_200_2011.tgz"]


@pytest.mark.parametrize("keep", [50, 2000, -300])
def test_a_truncated_archive_is_named_and_nothing_is_left(
    trees: Any, tmp_path: Path, keep: int
) -> None:
    archive = trees.tar_of_tree(trees.cub200_tree(tmp_path / "source"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "CUB_200_2011.tgz").write_bytes(archive[:keep])
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz is not a complete tar archive"):
        cub200(data_dir=tmp_path / "data", download=False, verify=False)
    assert [path.name for path in (tmp_path / "data").glob("[!.]*")] == ["CUB_200_2011.tgz"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("images.txt", None, r"images\.txt is missing .*docs/data/cub200\.md"),
        ("classes.txt", "", r"classes\.txt is empty"),
        ("images.txt", "1 a b\n", r"images\.txt is damaged: line 1"),
        ("train_test_split.txt", "1 1\n", r"train_test_split\.txt does not name the same images"),
        ("classes.txt", "1 one\n2 two\n", r"gives image 13 the class 3, which does not exist"),
    ],
)
def test_damaged_lists_are_named(
    trees: Any, tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    path = trees.cub200_tree(tmp_path) / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        cub200(data_dir=tmp_path, download=False)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/secret.jpg"])
def test_a_list_that_leads_out_of_the_folder_is_refused(
    trees: Any, tmp_path: Path, name: str
) -> None:
    path = trees.cub200_tree(tmp_path) / "images.txt"
    path.write_text(path.read_text().replace("001.Bird_1/Bird_1_0000.jpg", name))
    with pytest.raises(
        DataError, match=r"images\.txt names '.*secret\.jpg', a path out of the folder"
    ):
        cub200(data_dir=tmp_path, download=False)


def test_preparing_checks_the_archive_beside_the_unpacked_folder(
    trees: Any, tmp_path: Path
) -> None:
    trees.cub200_tree(tmp_path)
    archive = tmp_path / "CUB_200_2011.tgz"
    with preparation(thorough=True):
        cub200(data_dir=tmp_path, download=False)
    archive.write_bytes(b"damaged")
    cub200(data_dir=tmp_path, download=False)
    with (
        pytest.raises(DataError, match=r"CUB_200_2011\.tgz is damaged"),
        preparation(thorough=True),
    ):
        cub200(data_dir=tmp_path, download=False)


def test_gzip_that_goes_on_as_something_else_is_a_damaged_archive_and_old_leftovers_go(
    trees: Any, tmp_path: Path
) -> None:
    tar = gzip.decompress(trees.tar_of_tree(trees.cub200_tree(tmp_path / "source")))
    (tmp_path / "data" / ".CUB_200_2011.killed").mkdir(parents=True)
    (tmp_path / "data" / "CUB_200_2011.tgz").write_bytes(gzip.compress(tar[:6000]) + b"no gzip")
    with pytest.raises(DataError, match=r"CUB_200_2011\.tgz is not a complete tar archive"):
        cub200(data_dir=tmp_path / "data", download=False, verify=False)
    left = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert left == [".CUB_200_2011.lock", "CUB_200_2011.tgz"]


def test_too_many_validation_images_are_an_error(trees: Any, tmp_path: Path) -> None:
    trees.cub200_tree(tmp_path)
    with pytest.raises(
        ConfigError, match=r"3 images of each class cannot be held out .* class 0 has only 3"
    ):
        cub200(data_dir=tmp_path, download=False, validation_per_class=3)


# Reading


@pytest.mark.parametrize("content", [b"", b"no image", None])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_does_not_decode_is_named(
    trees: Any, tmp_path: Path, content: bytes | None, workers: int
) -> None:
    path = trees.cub200_tree(tmp_path) / "images" / "001.Bird_1" / "Bird_1_0002.jpg"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    task = cub200(data_dir=tmp_path, download=False, workers=workers)
    with pytest.raises(
        DataError, match=r"Bird_1_0002\.jpg is not an image that can be decoded"
    ) as caught:
        list(task.test.batches(4))
    assert "\n" not in str(caught.value)


def test_an_image_that_is_gone_is_named(trees: Any, tmp_path: Path) -> None:
    path = trees.cub200_tree(tmp_path) / "images" / "002.Bird_2" / "Bird_2_0001.jpg"
    task = cub200(data_dir=tmp_path, download=False)
    path.unlink()
    with pytest.raises(
        DataError, match=r"Bird_2_0001\.jpg is missing, but the dataset's lists name it"
    ):
        list(task.train.batches(4))


def test_batches_are_the_same_with_any_number_of_workers(trees: Any, tmp_path: Path) -> None:
    trees.cub200_tree(tmp_path)
    found = []
    for workers in (0, 1, 2):
        task = cub200(data_dir=tmp_path, download=False, workers=workers)
        before = torch.get_rng_state()
        found.append(
            list(task.train.batches(4, shuffle=True, generator=torch.Generator().manual_seed(3)))
        )
        assert torch.equal(torch.get_rng_state(), before)
    for other in found[1:]:
        assert [batch.ids.tolist() for batch in other] == [batch.ids.tolist() for batch in found[0]]
        assert all(
            torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
            for one, two in zip(found[0], other, strict=True)
        )


def test_transforms_act_on_decoded_images_not_on_file_names(trees: Any, tmp_path: Path) -> None:
    trees.cub200_tree(tmp_path)
    train = cub200(data_dir=tmp_path, download=False).train
    assert isinstance(train, LoadedSplit)
    evaluated = train.unaugmented()
    raw = evaluated.with_transforms().batch([0, 1]).x
    assert raw.shape == (2, 3, 224, 224)
    assert raw.dtype == torch.uint8
    inputs = evaluated.with_transforms(Scale()).batch([0, 1]).x
    assert torch.equal(inputs, raw.to(torch.float32) / 255)
    assert len(raw.unique()) > 50  # a picture, not the bytes of a name


def test_a_stream_goes_on_where_it_was_saved(trees: Any, tmp_path: Path) -> None:
    trees.cub200_tree(tmp_path)
    train = cub200(data_dir=tmp_path, download=False).train
    stream = Stream(train, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        next(stream)
    other = Stream(train, 4, generator=torch.Generator().manual_seed(9))
    other.load_state_dict(stream.state_dict())
    assert all(torch.equal(next(stream).x, next(other).x) for _ in range(4))


def test_task_sequences_can_be_made_of_files_as_well(trees: Any, tmp_path: Path) -> None:
    trees.cub200_tree(tmp_path)
    whole = cub200(data_dir=tmp_path, download=False)
    cut = split_tasks(whole, labels=((2,), (0, 1)), validation_size=1)
    assert [len(task.train) for task in cut] == [2, 5]
    assert next(cut[0].test.batches(3)).ids.tolist() == [12, 14, 16]
    permuted = permuted_tasks(whole, tasks=1)[0]
    pixels, expected = (
        next(task.test.batches(2)).x.flatten(2).sort().values for task in (permuted, whole)
    )
    assert torch.equal(pixels, expected)


# ImageNet


@pytest.mark.parametrize("flat", [False, True])
def test_imagenets_classes_are_in_the_order_of_the_development_kit(
    trees: Any, tmp_path: Path, flat: bool
) -> None:
    folder = trees.imagenet_tree(tmp_path, flat=flat)
    task = imagenet(data_dir=tmp_path, validation_per_class=1)
    assert task.wordnet_ids == ("n03", "n01", "n02")
    assert task.class_names[0] == "a n03, an alias"
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 9,
        "test": 6,
        "val": 3,
    }
    assert split_of(task, "train").targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert split_of(task, "val").ids.tolist() == [0, 4, 8]
    assert sorted(split_of(task, "test").targets.tolist()) == [0, 0, 1, 1, 2, 2]
    if flat:
        assert split_of(task, "test").targets.tolist() == [0, 1, 2, 0, 1, 2]
    theirs = ImageFolder(str(folder / "train"))
    ours = {
        name.split("/")[-1]: int(y)
        for name, y in zip(names_of(task, "train"), split_of(task, "train").targets, strict=True)
    }
    for path, label in theirs.samples:
        if Path(path).name in ours:
            assert int(task.to_folder_labels(torch.tensor([ours[Path(path).name]]))) == label


def names_of(task: Task, name: str) -> list[str]:
    from hypnet_data.ondisk.reading import file_names

    split = split_of(task, name)
    return file_names(split.samples.x[split.rows])


def test_labels_are_translated_as_indices_and_as_rows(trees: Any, tmp_path: Path) -> None:
    trees.imagenet_tree(tmp_path)
    task = imagenet(data_dir=tmp_path)
    labels = torch.tensor([0, 1, 2, 1])
    folder = task.to_folder_labels(labels)
    assert folder.tolist() == [2, 0, 1, 0]
    rows = torch.nn.functional.one_hot(labels, 3)
    assert task.to_folder_labels(rows).argmax(dim=1).tolist() == folder.tolist()


def test_what_is_missing_of_imagenet_is_named(trees: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train is missing .*docs/data/imagenet\.md"):
        imagenet(data_dir=tmp_path)
    folder = trees.imagenet_tree(tmp_path, flat=True)
    truth = folder / "meta" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n2\n")
    with pytest.raises(DataError, match=r"holds 6 images, but .* has 2 classes"):
        imagenet(data_dir=tmp_path)
    truth.write_text("1\n2\n3\n1\n2\n7\n")
    with pytest.raises(DataError, match="there is no class 7, they go from 1 to 3"):
        imagenet(data_dir=tmp_path)
    truth.write_text("1\n2\n3\n1\n2\n3")
    with pytest.raises(DataError, match=r"may be cut: its last line has no line break"):
        imagenet(data_dir=tmp_path)
    shutil.rmtree(folder / "train" / "n02")
    (folder / "train" / "n02").mkdir()
    with pytest.raises(DataError, match=r"train/n02 holds no images"):
        imagenet(data_dir=tmp_path)
    (folder / "meta" / "data" / "meta.mat").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"meta\.mat is not the development kit's list"):
        imagenet(data_dir=tmp_path)


# CelebA


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_faces_come_with_their_attributes(trees: Any, tmp_path: Path, ending: Any) -> None:
    folder = trees.celeba_tree(tmp_path, ending=ending)
    task = celeba(data_dir=tmp_path, format=ending)
    assert task.attribute_names == ("5_o_Clock_Shadow", "Bald", "Smiling")
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 4,
    }
    batch = next(task.train.batches(6))
    assert batch.y.tolist() == [[float(n >> bit & 1) for bit in range(3)] for n in range(1, 7)]
    image = Image.open(next(folder.rglob(f"000003.{ending}")))
    assert np.allclose(batch.x[2], np.asarray(image).transpose(2, 0, 1) / 255, atol=1e-6)
    assert next(
        celeba(data_dir=tmp_path, format=ending, size=(64, 48)).test.batches(2)
    ).x.shape == (2, 3, 64, 48)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "Anno/list_attr_celeba.txt",
            None,
            r"list_attr_celeba\.txt is missing .*docs/data/celeba\.md",
        ),
        (
            "Anno/list_attr_celeba.txt",
            "5\na b\nx 1 1\n",
            "first line should be the number of images, 1",
        ),
        (
            "Anno/list_attr_celeba.txt",
            "1\na b\nx 1 2\n",
            "line 3 should be a name and 2 values, each 1 or -1",
        ),
        ("Eval/list_eval_partition.txt", "000001.jpg 3\n", "line 1 should be an image"),
        ("Eval/list_eval_partition.txt", "unknown.jpg 1\n", "line 1 should be an image"),
    ],
)
def test_damaged_lists_of_faces_are_named(
    trees: Any, tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    path = trees.celeba_tree(tmp_path) / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        celeba(data_dir=tmp_path)


def test_images_that_were_not_unpacked_are_named(trees: Any, tmp_path: Path) -> None:
    trees.celeba_tree(tmp_path)
    with pytest.raises(
        DataError, match=r"img_align_celeba_png is missing \(the folder of aligned images\)"
    ):
        celeba(data_dir=tmp_path, format="png")
    next(tmp_path.rglob("000012.jpg")).unlink()
    with pytest.raises(
        DataError, match=r"000012\.jpg is missing, but list_eval_partition\.txt names it"
    ):
        celeba(data_dir=tmp_path)


# Udacity's challenge 2


def test_angles_belong_to_the_pictures_of_the_centre_camera(trees: Any, tmp_path: Path) -> None:
    trees.udacity_tree(tmp_path)
    task = udacity_ch2(data_dir=tmp_path, validation_size=3)
    assert task.test_angles_available
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 7,
        "val": 3,
        "test": 4,
    }
    for split in task.splits.values():
        batch = next(split.batches(10))
        assert batch.x.shape[1:] == (3, 192, 256)
        number = batch.ids - 10 * (batch.ids >= 10)
        assert torch.allclose(batch.y[:, 0], 0.1 * number - 0.3, atol=1e-6)
    again, other = (udacity_ch2(data_dir=tmp_path, validation_size=3, seed=seed) for seed in (0, 5))
    assert split_of(again, "val").ids.tolist() == split_of(task, "val").ids.tolist()
    assert split_of(other, "val").ids.tolist() != split_of(task, "val").ids.tolist()


def test_without_test_angles_they_are_zero_and_it_says_so(trees: Any, tmp_path: Path) -> None:
    trees.udacity_tree(tmp_path, test_angles=False)
    task = udacity_ch2(data_dir=tmp_path, size=(20, 30))
    assert not task.test_angles_available
    assert next(task.test.batches(9)).y.tolist() == [[0.0]] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"interpolated\.csv is missing .*docs/data/udacity_ch2\.md"),
        ("", r"interpolated\.csv is empty"),
        ("a,b\n1,2\n", "it needs the columns frame_id, filename, angle"),
        ("frame_id,filename,angle\ncenter_camera,center/1.jpg,much\n", "the angle 'much' is not"),
        ("frame_id,filename,angle\ncenter_camera,center/1.jpg,1e39\n", "the angle '1e39' is not"),
        ("frame_id,filename,angle\ncenter_camera,center/1.jpg,nan\n", "the angle 'nan' is not"),
        (
            "frame_id,filename,angle\nleft_camera,left/1.jpg,0.1\n",
            "names no images of the centre camera",
        ),
    ],
)
def test_damaged_tables_are_named(
    trees: Any, tmp_path: Path, text: str | None, message: str
) -> None:
    path = trees.udacity_tree(tmp_path) / "Ch2_002" / "interpolated.csv"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        udacity_ch2(data_dir=tmp_path)


def test_every_page_that_an_error_names_is_there() -> None:
    docs = Path(__file__).parents[3] / "docs" / "data"
    for name in ("cub200", "imagenet", "celeba", "udacity_ch2"):
        assert (docs / f"{name}.md").read_text(encoding="utf-8").startswith("# ")
