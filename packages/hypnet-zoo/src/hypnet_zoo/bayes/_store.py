"""Where draws are kept while they are made: in memory, or in files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError, ConfigError, RunError
from hypnet_core.protocols import StepInfo
from hypnet_core.runs import make_directory

_SHARE = 0.9
"""Share of the machine's memory that draws may take."""


@dataclass(frozen=True)
class Store:
    """Draws and their statistics.

    Attributes:
        position: Positions `[chains, draws, numel]`.
        statistics: Statistics `[chains, draws, 6]`.
    """

    position: Tensor
    statistics: Tensor

    @staticmethod
    def in_memory(like: Tensor, draws: int) -> Store:
        """Room for draws of positions `[chains, numel]`.

        Raises:
            ConfigError: They are larger than the memory.
        """
        chains, numel = like.shape
        needed, there = chains * draws * numel * like.element_size(), _memory(like.device)
        if there is not None and needed > _SHARE * there:
            raise ConfigError(
                f"draws: {chains} chains of {draws:,} draws of {numel:,} parameters take"
                f" {needed / 1e9:,.1f} GB, and there are {there / 1e9:,.1f} GB: keep every k-th"
                " draw (thin=k), or stream them to files (directory=)"
            )
        return Store(
            like.new_empty((chains, draws, numel)),
            like.new_empty((chains, draws, len(StepInfo._fields)), dtype=torch.float64),
        )

    @staticmethod
    def in_files(directory: Path, like: Tensor, draws: int, *, new: bool) -> Store:
        """Room in `draws.npy` and `statistics.npy`, which are mapped into memory.

        Raises:
            RunError: The files cannot be written: no permission, or the disk is full.
            CheckpointError: They should be there, and are not, or of another shape.
            ConfigError: numpy has no such type of numbers.
        """
        chains, numel = like.shape
        if like.dtype not in {torch.float16, torch.float32, torch.float64}:
            raise ConfigError(f"draws of type {like.dtype} cannot be streamed to files")
        kind = np.dtype(str(like.dtype).removeprefix("torch."))
        make_directory(directory)
        return Store(
            _mapped(directory / "draws.npy", kind, (chains, draws, numel), new=new),
            _mapped(
                directory / "statistics.npy",
                np.dtype(np.float64),
                (chains, draws, len(StepInfo._fields)),
                new=new,
            ),
        )

    def put(self, draw: int, position: Tensor, info: StepInfo) -> None:
        """Keep a draw of all chains."""
        self.position[:, draw] = position
        # One copy for all, since each has its own start-up cost.
        rows = torch.stack([field.double() for field in info], dim=-1)
        self.statistics[:, draw] = rows


def _mapped(path: Path, kind: np.dtype[np.generic], shape: tuple[int, ...], *, new: bool) -> Tensor:
    try:
        if new:
            found = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
            # A sparse file would fail at some later draw, by a signal.
            if hasattr(os, "posix_fallocate"):
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        else:
            found = np.lib.format.open_memmap(path, mode="r+")
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}, which the state beside it needs") from None
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if found.shape != shape or found.dtype != kind:
        raise CheckpointError(
            f"{path} holds {found.dtype} {list(found.shape)}, expected {kind} {list(shape)}"
        )
    return torch.from_numpy(found)


def _memory(device: torch.device) -> int | None:
    """Bytes of memory of a device; `None` if that is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
