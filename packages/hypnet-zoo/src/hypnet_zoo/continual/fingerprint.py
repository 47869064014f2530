"""Descriptions of all that results depend on, compared before a run goes on."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import safe_repr
from hypnet_core.plugins import MainnetChoice, MethodChoice
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.tasks import Split, splits_of
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.seeds import seeded

_LOOKED_AT = 16
"""Samples of each split whose inputs and targets are compared."""


def setup_of(learning: Learning, method: Any, module: Any, *, network: str) -> dict[str, Any]:
    """A description of what a loop was made from, in JSON.

    Functions are known by their names, code and constants, samples by a digest.

    Args:
        learning: The loop.
        method: The method: a choice, class or function.
        module: The main network: a choice, module or function.
        network: Digest of the main network, see `network_digest`.
    """
    problem = learning.problem
    found = {
        "method": _described(method),
        "module": {**_described(module), "layers": network},
        "scenario": problem.scenario,
        "heads": problem.heads.kind,
        "infer": learning.scorer.infer,
        "tasks": _tasks(learning.tasks),
        "train": learning.train.model_dump(mode="json"),
        "seed": learning.seed,
    }
    # As it comes back from a file, with lists for tuples.
    json_form: dict[str, Any] = json.loads(json.dumps(found, default=_text))
    return json_form


def network_digest(module: nn.Module) -> str:
    """A digest of the layers of a network, and of the shapes of its parameters."""
    digest = hashlib.sha256(_text(module).encode())
    for name, parameter in module.named_parameters():
        digest.update(f"{name} {list(parameter.shape)}".encode())
    return digest.hexdigest()[:12]


def weights_digest(module: nn.Module) -> str:
    """A digest of the weights with which a network starts."""
    digest = hashlib.sha256()
    _add(digest, *module.state_dict().values())
    return digest.hexdigest()[:12]


def _described(given: Any) -> dict[str, Any]:
    if isinstance(given, (MethodChoice, MainnetChoice)):
        options = given.model_dump(mode="json", exclude={"name"}, fallback=_text)
        return {"name": given.name.rpartition(":")[2], "options": options, "code": ""}
    if isinstance(given, functools.partial):
        options = {**{str(i): part for i, part in enumerate(given.args)}, **given.keywords}
        return {
            "name": _name(given.func),
            "options": {key: _text(part) for key, part in options.items()},
            "code": _code_of(given.func),
        }
    return {"name": _name(given), "options": {}, "code": _code_of(given)}


def _code_of(given: Any) -> str:
    """A digest of a function's instructions, constants, defaults and closure."""
    code = getattr(given, "__code__", None)
    if code is None:
        return ""
    cells = [cell.cell_contents for cell in getattr(given, "__closure__", None) or ()]
    kept = (_instructions(code), given.__defaults__, given.__kwdefaults__, cells)
    return hashlib.sha256(_text(kept).encode()).hexdigest()[:12]


def _instructions(code: CodeType) -> tuple[Any, ...]:
    constants = [
        _instructions(constant) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    ]
    return code.co_code, code.co_names, constants


def _name(given: Any) -> str:
    return str(getattr(given, "__qualname__", type(given).__qualname__))


def _text(value: Any) -> str:
    """The text of a value, without addresses that differ between processes."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", safe_repr(value))


def _tasks(tasks: Sequence[TaskLike]) -> dict[str, Any]:
    return {
        "names": [task.spec.name for task in tasks],
        "specs": [task.spec.model_dump(mode="json", exclude={"name"}) for task in tasks],
        "sizes": [{name: len(split) for name, split in splits_of(task).items()} for task in tasks],
        "samples": _content(tasks),
    }


def _content(tasks: Sequence[TaskLike]) -> str:
    """A digest of what is stored in memory, and of some samples as they are used."""
    digest = hashlib.sha256()
    splits = [split for task in tasks for split in splits_of(task).values()]
    # Splits are views of stored samples, which are read once.
    stores = {
        id(split.samples): split.samples
        for split in splits
        if isinstance(split, Split) and split.in_memory
    }
    for samples in stores.values():
        _add(digest, samples.x, samples.y)
    for split in splits:
        _add(digest, split.ids, *_some(split))
    return digest.hexdigest()[:12]


def _some(split: SplitLike) -> list[Tensor]:
    places = torch.linspace(0, len(split) - 1, min(_LOOKED_AT, len(split))).long()
    with seeded(0):  # transforms may be random
        return [tensor for place in places.tolist() for tensor in split[place]]


def _add(digest: hashlib._Hash, *tensors: Tensor) -> None:
    for tensor in tensors:
        flat = tensor.detach().cpu().reshape(-1).contiguous()
        digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        # Bytes, since numpy has no bfloat16.
        digest.update(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"")
