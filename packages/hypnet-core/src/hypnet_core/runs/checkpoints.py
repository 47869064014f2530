"""Folders of checkpoints: several objects under one stamp, the best ones kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError, did_you_mean, message_of
from hypnet_core.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from hypnet_core.runs.files import make_directory, read_json, write_json
from hypnet_core.runs.keeping import CheckpointOptions, Stamp, rank
from hypnet_core.runs.packing import pack, unpack

_POINTER = "latest.json"
_OBJECTS = "objects"
_STAMP = "stamp"


@runtime_checkable
class HasState(Protocol):
    """An object with a state: a network, an optimiser, a schedule, `RandomStates`."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Set the state."""


Saved: TypeAlias = HasState | torch.Generator
"""An object that a checkpoint can hold."""


class Checkpoints:
    """A folder of checkpoints for any training loop.

    Each checkpoint is one safetensors file with a checksum, which holds the states of
    several objects; nothing in it is ever executed. A process that is killed while it
    saves leaves the checkpoint before untouched. One process writes at a time.

    Args:
        folder: The folder; it is made when the first checkpoint is saved.
        options: What to keep, and how often to save; only the last checkpoint, and at
            each call, by default.
        higher_is_better: Whether a larger score is better.

    Example:
        ```python
        options = CheckpointOptions(keep="best:3", every="1h")
        checkpoints = Checkpoints("checkpoints", options)
        objects = {"net": net, "hypernet": hypernet, "adam": adam}
        objects["random"] = RandomStates()
        start = checkpoints.restore(objects)
        for step in range(start, 10_000):
            train(step)
            if checkpoints.is_due(step + 1):
                checkpoints.save(step + 1, objects, score=validate())
        checkpoints.restore(objects, which="best")
        ```
    """

    def __init__(
        self,
        folder: Path | str,
        options: CheckpointOptions | None = None,
        *,
        higher_is_better: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.options = CheckpointOptions() if options is None else options
        self.higher_is_better = higher_is_better
        # Of this process, which alone writes: a loop asks at each step.
        self._last: Stamp | None = None
        # The first checkpoint is due so long after the start, not at the first step.
        self._start = Stamp(
            self.folder, 0, time.time(), None, higher_is_better=higher_is_better, size=0
        )

    def is_due(self, step: int) -> bool:
        """Whether the options ask for a checkpoint after this many steps."""
        if self._last is None:
            self._last = self.latest()
        return self.options.is_due(step, time.time(), self._last or self._start)

    def save(
        self, step: int, objects: Mapping[str, Saved], *, score: float | None = None, **more: Any
    ) -> Stamp:
        """Save several objects together, and delete what is not kept.

        Args:
            step: Training steps so far, which names the file.
            objects: What to save, by name.
            score: How good the objects are now.
            **more: Further values that JSON can hold, see `load`.

        Raises:
            CheckpointError: An object has a state that cannot be saved, or a further
                value has a reserved name.
            RunError: The file cannot be written.
        """
        for name in (_OBJECTS, _STAMP):
            if name in more:
                raise CheckpointError(f"{name!r} is reserved: save the value under another name")
        tensors: dict[str, Tensor] = {}
        packed: dict[str, Any] = {}
        for name, value in objects.items():
            found, packed[name] = pack(name, _state_of(name, value))
            tensors |= found
        return self.save_tensors(step, tensors, {**more, _OBJECTS: packed}, score=score)

    def save_tensors(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        score: float | None = None,
    ) -> Stamp:
        """Save tensors and values, see `save`.

        Raises:
            RunError: The file cannot be written.
        """
        make_directory(self.folder)
        path = self.path_of(step)
        stamp = {
            "step": step,
            "time": time.time(),
            "score": score,
            "higher_is_better": self.higher_is_better,
        }
        save_checkpoint(path, tensors, {**state, _STAMP: stamp})
        # After the checkpoint: a crash in between leaves the older one valid.
        write_json(self.folder / _POINTER, {"index": step})
        self._prune(step)
        self._last = stamp_of(path)
        return self._last

    def ranked(self) -> list[Stamp]:
        """All checkpoints, the best first; without scores the newest first.

        Raises:
            CheckpointError: A file is damaged.
        """
        return sorted((stamp_of(path) for path in self.paths()), key=rank)

    def readable(self) -> tuple[list[Stamp], list[str]]:
        """The checkpoints that can be read, the best first, and faults of others."""
        stamps, faults = [], []
        for path in self.paths():
            try:
                stamps.append(stamp_of(path))
            except CheckpointError as error:
                faults.append(str(error))
        return sorted(stamps, key=rank), faults

    def latest(self) -> Stamp | None:
        """The checkpoint that was saved last; `None` if there is none.

        Raises:
            CheckpointError: The file is damaged, or the pointer to it.
        """
        pointer = self.folder / _POINTER
        if not pointer.exists():
            return None
        found = read_json(pointer)
        step = found.get("index") if isinstance(found, dict) else None
        if not isinstance(step, int):
            raise CheckpointError(f"{pointer} is damaged: it names no checkpoint")
        return stamp_of(self.path_of(step))

    def best(self) -> Stamp | None:
        """The checkpoint with the best score; `None` if there is none.

        Raises:
            CheckpointError: A file is damaged.
        """
        return next(iter(self.ranked()), None)

    def load(self, which: str | int = "latest", *, device: str = "cpu") -> Checkpoint:
        """Read a checkpoint and verify its checksum.

        Args:
            which: `"latest"`, `"best"`, or the step of one.
            device: Where its tensors go.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        return load_checkpoint(self._chosen(which), device=device)

    def restore(
        self,
        objects: Mapping[str, Saved],
        which: str | int = "latest",
        *,
        device: str = "cpu",
    ) -> int:
        """Set objects to the states in a checkpoint.

        Args:
            objects: The objects, by the names that they were saved under; others in the
                checkpoint are left alone.
            which: `"latest"`, `"best"`, or the step of one.
            device: Where its tensors are read to.

        Returns:
            Its step; 0 if the folder has no checkpoint and the latest was asked for.

        Raises:
            CheckpointError: There is none, it is damaged, or does not fit an object.
        """
        if which == "latest" and self.latest() is None:
            return 0
        checkpoint = self.load(which, device=device)
        packed = checkpoint.state.get(_OBJECTS, {})
        missing = [name for name in objects if name not in packed]
        if missing:  # before anything is set
            raise CheckpointError(
                f"{self._chosen(which)} holds no {missing[0]!r}{did_you_mean(missing[0], packed)}"
            )
        states = {name: unpack(checkpoint.tensors, packed[name]) for name in objects}
        for name, value in objects.items():
            _set(name, value, states[name])
        return int(checkpoint.state[_STAMP]["step"])

    def path_of(self, step: int) -> Path:
        """The file of the checkpoint after some steps."""
        return self.folder / f"{step:04d}.safetensors"

    def _chosen(self, which: str | int) -> Path:
        if isinstance(which, int):
            return self.path_of(which)
        find: Mapping[str, Callable[[], Stamp | None]] = {"latest": self.latest, "best": self.best}
        if which not in find:
            raise CheckpointError(
                f"which checkpoint is {which!r}?{did_you_mean(which, find)} or give its step"
            )
        found = find[which]()
        if found is None:
            raise CheckpointError(f"{self.folder} holds no checkpoint")
        return found.path

    def paths(self) -> list[Path]:
        """All files, by step."""
        return sorted(self.folder.glob("*.safetensors"))

    def _prune(self, step: int) -> None:
        """Delete what is not kept, and what killed processes left unfinished."""
        for unfinished in self.folder.glob(".*.part"):
            unfinished.unlink(missing_ok=True)
        last = self.path_of(step)
        others = [path for path in self.paths() if path != last]
        if not others or self.options.keep == "all":
            return
        # Read only where it matters: scores and times are in the files.
        # A damaged file stays for inspection.
        stamps = sorted(self.readable()[0], key=lambda stamp: stamp.path == last)
        kept = self.options.to_keep(stamps)
        for stamp in stamps:
            if stamp.step not in kept:
                stamp.path.unlink(missing_ok=True)


def stamp_of(path: Path) -> Stamp:
    """Step, time and score of a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    state = read_state(path)
    try:
        return Stamp(path=path, size=path.stat().st_size, **state[_STAMP])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: it has no stamp") from error


def _state_of(name: str, value: Saved) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, HasState):
        return value.state_dict()
    raise CheckpointError(
        f"{name}: a {type(value).__name__} cannot be saved: it has no state_dict()"
    )


def _set(name: str, value: Saved, state: Any) -> None:
    try:
        if isinstance(value, torch.Generator):
            value.set_state(state.cpu())
        else:
            value.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit {name!r}: {message_of(error)}"
        ) from error
