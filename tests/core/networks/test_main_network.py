from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from hypnet_core import HyperNetwork, MainNetwork, TargetSpec, Weights
from hypnet_core.errors import ConditionError, SpecError, WeightsError
from hypnet_core.networks.weights import weights_of
from hypnet_core.specs import ConditionSpec


class Tied(nn.Module):
    """Two layers with one weight, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.shared = nn.Linear(4, 4)
        self.again = self.shared

    def forward(self, x: Any) -> Any:
        return self.again(self.shared(self.second(self.first(x).tanh())).tanh())


class Tokens(nn.Module):
    """An embedding and a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.register_buffer("offset", torch.randn(4))

    def forward(self, ids: Any) -> Any:
        return (self.embedding(ids) + self.offset).sum(dim=1)


class Frozen(nn.Module):
    """A frozen layer below a trainable one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4).requires_grad_(requires_grad=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).relu())


class TwoInputs(nn.Module):
    """Keyword inputs and several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)

    def forward(self, x: Any, *, scale: Any) -> Any:
        y = self.a(x) * scale
        return {"y": y, "sum": y.sum(dim=-1)}


Case = tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]

MODULES: dict[str, Case] = {
    "linear": (lambda: nn.Linear(4, 3), lambda: (torch.randn(5, 4),)),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
        lambda: (torch.randn(5, 4),),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3, bias=False), nn.Flatten()
        ),
        lambda: (torch.randn(2, 1, 8, 8),),
    ),
    "batch_norm": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)),
        lambda: (torch.randn(5, 4),),
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Linear(50, 2)),
        lambda: (torch.randn(5, 4),),
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        lambda: (torch.randn(2, 5, 8),),
    ),
    "lstm": (
        lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
        lambda: (torch.randn(6, 2, 3),),
    ),
    "gru": (lambda: nn.GRU(3, 4), lambda: (torch.randn(6, 2, 3),)),
    "tied": (Tied, lambda: (torch.randn(5, 4),)),
    "embedding": (Tokens, lambda: (torch.randint(10, (3, 6)),)),
    "frozen": (Frozen, lambda: (torch.randn(5, 4),)),
    "spectral_norm": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)),
        lambda: (torch.randn(5, 4),),
    ),
    "resnet18": (
        lambda: torchvision.models.resnet18(num_classes=5),
        lambda: (torch.randn(2, 3, 32, 32),),
    ),
}


@pytest.fixture(params=MODULES)
def case(request: pytest.FixtureRequest) -> Any:
    """A module, and inputs for it."""
    torch.manual_seed(0)
    module, inputs = MODULES[request.param]
    return module(), inputs()


def gradient_of(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def tensor_of(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_are_those_of_the_module_with_the_same_weights(
    case: Any, training: Any
) -> None:
    module, inputs = case
    module.train(training)
    for parameter in module.parameters():
        parameter.requires_grad_(requires_grad=True)
    weights = weights_of(module)
    weights.flat.requires_grad_()
    net = MainNetwork(copy.deepcopy(module))

    torch.manual_seed(1)
    expected = tensor_of(module(*inputs))
    torch.manual_seed(1)
    actual = tensor_of(net(*inputs, weights=weights))
    torch.testing.assert_close(actual, expected)

    expected.square().sum().backward()
    actual.square().sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in module.parameters()])
    torch.testing.assert_close(weights.flat.grad, gradient)


@pytest.mark.parametrize("batch", [(3,), (2, 2)])
@pytest.mark.parametrize("batching", ["auto", "loop", "vmap"])
def test_a_batch_of_weights_equals_one_by_one(case: Any, batch: Any, batching: Any) -> None:
    module, inputs = case
    net = MainNetwork(module, batching=batching).eval()
    torch.manual_seed(2)
    weights = Weights(torch.randn(*batch, net.target.numel) * 0.3, net.target)
    if batching == "vmap" and any(isinstance(layer, nn.RNNBase) for layer in module.modules()):
        with pytest.raises(RuntimeError):
            net(*inputs, weights=weights)
        return
    flat = weights.flat.flatten(0, -2)
    expected = torch.stack(
        [tensor_of(net(*inputs, weights=Weights(one, net.target))) for one in flat]
    )
    actual = tensor_of(net(*inputs, weights=weights))
    assert actual.shape[: len(batch)] == batch
    torch.testing.assert_close(actual.flatten(0, len(batch) - 1), expected, rtol=1e-4, atol=1e-4)
    assert net.batching_used == batching or batching == "auto"


def test_paired_weights_and_inputs_go_one_to_one(case: Any) -> None:
    module, inputs = case
    net = MainNetwork(module).eval()
    weights = Weights(torch.randn(3, net.target.numel) * 0.3, net.target)
    pairs = [torch.stack([x, x.flip(0), x]) for x in inputs]
    actual = tensor_of(net(*pairs, weights=weights, paired=True))
    for i, one in enumerate(weights.unbind()):
        torch.testing.assert_close(
            actual[i], tensor_of(net(*(x[i] for x in pairs), weights=one)), rtol=1e-4, atol=1e-4
        )


def test_gradients_of_a_batch_of_weights_equal_those_of_the_loop() -> None:
    for make, inputs in (MODULES["mlp"], MODULES["convolutions"]):
        x = [one.double() for one in inputs()]
        gradients = {}
        for batching in ("loop", "vmap"):
            torch.manual_seed(0)
            net = MainNetwork(make(), batching=batching).double()
            flat = torch.randn(4, net.target.numel, dtype=torch.float64).requires_grad_()
            net(*x, weights=Weights(flat, net.target)).square().sum().backward()
            gradients[batching] = flat.grad
        torch.testing.assert_close(gradients["vmap"], gradients["loop"])


def test_recurrent_layers_fall_back_to_the_loop_and_say_so() -> None:
    net = MainNetwork(nn.GRU(3, 4))
    net(torch.randn(6, 2, 3), weights=Weights(torch.randn(2, net.target.numel), net.target))
    assert net.batching_used == "loop"
    assert "no vmap rule" in net.batching_reason


def test_what_vmap_cannot_do_falls_back_to_the_loop() -> Any:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            y = self.layer(x)
            return y if y.sum() > 0 else -y

    net = MainNetwork(Branch())
    weights = Weights(torch.randn(4, net.target.numel), net.target)
    x = torch.randn(3, 2)
    torch.testing.assert_close(
        net(x, weights=weights), torch.stack([net(x, weights=w) for w in weights.unbind()])
    )
    assert net.batching_used == "loop"
    assert "not possible with vmap" in net.batching_reason


def test_a_module_may_offer_a_batched_form_of_its_own() -> Any:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3))

        def forward(self, x: Any) -> Any:
            return x * self.w

        def forward_batched(self, x: Any, *, weights: Any, paired: Any) -> Any:
            return x * weights["w"] if not paired else NotImplemented

    net = MainNetwork(Sum())
    weights = Weights(torch.randn(5, 3), net.target)
    torch.testing.assert_close(net(torch.ones(3), weights=weights), weights.flat)
    assert net.batching_used == "native"
    net(torch.ones(5, 3), weights=weights, paired=True)
    assert net.batching_used == "vmap"


def test_dropout_draws_a_mask_for_each_set_of_weights() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(2, 200), nn.Dropout(0.5)), batching="vmap")
    weights = Weights(torch.ones(2, net.target.numel), net.target)
    masks = net(torch.ones(1, 2), weights=weights) == 0
    assert not torch.equal(masks[0], masks[1])
    assert not (net.eval()(torch.ones(1, 2), weights=weights) == 0).any()


def test_train_and_eval_reach_the_dropout_inside() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(2, 200), nn.Dropout(0.5)))
    weights = Weights(torch.ones(net.target.numel), net.target)
    assert (net.train()(torch.ones(1, 2), weights=weights) == 0).any()
    assert not (net.eval()(torch.ones(1, 2), weights=weights) == 0).any()


def test_keyword_inputs_and_nested_outputs_pass_through() -> None:
    net = MainNetwork(TwoInputs())
    weights = Weights(torch.randn(4, 8), net.target)
    output = net(torch.randn(5, 3), weights=weights, scale=torch.tensor(2.0))
    assert output["y"].shape == (4, 5, 2)
    torch.testing.assert_close(output["sum"], output["y"].sum(-1))


# ---------------------------------------------------------------- which parameters come
# from outside


def tensors_in_memory(shape: Any) -> Any:
    gc.collect()
    tensors = [t for t in gc.get_objects() if type(t) in {torch.Tensor, nn.Parameter}]
    return sum(t.shape == shape and t.device.type != "meta" for t in tensors)


def test_hollow_parameters_cost_no_memory_and_are_no_parameters() -> None:
    net = MainNetwork(nn.Linear(1000, 1000))
    assert list(net.parameters()) == []
    assert not net.state_dict()
    assert tensors_in_memory((1000, 1000)) == 0
    assert net.module.weight.shape == (1000, 1000)


def test_hollow_recurrent_parameters_cost_no_memory() -> None:
    net = MainNetwork(nn.LSTM(321, 123))
    assert tensors_in_memory((4 * 123, 321)) == 0
    assert not list(net.parameters())


@pytest.mark.parametrize(
    ("generate", "expected"),
    [
        ("bias", {"body.bias", "head.bias"}),
        ("head.*", {"head.weight", "head.bias"}),
        (["body.weight", "bias"], {"body.weight", "body.bias", "head.bias"}),
        (lambda param: param.numel == 8, {"head.weight"}),
    ],
)
def test_a_partial_target_leaves_the_rest_trainable(generate: Any, expected: Any) -> None:
    torch.manual_seed(0)
    module = Frozen().requires_grad_(requires_grad=True)
    reference = copy.deepcopy(module)
    net = MainNetwork(module, generate=generate)
    assert set(net.target.names) == expected
    own = {name.removeprefix("module.") for name, _ in net.named_parameters()}
    assert own == set(net.spec.names) - expected
    x = torch.randn(5, 4)
    weights = weights_of(reference, net.target)
    output = net(x, weights=weights)
    torch.testing.assert_close(output, reference(x))
    output.sum().backward()
    reference(x).sum().backward()
    for name in own:
        torch.testing.assert_close(
            net.module.get_parameter(name).grad, reference.get_parameter(name).grad
        )


def test_what_is_frozen_and_not_generated_stays_frozen() -> None:
    net = MainNetwork(Frozen(), generate="head.*")
    assert {name: p.requires_grad for name, p in net.named_parameters()} == {
        "module.body.weight": False,
        "module.body.bias": False,
    }


def test_selecting_nothing_is_an_error() -> None:
    with pytest.raises(SpecError, match="selects none"):
        MainNetwork(nn.Linear(2, 2), generate=lambda param: False)
    with pytest.raises(SpecError, match="did you mean"):
        MainNetwork(nn.Linear(2, 2), generate="wieght")


def test_tied_parameters_stay_tied() -> None:
    module = Tied()
    net = MainNetwork(module)
    assert net.target.names == (
        "first.weight",
        "first.bias",
        "second.bias",
        "shared.weight",
        "shared.bias",
    )
    assert net.module.get_submodule("first").weight is net.module.get_submodule("second").weight


# ---------------------------------------------------------------- mistakes


def test_a_call_without_weights_says_which_are_missing() -> None:
    with pytest.raises(WeightsError, match="2 of 2 weights are missing: weight, bias"):
        MainNetwork(nn.Linear(2, 2))(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(2, 2)}, "1 of 2 weights are missing: bias"),
        (
            {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "gain": torch.zeros(1)},
            "not expected: gain",
        ),
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)},
            "weight has shape [3, 2], expected [*batch, 2, 2]",
        ),
        (Weights(torch.zeros(5), TargetSpec.from_shapes([[5]])), "2 of 2 weights are missing"),
    ],
)
def test_wrong_weights_are_named(weights: Any, message: Any) -> None:
    with pytest.raises(WeightsError) as error:
        MainNetwork(nn.Linear(2, 2))(torch.zeros(1, 2), weights=weights)
    assert message in str(error.value)


def test_misuse_is_named() -> None:
    net = MainNetwork(nn.Linear(2, 2))
    weights = Weights(torch.zeros(6), net.target)
    x: Any = torch.zeros(1, 2)
    with pytest.raises(WeightsError, match="passed by keyword"):
        net(x, weights)
    with pytest.raises(WeightsError, match="got Tensor"):
        net(x, weights=weights.flat)
    with pytest.raises(WeightsError, match="weight must be a tensor, got list"):
        net(x, weights={"weight": [1.0], "bias": [0.0]})
    with pytest.raises(ConditionError, match=r"whole number, got 1\.5"):
        MainNetwork(nn.BatchNorm1d(2))(x, weights={"weight": x[0], "bias": x[0]}, condition=1.5)
    with pytest.raises(SpecError, match="has no parameters"):
        MainNetwork(nn.Tanh())
    with pytest.raises(SpecError, match="did you mean 'loop'"):
        MainNetwork(nn.Linear(2, 2), batching="lop")  # type: ignore[arg-type]


def test_what_failed_under_vmap_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    vmap = torch.vmap

    def counted(*args: Any, **kwargs: Any) -> Any:
        tried.append(1)
        return vmap(*args, **kwargs)

    monkeypatch.setattr(torch, "vmap", counted)

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            y: torch.Tensor = self.layer(x)
            return y if y.sum() > 0 else -y

    module = Counts()
    net = MainNetwork(module)
    weights = Weights(torch.randn(3, 6), net.target)
    for _ in range(3):
        net(torch.ones(1, 2), weights=weights)
    assert len(tried) == 1
    assert module.calls == 3 * 3  # the failed attempt left nothing behind


def test_paired_inputs_of_the_wrong_batch_shape_are_refused() -> None:
    net = MainNetwork(nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="paired inputs need the weights' batch shape"):
        net(torch.zeros(4, 2), weights=Weights(torch.zeros(3, 6), net.target), paired=True)


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("batching", ["loop", "vmap"])
def test_an_exception_inside_leaves_the_module_as_it_was(batch: Any, batching: Any) -> Any:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Any, fail: Any) -> Any:
            y = self.norm(self.layer(x))
            if fail:
                raise KeyError("inside")
            return y

    net = MainNetwork(Fails(), batching=batching).eval()
    weights = Weights(torch.randn(*batch, net.target.numel), net.target)
    before = net(torch.ones(3, 2), False, weights=weights)
    with pytest.raises(KeyError, match="inside"):
        net(torch.ones(3, 2), True, weights=weights, condition=0)
    assert net.module.get_submodule("layer").weight.device.type == "meta"
    assert list(net.parameters()) == []
    torch.testing.assert_close(net(torch.ones(3, 2), False, weights=weights), before)


# ---------------------------------------------------------------- copies, casts,
# compilation


def test_it_can_be_copied_and_pickled(case: Any) -> None:
    module, inputs = case
    net = MainNetwork(module).eval()
    weights = Weights(torch.randn(net.target.numel) * 0.3, net.target)
    expected = tensor_of(net(*inputs, weights=weights))
    copies = [copy.deepcopy(net)]
    if not any(
        nn.utils.parametrize.is_parametrized(layer) for layer in module.modules()
    ):  # which torch itself does not pickle
        copies.append(pickle.loads(pickle.dumps(net)))
    for other in copies:
        torch.testing.assert_close(tensor_of(other(*inputs, weights=weights)), expected)
        assert not list(other.parameters())


def test_double_casts_buffers_and_own_parameters() -> None:
    torch.manual_seed(0)
    net = MainNetwork(
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)), generate="0.*"
    ).double()
    assert net.module.get_buffer("1.running_mean").dtype == torch.float64
    assert net.module.get_parameter("2.weight").dtype == torch.float64
    weights = Weights(torch.randn(net.target.numel, dtype=torch.float64), net.target)
    assert (
        net(torch.randn(3, 4, dtype=torch.float64), weights=weights, condition=1).dtype
        == torch.float64
    )
    assert net.statistics(1).flat.dtype == torch.float64


def test_state_dict_round_trips_with_statistics_of_every_condition() -> Any:
    def make() -> Any:
        torch.manual_seed(0)
        return MainNetwork(
            nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)), generate="0.*"
        )

    net, other = make(), make()
    weights = Weights(torch.randn(net.target.numel), net.target)
    for condition in range(3):
        net(torch.randn(8, 4), weights=weights, condition=condition)
    other.load_state_dict(net.state_dict())
    x = torch.randn(5, 4)
    for condition in range(3):
        torch.testing.assert_close(
            other.eval()(x, weights=weights, condition=condition),
            net.eval()(x, weights=weights, condition=condition),
        )


@pytest.mark.parametrize("name", ["mlp", "convolutions", "tied"])
def test_torch_compile_takes_a_single_and_a_batched_call(name: Any) -> None:
    torch._dynamo.reset()
    make, inputs = MODULES[name]
    x = inputs()
    net = MainNetwork(make(), batching="vmap")
    compiled = torch.compile(net, backend="aot_eager")
    for batch in [(), (3,)]:
        weights = Weights(torch.randn(*batch, net.target.numel), net.target)
        torch.testing.assert_close(compiled(*x, weights=weights), net(*x, weights=weights))


# ---------------------------------------------------------------- running statistics


def normed() -> Any:
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.3), nn.ReLU(), nn.Linear(6, 2)
    )


def test_each_condition_has_running_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    module = normed()
    references = [copy.deepcopy(module) for _ in range(2)]
    net = MainNetwork(module)
    sets = Weights(torch.randn(2, net.target.numel), net.target).unbind()
    for condition, reference in enumerate(references):
        reference.load_state_dict({**dict(sets[condition])}, strict=False)
    for _ in range(5):
        for condition, reference in enumerate(references):
            x = torch.randn(16, 4) + 3 * condition
            torch.testing.assert_close(
                net(x, weights=sets[condition], condition=condition), reference(x)
            )
    net.eval()
    x = torch.randn(7, 4)
    for condition, reference in enumerate(references):
        reference.eval()
        torch.testing.assert_close(
            net(x, weights=sets[condition], condition=condition), reference(x)
        )
        torch.testing.assert_close(
            net.statistics(condition)["1.running_mean"], reference[1].running_mean
        )
    both = Weights(torch.stack([w.flat for w in sets]), net.target)
    torch.testing.assert_close(
        net(x, weights=both, condition=[0, 1]), torch.stack([r(x) for r in references])
    )
    assert torch.equal(net.module.get_buffer("1.running_mean"), torch.zeros(6)), (
        "the module's own statistics are not touched"
    )


def test_a_batch_of_conditions_updates_the_same_statistics_as_one_by_one() -> None:
    torch.manual_seed(0)
    nets = [MainNetwork(normed()) for _ in range(2)]
    weights = Weights(torch.randn(3, nets[0].target.numel), nets[0].target)
    x = torch.randn(3, 16, 4)
    nets[0](x, weights=weights, condition=[4, 0, 2], paired=True)
    for i, condition in enumerate([4, 0, 2]):
        nets[1](x[i], weights=weights.index(i), condition=condition)
    for condition in range(5):
        torch.testing.assert_close(
            nets[0].statistics(condition).flat, nets[1].statistics(condition).flat
        )


def test_a_condition_that_was_not_trained_starts_from_the_modules_own_statistics() -> None:
    net = MainNetwork(normed()).eval()
    net.module.get_buffer("1.running_mean").fill_(2.0)
    weights = Weights(torch.randn(net.target.numel), net.target)
    x = torch.randn(3, 4)
    torch.testing.assert_close(net(x, weights=weights, condition=7), net(x, weights=weights))
    assert len(net.bank) == 0


def test_statistics_from_outside_win_and_are_never_changed() -> None:
    net = MainNetwork(normed())
    weights = Weights(torch.randn(net.target.numel), net.target)
    stats = {"1.running_mean": torch.full((6,), 0.5), "1.running_var": torch.full((6,), 2.0)}
    net(torch.randn(8, 4), weights=weights, stats=stats, condition=0)
    assert torch.equal(stats["1.running_mean"].detach(), torch.full((6,), 0.5))
    net.eval()
    x = torch.randn(3, 4)
    hidden = nn.functional.linear(x, weights["0.weight"], weights["0.bias"])
    hidden = nn.functional.batch_norm(
        hidden,
        stats["1.running_mean"],
        stats["1.running_var"],
        weights["1.weight"],
        weights["1.bias"],
    )
    expected = nn.functional.linear(hidden.relu(), weights["3.weight"], weights["3.bias"])
    torch.testing.assert_close(net(x, weights=weights, stats=stats, condition=0), expected)
    both = Weights(torch.stack([weights.flat, weights.flat]), net.target)
    torch.testing.assert_close(net(x, weights=both, stats=stats), torch.stack([expected, expected]))


def test_wrong_statistics_and_conditions_are_named() -> None:
    net = MainNetwork(normed())
    weights = Weights(torch.randn(2, net.target.numel), net.target)
    x = torch.randn(4, 4)
    with pytest.raises(WeightsError, match=r"missing: 1\.running_var"):
        net(x, weights=weights, stats={"1.running_mean": torch.zeros(6)})
    with pytest.raises(ConditionError, match="2 sets of weights take 2 conditions, got 3"):
        net(x, weights=weights, condition=[0, 1, 2])
    with pytest.raises(ConditionError, match="there is no condition -1"):
        net(x, weights=weights.index(0), condition=-1)


# ---------------------------------------------------------------- hypernetworks of
# hypernetworks


class LinearHyper(HyperNetwork):
    def __init__(self, target: Any, conditions: Any) -> None:
        super().__init__(target, conditions)
        self.head = nn.Linear(conditions.size, target.numel)

    def generate(self, inputs: Any) -> Any:
        return self.head(inputs)


def test_a_hypernetwork_takes_its_own_parameters_from_outside() -> None:
    torch.manual_seed(0)
    main = MainNetwork(nn.Linear(3, 2))
    inner = LinearHyper(main.target, ConditionSpec(count=4, size=5))
    reference = copy.deepcopy(inner)
    theta = weights_of(inner, TargetSpec.of(inner).select(names="head.*"))
    wrapped = MainNetwork(inner, generate="unconditional")
    assert wrapped.target.names == ("head.weight", "head.bias")
    assert len(list(wrapped.parameters())) == 4
    torch.testing.assert_close(wrapped([1, 3], weights=theta).flat, reference([1, 3]).flat)
    torch.testing.assert_close(wrapped(condition=2, weights=theta).flat, reference(2).flat)

    outer = LinearHyper(wrapped.target, ConditionSpec(count=2, size=3))
    x = torch.randn(6, 3)
    generated = wrapped(1, weights=outer(0))
    main(x, weights=generated).square().sum().backward()
    assert gradient_of(outer.head.weight).abs().sum() > 0
    assert gradient_of(outer.embedding(0)).abs().sum() > 0


def test_second_order_gradients_flow_through_an_inner_step() -> Any:
    torch.manual_seed(0)
    main = MainNetwork(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double())
    hnet = LinearHyper(main.target, ConditionSpec(count=1, size=2)).double()
    x = torch.randn(4, 2, dtype=torch.float64)

    def after_one_step(head: Any) -> Any:
        flat = torch.func.functional_call(hnet, {"head.weight": head}, (0,)).flat
        loss = main(x, weights=Weights(flat, main.target)).square().sum()
        (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
        return main(x, weights=Weights(flat - 0.1 * gradient, main.target)).square().sum()

    assert torch.autograd.gradcheck(after_one_step, hnet.head.weight.detach().requires_grad_())
