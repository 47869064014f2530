"""Export of a condition's low-rank factors to other libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError, did_you_mean, listed
from hypnet_core.networks import Condition, Hollow, HyperNetwork, condition_ids
from hypnet_core.runs import make_directory, write_atomic, write_json
from hypnet_core.specs import ParamSpec
from hypnet_zoo.hypernets.delta import Delta
from hypnet_zoo.hypernets.low_rank import LowRank
from hypnet_zoo.hypernets.low_rank_factors import is_matrix

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PREFIX = "base_model.model."  # PEFT's wrapper around the module that it adapts


@torch.no_grad()
def delta_state_dict(hypernet: HyperNetwork, condition: int) -> dict[str, Tensor]:
    r"""The change of each shared weight under one condition, by name.

    Args:
        hypernet: A `Delta`, for $\omega - \omega_0$; any other hypernetwork gives the
            weights themselves.
        condition: Id of the condition.
    """
    weights = hypernet.delta(condition) if isinstance(hypernet, Delta) else hypernet(condition)
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def peft_state_dict(hypernet: HyperNetwork, module: nn.Module, condition: int) -> dict[str, Tensor]:
    """The factors of one condition, named and shaped like PEFT's LoRA layers.

    Args:
        hypernet: A `LowRank`, or a `Delta` around one.
        module: The main network's module, whose layers are linear layers, convolutions
            and embeddings.
        condition: Id of the condition.

    Raises:
        SpecError: There are no factors, PEFT has no such layer, or the factors do not
            belong to the module.
        ConditionError: The id is not a single one, or there is no such condition.
    """
    low_rank = _low_rank_of(hypernet)
    # [r, in · kernel] and [out, r]
    factors = low_rank.factors(_single_id(condition))
    _check_module(module, low_rank.matrices)
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in factors.items():
        layer_name = name.rpartition(".")[0]
        layer = module.get_submodule(layer_name)
        for key, tensor in _as_peft(layer, name, down, up).items():
            # Safetensors stores contiguous tensors that share no memory.
            tensors[f"{_PREFIX}{layer_name}.{key}"] = tensor.detach().clone().contiguous()
    return tensors


def save_peft(
    hypernet: HyperNetwork,
    module: nn.Module,
    condition: int,
    directory: Path | str,
    *,
    base_model: str | None = None,
) -> None:
    """Write the factors of one condition as an adapter of PEFT.

    `peft.PeftModel.from_pretrained(module, directory)` loads it. The directory then
    holds `adapter_model.safetensors` and `adapter_config.json`.

    Args:
        hypernet: A `LowRank`, or a `Delta` around one.
        module: The main network's module, as `MainNetwork.module` holds it or with its
            weights.
        condition: Id of the condition.
        directory: Where to write; it is made if necessary.
        base_model: Base model that the adapter names: a name on a model hub, or a path.

    Raises:
        SpecError: There are no factors, or PEFT cannot adapt a generated tensor.
        RunError: The directory cannot be written.
    """
    tensors = peft_state_dict(hypernet, module, condition)
    low_rank = _low_rank_of(hypernet)
    # PEFT names layers, not their weights.
    layers = [param.name.rpartition(".")[0] for param in low_rank.matrices]
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": low_rank.rank,
        "lora_alpha": low_rank.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,  # torch's weights are [out, in]
        # PEFT takes a list for suffixes of names, and a suffix may fit other layers
        # too.
        "target_modules": "|".join(re.escape(layer) for layer in layers),
    }
    folder = Path(directory)
    make_directory(folder)
    write_atomic(folder / "adapter_model.safetensors", save(tensors))
    write_json(folder / "adapter_config.json", config)


def _single_id(condition: Condition) -> int:
    ids = condition_ids(condition)
    if ids.batched:
        raise ConditionError(f"an adapter holds one condition, got {condition!r}")
    return ids.ids[0]


def _low_rank_of(hypernet: HyperNetwork) -> LowRank:
    # Only the difference is low-rank; its base is the network that PEFT adapts.
    found = hypernet.inner if isinstance(hypernet, Delta) else hypernet
    if not isinstance(found, LowRank):
        raise SpecError(
            f"a {type(found).__name__} has no low-rank factors: export needs a LowRank, or a Delta"
            " around one"
        )
    whole = [param.name for param in found.target.params if not is_matrix(param)]
    if whole:
        raise SpecError(
            f"PEFT's LoRA cannot adapt {listed(whole)}: generate only weights, as"
            " MainNetwork(module, generate='weight') does"
        )
    return found


def _check_module(module: nn.Module, matrices: Sequence[ParamSpec]) -> None:
    """Refuse a module in which PEFT could not change all matrices."""
    places = dict(_tensors_of(module))
    for param in matrices:
        found = places.get(param.name)
        if found is None:
            raise SpecError(
                f"the module has no {param.name}, which is"
                f" generated{did_you_mean(param.name, places)}"
            )
        if found.shape != param.shape:
            raise SpecError(
                f"{param.name} is generated with shape {list(param.shape)}, the module's has"
                f" {list(found.shape)}"
            )
        if "." not in param.name:
            raise SpecError(
                "PEFT adapts layers inside a module, not the module itself: there is no layer"
                f" around {param.name}"
            )
        # Identity instead of equality: tied parameters are one object.
        tied = [name for name, other in places.items() if other is found and name != param.name]
        if tied:
            raise SpecError(
                f"PEFT would adapt {param.name} alone, but {listed(tied)} is the same tensor"
            )


def _tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor | Hollow]]:
    """All parameters under all names, also those that a `MainNetwork` took out."""
    for owner_name, owner in module.named_modules():
        for attribute, value in (
            *owner.named_parameters(recurse=False, remove_duplicate=False),
            # A `MainNetwork` leaves placeholders as plain attributes.
            *vars(owner).items(),
        ):
            if isinstance(value, (Tensor, Hollow)):
                yield (f"{owner_name}.{attribute}" if owner_name else attribute), value


def _as_peft(layer: nn.Module, name: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    """The factors `[r, in · kernel]` and `[out, r]` of a weight as PEFT stores them."""
    if not name.endswith("weight"):
        raise SpecError(f"PEFT adapts the weight of a layer, not {name}")
    if isinstance(layer, nn.Embedding):
        # PEFT adds the transpose of B A to an embedding, so the factors change places.
        return {"lora_embedding_A": up.t(), "lora_embedding_B": down.t()}
    if isinstance(layer, nn.Linear):
        return {"lora_A.weight": down, "lora_B.weight": up}
    if isinstance(layer, _CONVOLUTIONS) and layer.groups == 1:
        # PEFT's second convolution has a kernel of one pixel.
        ones = (1,) * len(layer.kernel_size)
        return {
            "lora_A.weight": down.unflatten(1, (layer.in_channels, *layer.kernel_size)),
            "lora_B.weight": up.view(*up.shape, *ones),
        }
    kind = (
        "a grouped convolution" if isinstance(layer, _CONVOLUTIONS) else f"a {type(layer).__name__}"
    )
    raise SpecError(f"PEFT's LoRA has no form for {name}, the weight of {kind}")
