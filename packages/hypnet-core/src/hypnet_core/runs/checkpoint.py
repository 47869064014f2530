"""Checkpoints: tensors and a JSON state in one safetensors file, with a checksum.

Nothing in them is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hypnet_core.errors import CheckpointError
from hypnet_core.runs.files import write_atomic

_FORMAT = "hypnet-checkpoint-1"


class Checkpoint(NamedTuple):
    """The content of a checkpoint file."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix.`, without it: a `state_dict`."""
        return {
            name.removeprefix(f"{prefix}."): t
            for name, t in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file.
        tensors: What to save, by name.
        state: Anything that can be written as JSON.

    Raises:
        RunError: The file cannot be written.
    """
    # Safetensors wants contiguous tensors that share no memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # In its own order, which a state may rely on.
    text = json.dumps(state)
    metadata = {"format": _FORMAT, "state": text, "sha256": _digest(plain, text)}
    write_atomic(path, save(plain, metadata=metadata))


def load_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint and verify its checksum.

    Raises:
        CheckpointError: The file is missing, truncated, changed, or not a checkpoint.
    """
    with _opened(path) as file:
        metadata = _metadata(path, file)
        # A method of safetensors, not of a mapping.
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    text = metadata.get("state", "")
    # Safetensors itself checks sizes only, not content.
    if _digest(tensors, text) != metadata.get("sha256"):
        raise CheckpointError(
            f"the checkpoint {path} was changed after it was written: its checksum differs"
        )
    return Checkpoint(
        {name: tensor.to(device) for name, tensor in tensors.items()}, json.loads(text)
    )


def read_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, without its tensors and without their checksum.

    Raises:
        CheckpointError: The file is missing, truncated, or not a checkpoint.
    """
    with _opened(path) as file:
        text = _metadata(path, file).get("state", "")
    try:
        state: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    return state


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error


def _metadata(path: Path, file: Any) -> dict[str, str]:
    metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of hypnet: its format is {metadata.get('format')!r},"
            f" expected {_FORMAT!r}"
        )
    return metadata


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    # In a fixed order, whatever the order in the file.
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(
            # Bytes, since numpy has no bfloat16.
            tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )
    return digest.hexdigest()
