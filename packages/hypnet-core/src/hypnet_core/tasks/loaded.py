"""Splits of datasets that do not fit in memory."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypnet_core.errors import DataError, HypnetError, SpecError, message_of
from hypnet_core.tasks.batch import Batch
from hypnet_core.tasks.split import Indices, Split
from hypnet_core.tasks.stream import fresh_seed, shuffled
from hypnet_core.tasks.transform import Augmentation, Reader, Transform

_Job: TypeAlias = tuple[Tensor, int | None]
_Result: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None] | HypnetError


@dataclass(frozen=True, eq=False, repr=False)
class LoadedSplit(Split):
    """A split that reads its samples when a batch needs them.

    The stored samples only say where the inputs are: file names, for instance. The
    `reader` turns them into raw inputs, and the transforms act on those. Everything
    else is as for `Split`: views, ids, batches, streams. With `workers`, `batches()`
    reads ahead through a `DataLoader`. The number of workers does not change the
    batches: each batch has its own seed, drawn from the generator in order.

    A stream reads in the calling process. Processes may be forks or new ones
    (`torch.multiprocessing.set_start_method`); new ones need readers and transforms of
    modules, not of functions or notebooks.

    Attributes:
        reader: Reads the inputs of a batch.
        workers: Number of processes that read ahead; with 0, the calling process reads.
        pin_memory: Whether batches of workers come in pinned memory, from which a GPU
            copies faster.

    Raises:
        SpecError: `workers` is negative.
    """

    reader: Reader = field(kw_only=True)
    workers: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 0:
            raise SpecError(f"workers must not be negative, got {self.workers}")

    @classmethod
    def _steps_for(cls, x: Tensor) -> tuple[Transform, ...]:
        """None: the stored samples only say where the inputs are."""
        del x
        return ()

    @property
    def in_memory(self) -> bool:
        """Whether the stored samples are the inputs themselves."""
        return False

    def batch(
        self,
        indices: Indices,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples at some indices of this split, as one batch.

        Args:
            indices: Indices between 0 and `len(self) - 1`.
            generator: Source of the seed of this batch's augmentation; torch's global
                one by default.
            device: Device that the complete batch is moved to.
        """
        # Read on the CPU; only the complete batch moves.
        return self.read(indices, self._seed(generator)).to(device)

    def read(self, indices: Indices, seed: int | None) -> Batch:
        """Read the samples at some indices.

        Args:
            indices: Indices between 0 and `len(self) - 1`.
            seed: Seed of the augmentation; `None` if nothing is random.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return super().batch(indices, generator=generator)

    def unaugmented(self) -> Self:
        """The same samples without augmentation, as evaluation reads and sees them."""
        return replace(super().unaugmented(), reader=self.reader.for_evaluation())

    def _inputs(self, stored: Tensor, generator: torch.Generator | None) -> Tensor:
        # Reading draws its crops first, then the transforms draw.
        return super()._inputs(self.reader(stored, generator), generator)

    def _batches(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        drop_last: bool,
    ) -> Iterator[Batch]:
        if not self.workers:
            yield from super()._batches(batch_size, shuffle, generator, device, drop_last)
            return
        order = shuffled(len(self), generator) if shuffle else torch.arange(len(self))
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        # All seeds are drawn here and in order, so that the timing of workers changes
        # nothing.
        jobs: list[_Job] = [
            (order[start : start + batch_size], self._seed(generator))
            for start in range(0, end, batch_size)
        ]
        loader: DataLoader[_Result] = DataLoader(
            _Jobs(self),
            sampler=jobs,
            # Jobs are whole batches, so the loader must not collate them.
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # or it would draw from the global generator
        )
        with _naming_faults_of_workers():
            for result in _started(loader):
                if isinstance(result, HypnetError):
                    raise result
                # Only pinned memory can be copied while the process goes on.
                yield Batch(*result).to(device, non_blocking=self.pin_memory)

    def _seed(self, generator: torch.Generator | None) -> int | None:
        # Drawn only where it is used, so that plain passes leave the generator alone.
        random = self.reader.is_random or any(
            isinstance(step, Augmentation) for step in self.transforms
        )
        return fresh_seed(generator) if random else None


class _Jobs(Dataset[_Result]):
    """The work of the worker processes: read one batch per job.

    An error of ours is returned as a value, because a `DataLoader` would raise it with
    the traceback of the worker as its message.
    """

    def __init__(self, split: LoadedSplit) -> None:
        self.split = split

    def __getitem__(self, job: _Job) -> _Result:
        indices, seed = job
        try:
            batch = self.split.read(indices, seed)
        except HypnetError as error:
            return error
        # Plain tensors, which travel between processes in shared memory.
        return batch.x, batch.y, batch.ids, batch.lengths


def _started(loader: DataLoader[_Result]) -> Iterator[_Result]:
    """Start the processes of a loader."""
    with warnings.catch_warnings():
        # torch warns of readers that cannot be pickled; here they are an error.
        warnings.filterwarnings("ignore", message="Got pickle error")
        return iter(loader)


@contextlib.contextmanager
def _naming_faults_of_workers() -> Iterator[None]:
    """Turn errors of the processes themselves, not of what they read, into ours."""
    try:
        yield
    # New processes get the split as a pickle, unless they are forks of this one.
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error).lower():
            raise
        raise SpecError(
            f"the reader or a transform cannot be sent to other processes ({message_of(error)}):"
            " use a function or class of a module, or workers=0"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads data has ended ({message_of(error)}): try workers=0, which"
            " names the file"
        ) from error
