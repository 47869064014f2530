"""Import of adapters that other libraries trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean, listed
from hypnet_core.networks import FACTOR_A, FACTOR_B, FactoredWeights, Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.adapters.lora import CONVOLUTIONS, PREFIX
from hypnet_zoo.hypernets.low_rank_factors import is_matrix, low_rank_factors

# Options of PEFT that change the meaning of the factors, with their usual values.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
    "lora_bias": (False, None),
}


def load_peft(directory: Path | str, module: nn.Module, target: TargetSpec) -> FactoredWeights:
    """Read a LoRA adapter of PEFT as the difference that a hypernetwork generates.

    The opposite of `save_peft`: to distil trained adapters into a hypernetwork, compare
    what it generates for a condition, `hypernet.delta(3)`, with the adapter of that
    condition. Generated tensors that the adapter leaves alone have a difference of
    zero.

    Args:
        directory: Holds `adapter_model.safetensors` and `adapter_config.json`.
        module: The main network's module.
        target: The generated parameters, `net.target`.

    Raises:
        SpecError: The files cannot be read, are of another method than LoRA or of one
            of its variants, or adapt what is not generated.
    """
    folder = Path(directory)
    config, tensors = _read(folder)
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    spec = low_rank_factors(target, rank)
    found = {name: torch.zeros(shape) for name, shape in zip(spec.names, spec.shapes, strict=True)}
    used = set()
    for param in target.params:
        layer_name = param.name.rpartition(".")[0]
        start = f"{PREFIX}{layer_name}."
        keys = [key for key in tensors if key.startswith(f"{start}lora_")]
        if not is_matrix(param) or not param.name.endswith("weight") or not keys:
            continue
        used.update(keys)
        own = {key.removeprefix(start): tensors[key] for key in keys}
        pair = _as_factors(module.get_submodule(layer_name), own)
        for ending, factor in zip((FACTOR_A, FACTOR_B), pair or (), strict=False):
            found[f"{param.name}.{ending}"] = factor
        if pair is None or pair[0].shape[1] * pair[1].shape[0] != param.numel:
            raise SpecError(f"{folder} holds no LoRA factors of {param.name} {list(param.shape)}")
    extra = [key for key in tensors if key not in used]
    if extra:
        layers = list(
            dict.fromkeys(key.removeprefix(PREFIX).partition(".lora_")[0] for key in extra)
        )
        hint = did_you_mean(f"{layers[0]}.weight", target.names)
        raise SpecError(f"{folder} adapts {listed(layers)}, which are not generated{hint}")
    return FactoredWeights(Weights.of(spec, found), target, scale=scale)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors of an adapter."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise SpecError(f"{folder} cannot be read as an adapter of PEFT: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise SpecError(f"{folder} holds no LoRA adapter of PEFT")
    for option, usual in _PLAIN.items():
        if config.get(option) not in usual:
            raise SpecError(
                f"{folder} was made with {option}={config[option]!r}, which has no form"
            )
    numbers = [config.get("r"), config.get("lora_alpha")]
    if not all(isinstance(number, (int, float)) and number > 0 for number in numbers):
        raise SpecError(f"{folder} has no positive rank and alpha: {numbers}")
    # As hypernetworks compute, whatever the file holds.
    default = torch.get_default_dtype()
    return config, {name: tensor.to(default) for name, tensor in tensors.items()}


def _as_factors(layer: nn.Module, own: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """The factors A and B of a layer's weight, from the tensors that PEFT keeps."""
    names = {"lora_A.weight", "lora_B.weight"}
    if isinstance(layer, nn.Embedding) and own.keys() == {"lora_embedding_A", "lora_embedding_B"}:
        # PEFT adds the transpose of B A to an embedding.
        return own["lora_embedding_B"].t(), own["lora_embedding_A"].t()
    if isinstance(layer, nn.Linear) and own.keys() == names:
        return own["lora_A.weight"], own["lora_B.weight"]
    if isinstance(layer, CONVOLUTIONS) and layer.groups == 1 and own.keys() == names:
        return own["lora_A.weight"].flatten(1), own["lora_B.weight"].flatten(1)
    return None
