from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.networks import Weights, weights_of
from hypnet_zoo.adapters import delta_state_dict, peft_state_dict, save_peft
from hypnet_zoo.hypernets import HMLP, Delta, LowRank


class Pretrained(nn.Module):
    """One layer of each kind that can be adapted; one name is the ending of another."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(2, 5, 3, padding=1, bias=False)
        self.fc = nn.Linear(6, 4)
        self.other = nn.ModuleDict({"fc": nn.Linear(4, 4)})

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens).mean(dim=1)
        result: torch.Tensor = self.other["fc"](self.fc(hidden)) + self.conv(images).mean(
            dim=(1, 2, 3)
        ).unsqueeze(1)
        return result


ADAPTED = ["embed.weight", "conv.weight", "fc.weight"]


@pytest.fixture
def adapted() -> tuple[Pretrained, MainNetwork, Delta]:
    """A pretrained network, its main network, and a trained low-rank hypernetwork."""
    torch.manual_seed(0)
    module = Pretrained()
    pretrained = Pretrained()
    pretrained.load_state_dict(module.state_dict())
    base = weights_of(module)
    net = MainNetwork(module, generate=ADAPTED)
    low_rank = LowRank(
        net.target, lambda factors: HMLP(factors, ConditionSpec(count=3, size=4)), rank=2, alpha=6.0
    )
    hnet = Delta(low_rank, base.select(net.target))
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return pretrained, net, hnet


def test_the_difference_of_one_condition_is_a_plain_state_dict(
    adapted: tuple[Pretrained, MainNetwork, Delta],
) -> None:
    pretrained, net, hnet = adapted
    tokens, images = torch.randint(11, (7, 3)), torch.randn(7, 2, 8, 8)
    expected = net(tokens, images, weights=hnet(1))
    difference = delta_state_dict(hnet(1))
    assert not any(tensor.requires_grad for tensor in difference.values())
    state = pretrained.state_dict()
    pretrained.load_state_dict(
        {name: tensor + difference.get(name, 0.0) for name, tensor in state.items()}
    )
    torch.testing.assert_close(pretrained(tokens, images), expected)


def test_peft_gets_its_names_shapes_and_scale(
    adapted: tuple[Pretrained, MainNetwork, Delta], tmp_path: Path
) -> None:
    _, net, hnet = adapted
    save_peft(hnet(2), net.module, tmp_path / "adapter", base_model="some/model")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (
        config["peft_type"],
        config["r"],
        config["lora_alpha"],
        config["base_model_name_or_path"],
    ) == (
        "LORA",
        2,
        6.0,
        "some/model",
    )
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in load_file(tmp_path / "adapter/adapter_model.safetensors").items()
    }
    assert shapes == {
        "base_model.model.embed.lora_embedding_A": (2, 11),
        "base_model.model.embed.lora_embedding_B": (6, 2),
        "base_model.model.conv.lora_A.weight": (2, 2, 3, 3),
        "base_model.model.conv.lora_B.weight": (5, 2, 1, 1),
        "base_model.model.fc.lora_A.weight": (2, 6),
        "base_model.model.fc.lora_B.weight": (4, 2),
    }


def test_what_peft_cannot_hold_is_refused_by_name() -> None:
    conditions = ConditionSpec(count=1, size=2)

    def low_rank(module: nn.Module, generate: str | None) -> tuple[Weights, nn.Module]:
        net = MainNetwork(module, generate=generate)
        hnet = LowRank(net.target, lambda factors: HMLP(factors, conditions), rank=1)
        return hnet(0), net.module

    with pytest.raises(SpecError, match="cannot adapt bias: generate only weights"):
        peft_state_dict(*low_rank(nn.Linear(3, 2), None))
    with pytest.raises(
        SpecError, match=r"no form for 0.weight, the weight of a grouped convolution"
    ):
        peft_state_dict(*low_rank(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "weight"))
    with pytest.raises(SpecError, match="the weight of a ConvTranspose1d"):
        peft_state_dict(*low_rank(nn.Sequential(nn.ConvTranspose1d(4, 4, 3)), "weight"))
    with pytest.raises(SpecError, match=r"PEFT adapts the weight of a layer, not 0.weight_ih_l0"):
        peft_state_dict(*low_rank(nn.Sequential(nn.GRU(4, 4)), "weight"))
    linear = MainNetwork(nn.Linear(3, 2))
    with pytest.raises(SpecError, match="a Weights has no low-rank factors"):
        peft_state_dict(HMLP(linear.target, conditions)(0), linear.module)


def test_peft_loads_the_adapter(
    adapted: tuple[Pretrained, MainNetwork, Delta], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed: `nox -s peft` does that")
    pretrained, net, hnet = adapted
    tokens, images = torch.randint(11, (7, 3)), torch.randn(7, 2, 8, 8)
    for condition in range(3):
        save_peft(hnet(condition), net.module, tmp_path / str(condition))
        plain = Pretrained()
        plain.load_state_dict(pretrained.state_dict())
        model = peft.PeftModel.from_pretrained(plain, tmp_path / str(condition)).eval()
        expected = net(tokens, images, weights=hnet(condition))
        torch.testing.assert_close(model(tokens, images), expected, rtol=1e-4, atol=1e-5)
        adapted_layers = {
            name.partition(".lora_")[0] for name, _ in plain.named_parameters() if ".lora_" in name
        }
        assert adapted_layers == {"embed", "conv", "fc"}
        torch.testing.assert_close(
            model.merge_and_unload()(tokens, images), expected, rtol=1e-4, atol=1e-5
        )


class Tied(nn.Module):
    """An embedding whose transpose gives the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight


@pytest.mark.parametrize(
    ("adapted_module", "given", "message"),
    [
        (
            nn.Linear(3, 2),
            None,
            "layers inside a module, not the module itself: there is no layer around weight",
        ),
        (Tied(), None, "would adapt embed.weight alone, but out.weight is the same tensor"),
        (nn.Sequential(nn.Linear(3, 2)), nn.Linear(3, 2), "the module has no 0.weight"),
        (
            nn.Sequential(nn.Linear(3, 2)),
            nn.Sequential(nn.Linear(5, 2)),
            r"with shape \[2, 3\], the module's has \[2, 5\]",
        ),
    ],
)
def test_an_adapter_that_would_not_be_the_same_network_is_refused(
    adapted_module: nn.Module, given: nn.Module | None, message: str, tmp_path: Path
) -> None:
    net = MainNetwork(adapted_module, generate=lambda param: len(param.shape) > 1)
    hnet = LowRank(
        net.target, lambda factors: HMLP(factors, ConditionSpec(count=2, size=2)), rank=1
    )
    with pytest.raises(SpecError, match=message):
        save_peft(hnet(0), given or net.module, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_holds_one_set_of_weights(
    adapted: tuple[Pretrained, MainNetwork, Delta], tmp_path: Path
) -> None:
    _, net, hnet = adapted
    with pytest.raises(WeightsError, match=r"holds one set of weights, got a batch of \[2\]"):
        peft_state_dict(hnet([0, 1]), net.module)
    given: Any = hnet
    with pytest.raises(SpecError, match="a Delta has no low-rank factors"):
        save_peft(given, net.module, tmp_path)
    cases: list[tuple[list[str], str]] = [
        (["a"], "need 2 different names"),
        (["a", "a"], "need 2 different names"),
        (["a", "../b"], "'../b' cannot be the name of a folder"),
    ]
    for names, message in cases:
        with pytest.raises(WeightsError, match=message):
            save_peft(hnet([0, 1]), net.module, tmp_path / "users", names=names)
    with pytest.raises(WeightsError, match="this is one set"):
        save_peft(hnet(0), net.module, tmp_path / "users", names=["a"])
    assert not (tmp_path / "users").exists()


def test_many_users_go_to_one_directory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    base = weights_of(module)
    net = MainNetwork(module, "weight")
    hnet = Delta(
        LowRank(net.target, lambda factors: HMLP(factors, ConditionSpec(count=0, size=3))),
        base.select(net.target),
    )
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    users = torch.randn(3, 3)
    weights = hnet(cond_input=users)
    save_peft(weights, net.module, tmp_path / "users", names=["ann", "bob", "eve"])
    save_peft(weights.belonging_to([7, 3, 5]), net.module, tmp_path / "ids")
    save_peft(hnet(cond_input=users[1]), net.module, tmp_path / "one")
    assert {path.name for path in (tmp_path / "users").iterdir()} == {"ann", "bob", "eve"}
    assert {path.name for path in (tmp_path / "ids").iterdir()} == {"7", "3", "5"}
    change = delta_state_dict(hnet(cond_input=users[1]))
    for place in ("users/bob", "ids/3", "one"):
        found = load_file(tmp_path / place / "adapter_model.safetensors")
        config = json.loads((tmp_path / place / "adapter_config.json").read_text())
        for name in ("0", "2"):
            factors = [found[f"base_model.model.{name}.lora_{x}.weight"] for x in "BA"]
            product = config["lora_alpha"] / config["r"] * factors[0] @ factors[1]
            torch.testing.assert_close(product, change[f"{name}.weight"])


def test_the_difference_of_any_weights_is_that_from_their_base() -> None:
    module = nn.Linear(3, 2)
    base = weights_of(module)
    hnet = Delta(HMLP(base.spec, ConditionSpec(count=2, size=2)), base, zero=False)
    found = delta_state_dict(hnet(1), base)
    for name, tensor in hnet.delta(1).items():
        torch.testing.assert_close(found[name], tensor)
    assert torch.equal(delta_state_dict(hnet(1))["weight"], hnet(1)["weight"])
