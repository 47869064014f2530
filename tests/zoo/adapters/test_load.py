from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork, weights_of
from hypnet_core.errors import SpecError
from hypnet_zoo.adapters import load_peft, save_peft
from hypnet_zoo.hypernets import HMLP, Delta, LowRank


class Small(nn.Module):
    """One layer of each kind that PEFT adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(2, 5, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        mixed = self.conv(images).mean(dim=(1, 2, 3)).unsqueeze(1)
        result: torch.Tensor = self.fc(self.embed(tokens).mean(dim=1)) + mixed
        return result


@pytest.fixture
def saved(tmp_path: Path) -> tuple[MainNetwork, Delta, Path]:
    """A hypernetwork and the adapter of one of its conditions."""
    torch.manual_seed(0)
    module = Small()
    base = weights_of(module)
    net = MainNetwork(module, "*.weight")
    low_rank = LowRank(
        net.target, lambda factors: HMLP(factors, ConditionSpec(count=3, size=4)), rank=2, alpha=5
    )
    hnet = Delta(low_rank, base.select(net.target))
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_peft(hnet(1), net.module, tmp_path / "adapter")
    return net, hnet, tmp_path / "adapter"


def test_what_was_written_is_read_as_the_difference(saved: tuple[MainNetwork, Delta, Path]) -> None:
    net, hnet, folder = saved
    found = load_peft(folder, net.module, net.target)
    for name, tensor in hnet.delta(1).items():
        torch.testing.assert_close(found[name], tensor)
    # A condition learns an adapter that was trained before.
    loss = (hnet.delta(0).flat - found.flat).square().sum()
    loss.backward()
    assert [p.grad is not None for p in hnet.conditional_parameters()] == [True, False, False]


def test_a_layer_that_is_not_adapted_does_not_change(
    saved: tuple[MainNetwork, Delta, Path],
) -> None:
    net, hnet, folder = saved
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if ".conv." not in name},
        folder / "adapter_model.safetensors",
    )
    found = load_peft(folder, net.module, net.target)
    assert not found["conv.weight"].any()
    torch.testing.assert_close(found["fc.weight"], hnet.delta(1)["fc.weight"])


def test_what_cannot_be_read_is_refused_by_name(saved: tuple[MainNetwork, Delta, Path]) -> None:
    net, _, folder = saved
    config = json.loads((folder / "adapter_config.json").read_text())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"peft_type": "IA3"}, "holds no LoRA adapter"),
        ({"use_dora": True}, "made with use_dora=True"),
        ({"rank_pattern": {"fc": 3}}, "made with rank_pattern="),
        ({"lora_alpha": None}, "no positive rank and alpha"),
        ({"r": 3}, "embed.weight.lora_A has shape"),
    ]
    for change, message in cases:
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(SpecError, match=message):
            load_peft(folder, net.module, net.target)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="adapts embed, which are not generated"):
        load_peft(folder, net.module, net.target.select(names=["fc.weight", "conv.weight"]))
    with pytest.raises(SpecError, match="cannot be read as an adapter"):
        load_peft(folder / "absent", net.module, net.target)


def test_adapters_that_peft_wrote_are_read(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed: `nox -s peft` does that")
    torch.manual_seed(0)
    module = Small()
    before = weights_of(module)
    for rslora in (False, True):
        plain = Small()
        plain.load_state_dict(module.state_dict())
        config = peft.LoraConfig(
            r=3,
            lora_alpha=7,
            target_modules=["embed", "conv", "fc"],
            init_lora_weights=False,
            use_rslora=rslora,
        )
        model = peft.get_peft_model(plain, config)
        model.save_pretrained(tmp_path / str(rslora))
        merged = weights_of(model.merge_and_unload())
        target = before.spec.select(names="*.weight")
        found = load_peft(tmp_path / str(rslora), Small(), target)
        for name in target.names:
            torch.testing.assert_close(
                found[name], merged[name] - before[name], rtol=1e-4, atol=1e-5
            )
