"""One adapter per sample, for models that nobody here wrote.

`nox -s foreign` runs this.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork, Weights, weights_of
from hypnet_zoo.hypernets import HMLP, Delta, LowRank

USERS = 4
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_TEXT = {**_SIZES, "vocab_size": 50, "max_position_embeddings": 32}
_LLAMA = {**_TEXT, "use_cache": False, "pad_token_id": 0}
_DRY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def _transformers(family: str, config: dict[str, Any], ending: str = "Model") -> Any:
    library = importlib.import_module("transformers")
    made = getattr(library, f"{family}Config")(**config)
    return getattr(library, f"{family}{ending}")(made)


def _recomputing() -> Any:
    model = _transformers("Llama", _LLAMA, "ForCausalLM")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _gpt2() -> Any:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "n_positions": 32}
    dry = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "use_cache": False}
    ends = {"bos_token_id": 1, "eos_token_id": 1}
    return _transformers("GPT2", {**sizes, **dry, **ends}, "LMHeadModel")


def _timm() -> Any:
    vit = importlib.import_module("timm").create_model
    return vit("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2, embed_dim=24)


def _tokens(*, masked: bool = False) -> dict[str, Tensor]:
    found = {"input_ids": torch.randint(3, 49, (USERS, 2, 7))}
    if masked:
        found["attention_mask"] = torch.ones(USERS, 2, 7, dtype=torch.int64)
        found["attention_mask"][:, 1, 5:] = 0
    return found


def _pixels(name: str) -> dict[str, Tensor]:
    return {name: torch.randn(USERS, 2, 3, 32, 32, dtype=torch.float64)}


MODELS: dict[str, tuple[Callable[[], Any], Callable[[], dict[str, Tensor]]]] = {
    "BERT": (lambda: _transformers("Bert", {**_TEXT, **_DRY}), lambda: _tokens(masked=True)),
    "GPT-2": (_gpt2, _tokens),
    "Llama": (
        lambda: _transformers("Llama", _LLAMA, "ForCausalLM"),
        _tokens,
    ),
    "Llama, gradient checkpointing": (_recomputing, _tokens),
    "ViT": (
        lambda: _transformers("ViT", {**_SIZES, **_DRY, "image_size": 32, "patch_size": 8}),
        lambda: _pixels("pixel_values"),
    ),
    "ViT of timm": (_timm, lambda: _pixels("x")),
}


@pytest.mark.foreign
@pytest.mark.parametrize("generate", ["weight", None], ids=["weights", "all"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_one_call_equals_one_user_after_the_other(
    name: str, training: bool, generate: str | None
) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    module: nn.Module = make().double().train(training)
    base = weights_of(module)
    net = MainNetwork(module, generate)
    hypernet = Delta(
        LowRank(net.target, lambda factors: HMLP(factors, ConditionSpec(count=USERS, size=4))),
        base.select(net.target),
        trainable=True,
    ).double()
    with torch.no_grad():
        for parameter in hypernet.inner.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    given, losses = inputs(), []
    parameters = [*hypernet.parameters(), *net.parameters()]
    for factored in (True, False):
        for parameter in parameters:
            parameter.grad = None
        weights = hypernet(range(USERS))
        if not factored:
            weights = Weights(weights.flat, net.target, conditions=range(USERS))
        output = net(**given, weights=weights, paired=True)
        assert (net.batching_used == "factored") == factored, net.batching_reason
        found = [x for x in torch.utils._pytree.tree_leaves(output) if isinstance(x, Tensor)]
        loss = torch.stack([one.sin().sum() for one in found]).sum()
        loss.backward()
        zero = torch.zeros(())
        losses.append((loss, [zero if p.grad is None else p.grad for p in parameters]))
    torch.testing.assert_close(*losses, rtol=1e-7, atol=1e-8)
