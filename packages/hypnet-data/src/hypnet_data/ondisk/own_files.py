"""A task of a user's own files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnet_core.errors import (
    ConfigError,
    DataError,
    clipped,
    error_line,
    message_of,
    safe_repr,
)
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Reader, Task, Transform
from hypnet_data.ondisk.reading import ReadImages, file_names, stored_names
from hypnet_data.ondisk.task import Listing, NamedClassesTask, check_size, file_splits
from hypnet_data.options import ReadingOptions
from hypnet_data.transforms import RandomFlip, Scale

Fit = Literal["stretch", "centre", "random"]
ReadsOne = Callable[[Path], Any]
_MOST = 1_000_000  # classes; indices above are ids of something, and their names would fill memory


@dataclass(frozen=True)
class ReadFiles:
    """Read a batch of files with a function for one file.

    Args:
        root: The folder that names are relative to.
        read: Reads one file: an array of the same shape for each, or a sequence
            `[T, …]`, which is padded with zeros to the longest of the batch. A function
            of a module, so that new processes can import it.
        sequence: Whether files are sequences.

    Shapes:
        File names `[B, L]` as bytes; inputs `[B, …]`: bytes as they are, all other
        numbers in torch's default type.
    """

    root: Path
    read: ReadsOne
    sequence: bool = False

    def __call__(self, stored: Tensor, _generator: torch.Generator | None = None, /) -> Tensor:
        """Read the files with these names.

        Raises:
            DataError: A file cannot be read, or has another shape than the others.
        """
        paths = [self.root / name for name in file_names(stored)]
        arrays = [self.one(path) for path in paths]
        frames = max((len(array) for array in arrays), default=0) if self.sequence else 0
        own = 1 if self.sequence else 0
        for path, array in zip(paths, arrays, strict=True):
            if array.shape[own:] != arrays[0].shape[own:] or array.dtype != arrays[0].dtype:
                raise DataError(
                    f"{path} is read as {_form(array)}, but {paths[0]} as {_form(arrays[0])}: the"
                    " reader must bring all files to one shape and type"
                )
        if self.sequence:
            arrays = [_padded(array, frames) for array in arrays]
        return torch.stack(arrays)

    @property
    def is_random(self) -> bool:
        """Whether reading a file twice may differ: no."""
        return False

    def for_evaluation(self) -> ReadFiles:
        """The same reader."""
        return self

    def one(self, path: Path) -> Tensor:
        """Read one file.

        Raises:
            DataError: The reader fails, or does not return an array of numbers.
        """
        try:
            found = self.read(path)
            values = found if isinstance(found, Tensor) else _tensor(np.asarray(found))
        # The reader is foreign code and may raise anything.
        except Exception as error:
            raise DataError(f"{path} cannot be read: {error_line(error)}") from error
        if self.sequence and (not values.ndim or not len(values)):
            raise DataError(f"{path} is read as {_form(values)}, not as a sequence of frames")
        if values.is_complex():
            raise DataError(f"{path} is read as {_form(values)}: return its real numbers")
        if values.dtype == torch.uint8:
            return values
        numbers = values.to(torch.get_default_dtype())
        if bool((numbers.isinf() & values.isfinite()).any()):
            raise DataError(f"{path} holds numbers that are too large for {_name(numbers)}")
        return numbers


def files_task(
    paths: Sequence[Path | str],
    targets: Any,
    *,
    reader: ReadsOne | Reader | None = None,
    size: tuple[int, int] = (224, 224),
    fit: Fit = "stretch",
    sequence: bool = False,
    transforms: Sequence[Transform] | None = None,
    test: float | Sequence[int] = 0.2,
    val: float | Sequence[int] = 0.0,
    seed: int = 0,
    name: str = "files",
    **options: Unpack[ReadingOptions],
) -> Task:
    """A task of your own files, which are read batch by batch.

    Without a `reader` the files are images, of any format that Pillow reads, as
    `(3, height, width)` between 0 and 1; `fit="random"` crops and mirrors training
    images at random. `docs/data/own_files.md` has examples.

    Args:
        paths: The files.
        targets: One target per file: names of classes (text), class indices, or numbers
            `[N]` or `[N, …]` for a regression.
        reader: A function of a path that returns an array, for files that are no
            images; or a `hypnet_core.tasks.Reader` of stored names. Bytes are divided
            by 255, all other numbers are taken as they are. `size` and `fit` are then
            unused.
        size: Height and width of images.
        fit: How images are brought to that size, see `ReadImages`.
        sequence: Whether the reader returns sequences `[T, …]` of different lengths.
            Each file is then read once to know them.
        transforms: Steps from what is read to inputs, instead of the division by 255.
        test: Share of each class, or of all files of a regression, for testing; or the
            indices of the test files.
        val: Likewise for validation.
        seed: Seed of the choice of test and validation files.
        name: Name of the task.
        **options: See `ReadingOptions`.

    Returns:
        The task; of a classification a `NamedClassesTask`, with its `class_names`.

    Raises:
        DataError: A file is missing or named twice, or there are not as many targets.
        ConfigError: The shares or the size are not possible.
    """
    chosen = with_defaults(ReadingOptions, options)
    root, names = _located(paths)
    values, classes = _targets(targets, len(names))
    read = _reader(reader, root, size, fit, sequence=sequence)
    lengths = None
    if sequence:
        if not isinstance(read, ReadFiles):
            raise ConfigError("sequence: the reader of sequences must be a function of a path")
        lengths = torch.tensor([len(read.one(root / one)) for one in names])
    first = read.for_evaluation()(stored_names(names[:1]), None)
    listing = Listing(root, names, values, _parts(values, test, val, seed), lengths)
    flips = (RandomFlip(),) if isinstance(read, ReadImages) and read.is_random else ()
    scale = (Scale(),) if first.dtype == torch.uint8 else ()
    splits = file_splits(
        listing,
        read,
        (*flips, *scale) if transforms is None else tuple(transforms),
        (),
        augmentation=read.is_random,
        workers=chosen["workers"],
        pin_memory=chosen["pin_memory"],
    )
    inputs = splits.test.unaugmented().batch([0]).x
    spec = TaskSpec(
        name=name,
        kind="regression" if classes is None else "classification",
        in_shape=tuple(inputs.shape[2 if sequence else 1 :]),
        out_shape=tuple(values.shape[1:]) if classes is None else (len(classes),),
        sequence=sequence,
    )
    parts = splits.train, splits.test, splits.val
    return (
        Task(spec, *parts)
        if classes is None
        else NamedClassesTask(spec, *parts, class_names=classes)
    )


def _located(paths: Sequence[Path | str]) -> tuple[Path, list[str]]:
    """The folder that holds all files, and their paths below it."""
    if isinstance(paths, (str, os.PathLike)):
        raise DataError(f"paths must be a list of files, got the single path {clipped(str(paths))}")
    found = [_file(path) for path in paths]
    if not found:
        raise DataError("there are no files: paths is empty")
    seen: set[Path] = set()
    for path in found:
        if path in seen:
            raise DataError(f"{path} is named twice")
        if path.name.startswith("._"):
            raise DataError(f"{path} is a hidden file of macOS, no data: leave it out")
        seen.add(path)
    root = Path(os.path.commonpath([path.parent for path in found]))
    return root, [path.relative_to(root).as_posix() for path in found]


def _file(path: Path | str) -> Path:
    """The file itself: absolute, and with links followed."""
    try:
        found = Path(path).expanduser().resolve()
        mode = found.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{clipped(str(path))} cannot be read: {message_of(error)}") from error
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{found} is {'a folder' if stat.S_ISDIR(mode) else 'a device'}, not a file"
        )
    return found


def _targets(targets: Any, count: int) -> tuple[Tensor, tuple[str, ...] | None]:
    """Targets as numbers, and the names of classes."""
    values = _array(targets)
    if not values.ndim or len(values) != count:
        raise DataError(f"there are {count} files, but {len(values) if values.ndim else 1} targets")
    if values.dtype.kind == "U":
        classes, places = np.unique(values, return_inverse=True)
        return torch.from_numpy(places.reshape(-1)), tuple(map(str, classes))
    if values.dtype.kind == "f":
        # Any width and byte order, which torch does not take.
        numbers = torch.from_numpy(values.astype(np.float64)).to(torch.get_default_dtype())
        if not bool(numbers.isfinite().all()):
            raise DataError("targets are not finite numbers of 32 bits")
        return numbers.reshape(count, -1) if values.ndim == 1 else numbers, None
    if values.dtype.kind not in "biu" or values.ndim != 1:
        raise DataError(
            "targets must be names of classes, class indices or floating-point numbers, got"
            f" {values.dtype} of shape {list(values.shape)}"
        )
    if int(values.min()) < 0:
        raise DataError(f"class indices must not be negative, got {values.min()}")
    if int(values.max()) >= _MOST:
        raise DataError(
            f"class indices must be below {_MOST:,}, got {values.max()}: give names as text instead"
        )
    labels = torch.from_numpy(values.astype(np.int64))
    return labels, tuple(str(label) for label in range(int(labels.max()) + 1))


def _array(targets: Any) -> NDArray[Any]:
    if isinstance(targets, Tensor):
        # numpy lacks some types of torch's, such as bfloat16.
        targets = targets.detach().cpu()
        targets = targets.double() if targets.is_floating_point() else targets
    try:
        return np.asarray(targets)
    except (ValueError, TypeError) as error:
        raise DataError(f"targets are no array: {message_of(error)}") from error


def _reader(
    reader: ReadsOne | Reader | None, root: Path, size: tuple[int, int], fit: Fit, *, sequence: bool
) -> Reader:
    if reader is None:
        check_size(size)
        if fit not in get_args(Fit):
            raise ConfigError(
                f"fit must be {', '.join(get_args(Fit))}, got {clipped(safe_repr(fit))}"
            )
        return ReadImages(root, size, fit)
    if isinstance(reader, Reader):
        return reader
    if not callable(reader):
        raise ConfigError(f"reader must be a function of a path, got {clipped(safe_repr(reader))}")
    return ReadFiles(root, reader, sequence)


def _parts(
    values: Tensor, test: float | Sequence[int], val: float | Sequence[int], seed: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Indices of the training, test and validation files, each in order."""
    count = len(values)
    taken = torch.zeros(count, dtype=torch.int64)
    groups = (
        [torch.arange(count)]
        if values.is_floating_point()
        else [torch.nonzero(values == label).flatten() for label in values.unique()]
    )
    generator = torch.Generator().manual_seed(seed)
    orders = [group[torch.randperm(len(group), generator=generator)] for group in groups]
    for mark, part, what in ((1, test, "test"), (2, val, "val")):
        if isinstance(part, (int, float)):
            if not 0 <= part < 1:
                raise ConfigError(f"{what} must be a share from 0 to 1, or indices, got {part}")
            for order in orders:
                free = order[taken[order] == 0]
                taken[free[: round(part * len(order))]] = mark
            continue
        chosen = _indices(part, count, what)
        if bool(taken[chosen].any()):
            raise ConfigError(f"{what}: a file is in two splits")
        taken[chosen] = mark
    train, tested, validation = ((taken == mark).nonzero().flatten() for mark in range(3))
    return train, tested, validation if len(validation) else None


def _indices(part: Sequence[int], count: int, what: str) -> Tensor:
    try:
        chosen = np.asarray(part)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what} is no list of indices: {message_of(error)}") from error
    # Flags, one per file, would count as the indices 0 and 1.
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise ConfigError(
            f"{what} must be a share from 0 to 1, or a list of indices, got"
            f" {clipped(safe_repr(part))}"
        )
    if chosen.size and not 0 <= int(chosen.min()) <= int(chosen.max()) < count:
        raise ConfigError(f"{what}: indices must lie between 0 and {count - 1}")
    if len(np.unique(chosen)) < len(chosen):
        raise ConfigError(f"{what}: a file is there twice")
    return torch.from_numpy(chosen.astype(np.int64))


def _padded(array: Tensor, frames: int) -> Tensor:
    padded = array.new_zeros(frames, *array.shape[1:])
    padded[: len(array)] = array
    return padded


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of an array that may be flipped, or of the other byte order."""
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=native, order="C"))


def _form(array: Tensor) -> str:
    return f"{_name(array)} {list(array.shape)}"


def _name(array: Tensor) -> str:
    return str(array.dtype).removeprefix("torch.")
