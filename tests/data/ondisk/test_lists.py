"""Lists of images: what editors and systems write, and nothing that is half."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import DataError
from hypnet_core.tasks import LoadedSplit, Task
from hypnet_data import celeba, cub200, imagenet, udacity_ch2
from hypnet_data.ondisk.lists import check_images, columns_of, entry_of, images_in, lines_of

Load = Callable[[Path], Task]


def load_celeba(root: Path) -> Task:
    return celeba(data_dir=root, size=(8, 8))


def load_cub(root: Path) -> Task:
    return cub200(data_dir=root, download=False)


def load_udacity(root: Path) -> Task:
    return udacity_ch2(data_dir=root, size=(8, 8))


LISTS: list[tuple[str, Load, str]] = [
    ("celeba_tree", load_celeba, "CelebA/Anno/list_attr_celeba.txt"),
    ("celeba_tree", load_celeba, "CelebA/Eval/list_eval_partition.txt"),
    ("cub200_tree", load_cub, "CUB_200_2011/images.txt"),
    ("cub200_tree", load_cub, "CUB_200_2011/classes.txt"),
    ("cub200_tree", load_cub, "CUB_200_2011/image_class_labels.txt"),
    ("cub200_tree", load_cub, "CUB_200_2011/train_test_split.txt"),
    ("udacity_tree", load_udacity, "udacity_ch2/Ch2_002/interpolated.csv"),
    ("udacity_tree", load_udacity, "udacity_ch2/Ch2_001/interpolated.csv"),
]
IDS = [Path(file).name + ("_test" if "001/" in file else "") for _, _, file in LISTS]


def content_of(task: Task) -> list[list[Any]]:
    """Names and targets of all images, without reading them."""
    found = []
    for split in task.splits.values():
        assert isinstance(split, LoadedSplit)
        found.append([split.ids.tolist(), split.targets.tolist(), split.samples.x.tolist()])
    return found


@pytest.mark.parametrize(("tree", "load", "file"), LISTS, ids=IDS)
def test_every_cut_of_a_list_is_refused_or_harmless(
    trees: Any, tmp_path: Path, tree: str, load: Load, file: str
) -> None:
    """A cut that is taken loses nothing but the last line break, or unused columns."""
    small = {"cub200_tree": {"classes": 2, "per_class": 4}, "celeba_tree": {"count": 9}}
    getattr(trees, tree)(tmp_path, **small.get(tree, {}))
    expected, path = content_of(load(tmp_path)), tmp_path / file
    whole = path.read_bytes()
    taken, messages = [], []
    # Every cut in the first and the last lines, and one in each of the others.
    lengths = {*range(60), *range(len(whole) - 150, len(whole)), *range(0, len(whole), 37)}
    for length in sorted(lengths & {*range(len(whole))}):
        path.write_bytes(whole[:length])
        try:
            found = content_of(load(tmp_path))
        except DataError as error:
            messages.append(str(error))
        else:
            assert found == expected, f"half of it was taken: {whole[:length][-60:]!r}"
            taken.append(length)
    assert all(path.suffix in message and "\n" not in message for message in messages)
    # The line break alone, and the digits of columns that nobody reads.
    assert len(taken) <= (40 if path.suffix == ".csv" else 2)


def angles_last(root: Path) -> Path:
    """A table whose last column is read."""
    path = root / "udacity_ch2" / "Ch2_002" / "interpolated.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(f"{row[4]},{row[5]},{row[6]}\n" for row in rows))
    return path


def test_every_cut_of_a_table_is_refused_where_its_last_column_is_read(
    trees: Any, tmp_path: Path
) -> None:
    trees.udacity_tree(tmp_path)
    path = angles_last(tmp_path)
    whole = path.read_bytes()
    expected = content_of(load_udacity(tmp_path))
    last = whole.rindex(b"right_camera")  # a row that nobody reads
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length == last:
            assert content_of(load_udacity(tmp_path)) == expected
            continue
        with pytest.raises(DataError):
            load_udacity(tmp_path)


WRITTEN = {
    "windows": lambda text: text.replace("\n", "\r\n").encode(),
    "old mac": lambda text: text.replace("\n", "\r").encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 big-endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "no last line break": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: (text.replace("\n", "\n\n") + "\n\n").encode(),
}


@pytest.mark.parametrize("system", WRITTEN)
@pytest.mark.parametrize(("tree", "load", "file"), LISTS, ids=IDS)
def test_lists_may_come_from_any_editor(
    trees: Any, tmp_path: Path, tree: str, load: Load, file: str, system: str
) -> None:
    small = {"cub200_tree": {"classes": 2, "per_class": 4}, "celeba_tree": {"count": 9}}
    getattr(trees, tree)(tmp_path, **small.get(tree, {}))
    expected, path = content_of(load(tmp_path)), tmp_path / file
    path.write_bytes(WRITTEN[system](path.read_text()))
    assert content_of(load(tmp_path)) == expected


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"caf\xe9 1\n", b"a\x00b 1\n", b"a \x0b1\n", bytes(40)]
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"list\.txt cannot be read \(a list\): it is not text"):
        lines_of(path, "a list", "celeba")


@pytest.mark.parametrize(
    ("tree", "load", "file", "entry"),
    [
        ("celeba_tree", load_celeba, "CelebA/Eval/list_eval_partition.txt", "000003.jpg"),
        ("celeba_tree", load_celeba, "CelebA/Anno/list_attr_celeba.txt", "000003.jpg"),
        ("cub200_tree", load_cub, "CUB_200_2011/images.txt", "001.Bird_1/Bird_1_0002.jpg"),
        (
            "udacity_tree",
            load_udacity,
            "udacity_ch2/Ch2_002/interpolated.csv",
            "center/1479424215880976323.jpg",
        ),
    ],
    ids=["partition", "attributes", "birds", "table"],
)
def test_entries_that_leave_the_folder_or_come_twice_are_refused(
    trees: Any, tmp_path: Path, tree: str, load: Load, file: str, entry: str
) -> None:
    getattr(trees, tree)(tmp_path)
    path, name = tmp_path / file, Path(file).name
    text = path.read_text()
    outside = tmp_path / "secret.jpg"
    trees.write_picture(outside, 0)
    for wrong in (
        "../secret.jpg",
        "x/../../secret.jpg",
        str(outside),
        r"..\secret.jpg",
        "C:/a.jpg",
    ):
        path.write_text(text.replace(entry, wrong))
        with pytest.raises(DataError, match=f"{name} names '.*', a path out of the folder"):
            load(tmp_path)
    other = entry.replace("3.jpg", "4.jpg") if "3.jpg" in entry else entry.replace("2.jpg", "3.jpg")
    for same in (other, f"./{other}"):
        path.write_text(text.replace(entry, same))
        with pytest.raises(DataError, match=f"{name} names .* twice: it is damaged"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("tree", "load", "image"),
    [
        ("celeba_tree", load_celeba, "CelebA/Img/img_align_celeba/000003.jpg"),
        ("cub200_tree", load_cub, "CUB_200_2011/images/001.Bird_1/Bird_1_0002.jpg"),
        ("udacity_tree", load_udacity, "udacity_ch2/Ch2_002/center/1479424215880976323.jpg"),
        ("udacity_tree", load_udacity, "udacity_ch2/Ch2_001/center/1479424215880976323.jpg"),
        ("imagenet_tree", lambda root: imagenet(data_dir=root), "imagenet/train/n01/n01_1.JPEG"),
    ],
    ids=["faces", "birds", "car", "car_test", "imagenet"],
)
def test_links_and_missing_and_surplus_images(
    trees: Any, tmp_path: Path, tree: str, load: Load, image: str
) -> None:
    getattr(trees, tree)(tmp_path)
    path = tmp_path / image
    expected = content_of(load(tmp_path))
    # macOS leaves such files beside the images, and folders their settings.
    (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    (path.parent / ".DS_Store").write_bytes(b"Bud1")
    (path.parent / "Thumbs.db").write_bytes(b"thumbs")
    assert content_of(load(tmp_path)) == expected
    # A link out of the folder, and one to another image of it.
    path.rename(tmp_path / "outside.jpg")
    path.symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match=f"{path.name} is a link out of its folder"):
        load(tmp_path)
    path.unlink()
    neighbour = next(p for p in path.parent.iterdir() if p.name[0] not in {".", "T"})
    path.symlink_to(neighbour)
    with pytest.raises(DataError, match="are the same image"):
        load(tmp_path)
    path.unlink()
    if tree == "imagenet_tree":  # no list names its training images
        assert len(load(tmp_path).train) == len(expected[0][0]) - 1
        return
    with pytest.raises(DataError, match=rf"{path.name} is missing, but .* names it: unpack"):
        load(tmp_path)
    shutil.copy(tmp_path / "outside.jpg", path)
    shutil.copy(path, path.with_name("999.jpg"))
    with pytest.raises(DataError, match=r"names \d+ of the \d+ images in .*, not .*999\.jpg"):
        load(tmp_path)


def test_folders_of_images_may_be_links(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path / "a")
    expected = content_of(imagenet(data_dir=tmp_path / "a"))
    (folder / "train" / "n01").rename(tmp_path / "elsewhere")
    (folder / "train" / "n01").symlink_to(tmp_path / "elsewhere")
    assert content_of(imagenet(data_dir=tmp_path / "a")) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6))
def test_an_entry_is_refused_or_stays_in_the_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    try:
        found = entry_of(name, Path("list.txt"))
    except DataError:
        return
    folder = Path("/somewhere/images")
    assert (folder / found).is_relative_to(folder)
    assert ".." not in Path(found).parts


def test_quoted_values_and_other_orders_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('angle,"frame_id",filename,note\n0.5,c,"a,b.jpg",x\n')
    wanted = ("frame_id", "filename", "angle")
    assert columns_of(path, wanted, "t", "celeba") == [["c", "a,b.jpg", "0.5"]]
    for text, message in (
        ("angle,angle,frame_id,filename\n", r"once each \(wrong: angle\)"),
        ("angle,frame_id,filename,x\n1,2,3\n", "row 2 has 3 of 4 values"),
        ('angle,frame_id,filename,x\n1,2,"3,4\n', "is damaged: unexpected end of data"),
        ("\n\n", "it needs the columns"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            columns_of(path, wanted, "t", "celeba")


def test_a_long_list_is_checked_quickly() -> None:
    names = [f"{number:06d}.jpg" for number in range(200_000)]
    assert [entry_of(name, Path("l")) for name in names[:3]] == names[:3]
    check_images(names, Path("f"), names, Path("l"))
    with pytest.raises(DataError, match=r"names 000000\.jpg twice"):
        check_images([*names, names[0]], Path("f"), names, Path("l"))


def test_images_in_a_folder_are_sorted_and_have_an_ending(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.txt", "._a.jpeg", "d"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.jpg").touch()
    assert images_in(tmp_path) == ["a.jpeg", "b.PNG"]
    assert images_in(tmp_path, nested=True) == ["a.jpeg", "b.PNG", "sub/e.jpg"]
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        images_in(tmp_path / "nowhere")


# Subsets of ImageNet


def test_a_subset_of_imagenet_has_the_classes_that_are_there(
    trees: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = trees.imagenet_tree(tmp_path)
    for part in ("train", "val"):
        shutil.rmtree(folder / part / "n01")
    task = imagenet(data_dir=tmp_path)
    assert "2 of the development kit's 3 classes are there" in caplog.text
    assert task.wordnet_ids == ("n03", "n02")
    assert task.spec.out_shape == (2,)
    assert split_targets(task) == ([0] * 4 + [1] * 4, [0, 0, 1, 1])
    assert task.to_folder_labels(torch.tensor([0, 1])).tolist() == [1, 0]
    shutil.rmtree(folder / "val" / "n02")
    with pytest.raises(DataError, match=r"val/n02 is missing"):
        imagenet(data_dir=tmp_path)
    shutil.rmtree(folder / "train" / "n02")
    shutil.rmtree(folder / "val" / "n03")
    (folder / "val" / "n02").mkdir()
    with pytest.raises(DataError, match=r"train/n02 is missing, but .*val/n02 is there"):
        imagenet(data_dir=tmp_path)


def split_targets(task: Task) -> tuple[list[int], list[int]]:
    train, test = task.train, task.test
    assert isinstance(train, LoadedSplit)
    assert isinstance(test, LoadedSplit)
    return train.targets.tolist(), test.targets.tolist()


def test_test_images_of_other_classes_are_left_out(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path, flat=True)
    shutil.rmtree(folder / "train" / "n03")  # class 1 of the kit
    task = imagenet(data_dir=tmp_path)
    # The truth goes round: 1, 2, 3, 1, 2, 3.
    assert split_targets(task) == ([0] * 4 + [1] * 4, [0, 1, 0, 1])


def test_a_copy_in_several_parts_without_a_development_kit(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path)
    shutil.rmtree(folder / "meta")
    (folder / "train.X1").mkdir()
    (folder / "train" / "n02").rename(folder / "train.X1" / "n02")
    (folder / "train").rename(folder / "train.X2")
    (folder / "val").rename(folder / "val.X")
    (folder / "Labels.json").write_text('{"n01": "one", "n02": "two"}')
    task = imagenet(data_dir=tmp_path)
    assert task.wordnet_ids == ("n01", "n02", "n03")
    assert task.class_names == ("one", "two", "n03")
    assert split_targets(task) == ([0] * 4 + [1] * 4 + [2] * 4, [0, 0, 1, 1, 2, 2])
    assert next(task.test.batches(2)).x.shape == (2, 3, 224, 224)
    (folder / "Labels.json").write_text("[1]")
    with pytest.raises(DataError, match=r"Labels\.json is damaged"):
        imagenet(data_dir=tmp_path)


def test_a_folder_that_is_no_class_is_named(trees: Any, tmp_path: Path) -> None:
    folder = trees.imagenet_tree(tmp_path)
    (folder / "train" / "n04").mkdir()
    with pytest.raises(DataError, match=r"train/n04 is not a class of the development kit"):
        imagenet(data_dir=tmp_path)
