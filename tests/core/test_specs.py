from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from hypnet_core.errors import SpecError
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec, TaskSpec

shapes = st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=6)


@given(shapes)
def test_a_target_survives_json(some_shapes: Any) -> None:
    target = TargetSpec.from_shapes(some_shapes)
    assert TargetSpec.model_validate_json(target.model_dump_json()) == target
    assert hash(TargetSpec.model_validate_json(target.model_dump_json())) == hash(target)


@given(shapes)
def test_parameters_lie_end_to_end_without_gaps(some_shapes: Any) -> None:
    target = TargetSpec.from_shapes(some_shapes)
    ends = [offset + size for offset, size in zip(target.offsets, target.sizes, strict=True)]
    assert target.offsets == (0, *ends)[: len(target)]
    assert target.numel == sum(math.prod(shape) for shape in some_shapes)


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(3, 4),
        nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 2, 3, groups=2)),
        nn.LSTM(4, 5, num_layers=2, bidirectional=True),
        nn.TransformerEncoderLayer(8, 2),
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)),
        nn.Embedding(7, 3),
    ],
    ids=lambda module: type(module).__name__,
)
def test_the_target_of_a_module_lists_its_named_parameters_in_order(module: Any) -> None:
    target = TargetSpec.of(module)
    assert target.names == tuple(name for name, _ in module.named_parameters())
    assert target.shapes == tuple(tuple(p.shape) for p in module.parameters())


def test_kinds_come_from_the_layers() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.GroupNorm(1, 2),
        nn.Embedding(3, 4),
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    )
    kinds = {param.name: param.kind for param in TargetSpec.of(module).params}
    assert kinds == {
        "0.weight": "weight",
        "0.bias": "bias",
        "1.weight": "norm_scale",
        "1.bias": "norm_shift",
        "2.weight": "norm_scale",
        "2.bias": "norm_shift",
        "3.weight": "embedding",
        "4.bias": "bias",
        "4.parametrizations.weight.original": "weight",
    }


def test_a_layer_may_say_the_kinds_of_its_parameters_itself() -> None:
    class Modulation(nn.Module):
        param_kinds: ClassVar = {"gains": "gain", "shifts": "shift"}

        def __init__(self) -> None:
            super().__init__()
            self.gains = nn.Parameter(torch.ones(3))
            self.shifts = nn.Parameter(torch.zeros(3))

    assert [param.kind for param in TargetSpec.of(nn.Sequential(Modulation())).params] == [
        ParamKind.GAIN,
        ParamKind.SHIFT,
    ]


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(6, 4, (3, 5)), nn.Conv1d(6, 4, 3)])
def test_fans_agree_with_torch(layer: Any) -> None:
    weight, bias = TargetSpec.of(layer).params
    expected = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert (weight.fan_in, weight.fan_out) == expected
    assert (bias.fan_in, bias.fan_out) == expected


def test_the_fan_in_of_a_transposed_convolution_counts_what_feeds_one_output() -> None:
    weight = TargetSpec.of(nn.ConvTranspose2d(6, 4, 3)).params[0]
    assert (weight.shape, weight.fan_in, weight.fan_out) == ((6, 4, 3, 3), 6 * 9, 4 * 9)


def test_one_input_of_a_grouped_convolution_feeds_its_group_alone() -> None:
    layer = nn.Conv2d(8, 16, 3, groups=4, bias=False)
    weight = TargetSpec.of(layer).params[0]
    x = torch.zeros(1, 8, 9, 9)
    x[0, 3, 4, 4] = 1  # one input in the middle: how many outputs does it reach?
    reached = int((layer(x) != 0).sum())
    assert (weight.fan_in, weight.fan_out) == (2 * 9, reached)


def test_the_biases_of_recurrent_layers_belong_to_their_own_weights() -> None:
    target = TargetSpec.of(nn.LSTM(3, 10, 2))
    for name in ("ih_l0", "hh_l0", "ih_l1", "hh_l1"):
        assert (
            target[f"bias_{name}"].fan_in
            == target[f"weight_{name}"].fan_in
            == target[f"weight_{name}"].shape[1]
        )


def test_tokens_positions_and_scales_are_no_weights() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
            self.positions = nn.Parameter(torch.zeros(1, 5, 8))
            self.layer_scale = nn.Parameter(torch.zeros(8, 1, 1))
            self.pos_embedding = nn.Parameter(torch.zeros(5, 8))
            self.w = nn.Parameter(torch.zeros(3, 8))

    kinds = [param.kind.value for param in TargetSpec.of(Tokens())]
    assert kinds == ["other", "other", "other", "embedding", "weight"]


def test_tied_parameters_are_listed_once() -> None:
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    assert TargetSpec.of(module).names == ("0.weight",)


def test_select_keeps_the_order_and_takes_kinds_globs_and_predicates() -> None:
    target = TargetSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)))
    assert target.select(kinds=["bias"]).names == ("0.bias", "1.bias")
    assert target.select(kinds="weight", names="1.*").names == ("1.weight",)
    assert target.select(where=lambda param: param.numel > 6).names == ("1.weight",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["biass"]}, "did you mean 'bias'"),
        ({"names": "2.wieght"}, "no parameter matches '2.wieght'"),
        ({"names": ["0.*", "nothing*"]}, "no parameter matches 'nothing*'"),
    ],
)
def test_selecting_what_is_not_there_names_it(arguments: Any, message: Any) -> None:
    with pytest.raises(SpecError) as error:
        TargetSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))).select(**arguments)
    assert message in str(error.value)


def test_the_output_mask_marks_exactly_the_rows_of_the_chosen_units() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    target = TargetSpec.of(module)
    x = torch.randn(5, 2)
    flat = torch.cat([p.detach().flatten() for p in module.parameters()]).requires_grad_()
    weights = dict(
        zip(
            target.names,
            (
                part.view(shape)
                for part, shape in zip(flat.split(target.sizes), target.shapes, strict=True)
            ),
            strict=True,
        )
    )
    torch.func.functional_call(module, weights, (x,))[:, [1, 3]].sum().backward()
    # The oracle: which output-layer weights have any influence on outputs 1 and 3.
    hidden = target.slice_of("1.weight").start
    assert flat.grad is not None
    influence = flat.grad[hidden:] != 0
    mask = torch.tensor(target.output_mask([1, 3]))
    assert mask[:hidden].all()
    assert torch.equal(mask[hidden:], influence)


def test_there_is_no_output_mask_without_a_fully_connected_output_layer() -> None:
    with pytest.raises(SpecError, match="no fully connected output layer"):
        TargetSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Conv2d(1, 1, 3))).output_mask([0])
    with pytest.raises(SpecError, match="no output unit 4"):
        TargetSpec.of(nn.Linear(2, 4)).output_mask([4])


def test_unknown_names_and_repeated_names_are_refused() -> None:
    with pytest.raises(SpecError, match="did you mean 'weight'"):
        TargetSpec.of(nn.Linear(1, 1))["wieght"]
    with pytest.raises(SpecError, match="'a' appears twice"):
        TargetSpec(params=(ParamSpec(name="a", shape=(1,)), ParamSpec(name="a", shape=(2,))))
    with pytest.raises(SpecError, match="2 names were given for 1 shapes"):
        TargetSpec.from_shapes([[1]], names=["a", "b"])
    with pytest.raises(SpecError, match="must not be negative"):
        TargetSpec.from_shapes([[-1]])


def test_specs_are_frozen_and_know_no_extra_fields() -> None:
    with pytest.raises(ValidationError):
        ConditionSpec(count=1).count = 2  # type: ignore[misc]
    with pytest.raises(SpecError, match="no field 'cout'; did you mean 'count'"):
        ConditionSpec(cout=1)  # type: ignore[call-arg]
    with pytest.raises(SpecError, match="count: input should be greater than or equal to 0"):
        ConditionSpec(count=-1)


def test_only_a_classification_has_classes() -> None:
    assert (
        TaskSpec(name="t", kind="classification", in_shape=(1, 8, 8), out_shape=(3,)).classes == 3
    )
    with pytest.raises(SpecError, match="has no classes"):
        _ = TaskSpec(name="t", kind="regression", in_shape=(1,), out_shape=(1,)).classes
