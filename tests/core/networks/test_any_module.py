"""Modules that nobody here wrote: right, or refused by name."""

from __future__ import annotations

import copy
import functools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hypnet_core import (
    ConditionSpec,
    HyperNetwork,
    MainNetwork,
    TargetSpec,
    Weights,
    materialize,
    weights_of,
)
from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.specs import ParamSpec


def batch_of(net: MainNetwork, count: int = 3) -> Weights:
    torch.manual_seed(0)
    return Weights(torch.randn(count, net.target.numel) / 3, net.target)


@pytest.mark.parametrize("batching", ["auto", "loop", "vmap"])
def test_a_first_layer_that_works_in_place_changes_no_other_sets_input(batching: Any) -> None:
    net = MainNetwork(nn.Sequential(nn.LeakyReLU(inplace=True), nn.Linear(4, 2)), batching=batching)
    weights, x = batch_of(net), torch.randn(5, 4)
    expected = torch.stack([net(x.clone(), weights=one) for one in weights.unbind()])
    torch.testing.assert_close(net(x.clone(), weights=weights), expected)


def test_a_module_that_writes_into_its_input_is_refused_in_a_loop() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            out: Tensor = self.layer(x)
            return out

    net = MainNetwork(Writes(), batching="loop")
    with pytest.raises(WeightsError, match="Writes writes into its input"):
        net(torch.ones(2, 3), weights=batch_of(net))


class Returns(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(3, 2), kind

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        return {
            "normal": Normal(y, 1.0),
            "nothing": (y, None),
            "number": {"y": y, "n": 3},
            "differing": (y, float(y.detach().sum())),
            "nested": [y, (y + 1, {"z": y * 2})],
        }[self.kind]


@pytest.mark.parametrize("kind", ["nothing", "number", "nested"])
def test_outputs_that_are_no_tensors_are_kept_where_all_sets_agree(kind: str) -> None:
    net = MainNetwork(Returns(kind), batching="loop")
    weights, x = batch_of(net), torch.randn(4, 3)
    got = net(x, weights=weights)
    each = [net(x, weights=one) for one in weights.unbind()]
    if kind == "nothing":
        assert got[1] is None
        torch.testing.assert_close(got[0], torch.stack([y for y, _ in each]))
    elif kind == "number":
        assert got["n"] == 3
        torch.testing.assert_close(got["y"], torch.stack([out["y"] for out in each]))
    else:
        torch.testing.assert_close(got[1][1]["z"], torch.stack([out[1][1]["z"] for out in each]))


@pytest.mark.parametrize(("kind", "named"), [("normal", "Normal"), ("differing", "float")])
def test_outputs_that_cannot_be_combined_are_refused_by_name(kind: str, named: str) -> None:
    net = MainNetwork(Returns(kind), batching="loop")
    with pytest.raises(WeightsError, match=f"outputs of type {named} cannot be combined"):
        net(torch.randn(4, 3), weights=batch_of(net))
    one = net(torch.randn(4, 3), weights=batch_of(net).index(0))
    assert one is not None


def test_one_wrong_call_does_not_turn_vmap_off() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    weights = batch_of(net)
    with pytest.raises(RuntimeError):
        net(torch.randn(5, 7), weights=weights)
    net(torch.randn(5, 4), weights=weights)
    assert net.batching_used == "vmap"


def test_what_vmap_cannot_do_is_remembered_once_the_loop_has_done_it() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y if bool((y > 0).any()) else -y

    net = MainNetwork(Branches())
    for _ in range(2):
        net(torch.randn(4, 3), weights=batch_of(net))
        assert (net.batching_used, net.batching_reason[:22]) == ("loop", "not possible with vmap")


@pytest.mark.parametrize(
    "module",
    [
        nn.MultiheadAttention(4, 2, batch_first=True),
        nn.TransformerDecoder(
            nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 1
        ),
    ],
    ids=["attention", "decoder"],
)
def test_attention_runs_forward_and_backward_in_batches(module: nn.Module) -> None:
    net = MainNetwork(module.eval()).eval()
    start = batch_of(net).flat.requires_grad_()
    weights = Weights(start, net.target)
    x = torch.randn(2, 3, 4)
    inputs = (x, x, x) if isinstance(net.module, nn.MultiheadAttention) else (x, x)

    def output(out: Any) -> Tensor:
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    batch = output(net(*inputs, weights=weights))
    each = torch.stack([output(net(*inputs, weights=one)) for one in weights.unbind()])
    torch.testing.assert_close(batch, each)
    (got,) = torch.autograd.grad(batch.square().sum(), start, retain_graph=True)
    (expected,) = torch.autograd.grad(each.square().sum(), start)
    torch.testing.assert_close(got, expected)


class Held:
    """A plain object."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter


class Listed(nn.Module):
    def __init__(self, kept: str) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        if kept == "list":
            self.ws: Any = [self.a, self.b]
        elif kept == "dict":
            self.ws = {"inner": [self.b]}
        elif kept == "object":
            self.ws = Held(self.a)
        elif kept == "closure":
            own = self.a
            self.ws = lambda x: x * own
        elif kept == "partial":
            self.ws = functools.partial(torch.mul, self.b)
        else:
            object.__setattr__(self, "ws", self.a)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.a


@pytest.mark.parametrize(
    ("kept", "name"),
    [
        ("list", "a"),
        ("dict", "b"),
        ("attribute", "a"),
        ("object", "a"),
        ("closure", "a"),
        ("partial", "b"),
    ],
)
def test_parameters_in_plain_attributes_are_refused_by_name(kept: str, name: str) -> None:
    with pytest.raises(SpecError, match=f"ws holds the parameter 0.{name} outside of the module"):
        MainNetwork(nn.Sequential(Listed(kept)))
    untouched = "b" if name == "a" else "a"
    if kept == "attribute":
        MainNetwork(Listed(kept), generate=untouched)  # a parameter that stays may be kept twice


def test_recurrent_layers_keep_their_flat_list() -> None:
    layer = nn.LSTM(3, 4)
    net = MainNetwork(nn.LSTM(3, 4))
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(net(x, weights=weights_of(layer))[0], layer(x)[0])


class Linear(HyperNetwork):
    def __init__(self, target: Any, conditions: Any) -> None:
        super().__init__(target, conditions)
        self.head = nn.Linear(conditions.size, target.numel)

    def generate(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(inputs)
        return out


def test_wrong_arguments_of_constructors_are_named() -> None:
    net = MainNetwork(nn.Linear(3, 2))
    target = net.target
    with pytest.raises(SpecError, match="a TargetSpec, got a MainNetwork: pass its `target`"):
        Linear(net, ConditionSpec())
    with pytest.raises(SpecError, match=r"got 3: write ConditionSpec\(count=3\)"):
        Linear(target, 3)
    with pytest.raises(SpecError, match="a ConditionSpec, got a list"):
        Linear(target, [3])
    with pytest.raises(WeightsError, match="a tensor and a TargetSpec, got a int and a TargetSpec"):
        Weights(5, target)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="got a Tensor and a list"):
        Weights(torch.zeros(3), [3])  # type: ignore[arg-type]
    for wrong, said in (
        (5, "a module is expected, got 5"),
        (nn.Linear, "a module is expected, got the class Linear: build it first"),
        (target, "a module is expected, got TargetSpec"),
    ):
        for use in (MainNetwork, TargetSpec.of, weights_of):
            with pytest.raises(SpecError, match=said):
                use(wrong)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"generate is a kind, a glob, .* got 5"):
        MainNetwork(nn.Linear(3, 2), generate=5)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="a MainNetwork is expected, got 5"):
        materialize(5, 5)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"weights must be Weights or a mapping .* got int"):
        materialize(net, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ParamSpec(name="x", shape=(2,), kind="foo"), "ParamSpec: kind: input should be"),  # type: ignore[arg-type]
        (lambda: ParamSpec(name="x", shape=(-1,)), r"shape\.0: input should be .* 0, got -1"),
        (lambda: ParamSpec(shape=(2,)), "ParamSpec: name is missing"),  # type: ignore[call-arg]
        (lambda: ConditionSpec(cuont=2), "no field 'cuont'; did you mean 'count'"),  # type: ignore[call-arg]
        (lambda: ConditionSpec(count="a"), "ConditionSpec: count: .* got 'a'"),  # type: ignore[arg-type]
        (lambda: TargetSpec(params=[1]), r"TargetSpec: params\.0: .* got 1"),  # type: ignore[arg-type]
        (lambda: TargetSpec.from_shapes(5), r"shapes are written as \[\[10, 5\], \[10\]\], got 5"),  # type: ignore[arg-type]
        (lambda: TargetSpec.from_shapes([5]), r"got \[5\]"),  # type: ignore[list-item]
        (lambda: TargetSpec.from_shapes([[2.5]]), r"got \[\[2\.5\]\]"),  # type: ignore[list-item]
    ],
)
def test_wrong_specs_are_one_line(make: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- inputs and parameters


def test_a_module_finds_its_parameters_while_it_runs() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            first = next(self.parameters())
            assert [name for name, _ in self.named_parameters()] == [
                f"rnn.{name}" for name, _ in nn.LSTM(3, 2).named_parameters()
            ]
            state = (first.new_zeros(1, len(x), 2), first.new_ones(1, len(x), 2))
            y: Tensor = self.rnn(x.to(first.device), state)[0]
            return y

    plain = Asks()
    net = MainNetwork(copy.deepcopy(plain))
    x = torch.randn(4, 5, 3)
    torch.testing.assert_close(net(x, weights=weights_of(plain)), plain(x))
    assert not list(net.parameters())
    weights = batch_of(net)
    each = torch.stack([net(x, weights=one) for one in weights.unbind()])
    torch.testing.assert_close(net(x, weights=weights), each)
    copy.deepcopy(net)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor, stats: Tensor | None = None, paired: Any = 1.0) -> Tensor:
        y: Tensor = self.layer(x)
        out: Tensor = y * paired + (0 if stats is None else stats)
        return out


def test_inputs_with_names_that_main_networks_use_are_passed_by_position() -> None:
    net = MainNetwork(Named())
    weights, x = batch_of(net).index(0), torch.ones(3, 2)
    torch.testing.assert_close(net(x, x, 2.0, weights=weights), 2 * net(x, weights=weights) + x)
    with pytest.raises(WeightsError, match=r"stats must be .* got Tensor; .* by position"):
        net(x, stats=x, weights=weights)
    with pytest.raises(WeightsError, match=r"paired must be True or False, got float; .* by posit"):
        net(x, paired=2.0, weights=weights)

    class OnlyByName(Named):
        def forward(self, x: Tensor, *, stats: Tensor) -> Tensor:  # type: ignore[override]
            return x + stats

    with pytest.raises(SpecError, match=r"OnlyByName\.forward has a keyword-only input 'stats'"):
        MainNetwork(OnlyByName())


def test_sparse_embeddings_get_dense_gradients() -> None:
    plain = nn.Sequential(nn.EmbeddingBag(5, 3, sparse=True), nn.Linear(3, 2))
    net = MainNetwork(copy.deepcopy(plain))
    ids = torch.tensor([[1, 2], [4, 1]])
    flat = weights_of(plain).flat.requires_grad_()
    net(ids, weights=Weights(flat, net.target)).square().sum().backward()
    plain(ids).square().sum().backward()
    grads = [p.grad.to_dense().flatten() for p in plain.parameters() if p.grad is not None]
    torch.testing.assert_close(flat.grad, torch.cat(grads))


def test_parameters_that_cannot_be_generated_are_refused_by_name() -> None:
    class Holds(nn.Module):
        def __init__(self, parameter: nn.Parameter) -> None:
            super().__init__()
            self.inner, self.layer = parameter, nn.Linear(2, 2)

    phases = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    counts = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    with pytest.raises(SpecError, match=r"inner has dtype torch.complex64.*view_as_real"):
        MainNetwork(Holds(phases))
    with pytest.raises(SpecError, match=r"inner has dtype torch.int64, but generated weights are"):
        MainNetwork(Holds(counts))
    assert MainNetwork(Holds(phases), generate="layer.*").target.numel == 6
    with pytest.raises(SpecError, match=r"weight has no shape yet: run the lazy module once"):
        MainNetwork(nn.LazyLinear(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(SpecError, match=r"is scripted \(torch.jit\)"):
        MainNetwork(scripted)


def test_a_module_that_saves_itself_saves_no_placeholders() -> None:
    class Saves(nn.Linear):
        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            destination[prefix + "weight"] = self.weight

    outer = nn.Sequential(MainNetwork(Saves(2, 2)), nn.Linear(2, 2))
    assert set(outer.state_dict()) == {"1.weight", "1.bias"}
    assert not outer[0].state_dict()


class Detects(nn.Module):
    """Lists of boxes, as many as it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 4)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        boxes = [self.layer(image) for image in images]
        return [{"boxes": found[found[:, 0] > 0]} for found in boxes]


def test_outputs_of_different_sizes_are_refused_by_name() -> None:
    net = MainNetwork(Detects(), batching="loop")
    images = [torch.randn(20, 2), torch.randn(30, 2)]
    weights = batch_of(net)
    with pytest.raises(WeightsError, match=r"outputs of different shapes \(\["):
        net(images, weights=weights)
    assert len(net(images, weights=weights.index(0))) == 2

    class Some(Detects):
        def forward(self, images: list[Tensor]) -> Any:
            return [found for found in super().forward(images) if len(found["boxes"]) > 12]

    with pytest.raises(WeightsError, match=r"outputs of different (structure|shapes)"):
        MainNetwork(Some(), batching="loop")(images, weights=weights)


def test_a_layer_that_computes_in_train_is_refused_by_name() -> None:
    class Fuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(2))

        def train(self, mode: bool = True) -> Fuses:
            if not mode:
                self.doubled = 2 * self.bias.detach()
            return super().train(mode)

    with pytest.raises(WeightsError, match="bias comes from outside and has no value here"):
        MainNetwork(Fuses())


def test_modes_of_single_layers_stay() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)).eval())
    net = MainNetwork(module)
    assert [layer.training for layer in net.module.modules()] == [True, True, False, False]
    assert net.training
    assert not MainNetwork(nn.Linear(2, 2).eval()).training


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_ddp_sees_the_tensor_inside_of_weights(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        net = MainNetwork(nn.Linear(3, 2))
        hnet = Linear(net.target, ConditionSpec(count=2, size=2))
        hnet.unused = nn.Linear(2, 2)
        plain = copy.deepcopy(hnet)
        ddp = nn.parallel.DistributedDataParallel(hnet, find_unused_parameters=True)
        for i in (0, 1):
            ddp.zero_grad()
            plain.zero_grad()
            net(torch.ones(1, 3), weights=ddp(i)).square().sum().backward()
            net(torch.ones(1, 3), weights=plain(i)).square().sum().backward()
            torch.testing.assert_close(hnet.head.weight.grad, plain.head.weight.grad)
            torch.testing.assert_close(hnet.embedding(i).grad, plain.embedding(i).grad)
    finally:
        torch.distributed.destroy_process_group()
