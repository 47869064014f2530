"""What modules keep between calls: caches, recorded outputs, buffers, precision."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import MainNetwork, Weights, weights_of
from hypnet_core.errors import WeightsError


def sets_for(net: MainNetwork, count: int = 3) -> Weights:
    torch.manual_seed(1)
    return Weights(torch.randn(count, net.target.numel), net.target)


class Box:
    """A plain object."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Caches(nn.Module):
    """Keeps something derived from its weights, as attention biases are kept."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.weight, self.place = nn.Parameter(torch.randn(3)), place
        self.by_device: dict[str, Tensor] = {}
        self.found: Tensor | None = None
        self.several: list[Tensor] = []
        self.nested: dict[str, dict[str, Tensor]] = {"inner": {}}
        self.box, self.ready = Box(None), False

    def train(self, mode: bool = True) -> Caches:
        self.by_device = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        derived: Tensor = getattr(self, f"from_{self.place}")(x)
        return x * derived

    def from_dict(self, x: Tensor) -> Tensor:
        if str(x.device) not in self.by_device:
            self.by_device[str(x.device)] = self.weight.exp()
        return self.by_device[str(x.device)]

    def from_list(self, x: Tensor) -> Tensor:
        if not self.several:
            self.several.append(self.weight.exp())
        return self.several[0]

    def from_nested(self, x: Tensor) -> Tensor:
        if "w" not in self.nested["inner"]:
            self.nested["inner"]["w"] = self.weight.exp()
        return self.nested["inner"]["w"]

    def from_object(self, x: Tensor) -> Any:
        if self.box.value is None:
            self.box.value = self.weight.exp()
        return self.box.value

    def from_flag(self, x: Tensor) -> Any:
        if not self.ready:
            self.found, self.ready = self.weight.exp(), True
        return self.found

    def from_new(self, x: Tensor) -> Tensor:
        if not hasattr(self, "derived"):
            self.derived = self.weight.exp()
        return self.derived

    def from_buffer(self, x: Tensor) -> Tensor:
        if "kept" not in self._buffers:
            self.register_buffer("kept", self.weight.exp(), persistent=False)
        return self.get_buffer("kept")

    def from_attribute(self, x: Tensor) -> Tensor:
        if self.found is None:
            self.found = self.weight.exp()
        return self.found


@pytest.mark.parametrize(
    "place", ["dict", "list", "nested", "object", "flag", "new", "buffer", "attribute"]
)
@pytest.mark.parametrize("batching", ["auto", "loop"])
@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_of_one_set_of_weights_is_not_used_with_the_next(
    place: str, batching: Any, filled: bool
) -> None:
    module = Caches(place).eval()
    if filled and place == "dict":
        module(torch.ones(3))  # before it became a main network
    net = MainNetwork(module, batching=batching).eval()
    weights, x = sets_for(net), torch.ones(3)
    for i in (0, 1, 2, 0):
        leaf = weights.flat[i].clone().requires_grad_()
        y = net(x, weights=Weights(leaf, net.target))
        torch.testing.assert_close(y, leaf.exp())
        y.sum().backward()
        torch.testing.assert_close(leaf.grad, leaf.detach().exp())
    torch.testing.assert_close(net(x, weights=weights), weights.flat.exp())
    copy.deepcopy(net), pickle.loads(pickle.dumps(net))


def test_what_a_call_records_can_be_read_after_it() -> None:
    class Records(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.penalty = nn.Linear(3, 2), None

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            self.penalty = y.square().sum()  # type: ignore[assignment]
            return y

    net = MainNetwork(Records())
    for weights in sets_for(net).unbind():
        y = net(torch.ones(1, 3), weights=weights)
        torch.testing.assert_close(net.module.penalty, y.square().sum())


class Averages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 3), 0
        self.average: Any = torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        self.average, self.calls = 0.5 * self.average + 0.5 * y.detach().mean(0), self.calls + 1
        out: Tensor = y + self.average
        return out


def test_state_that_forward_assigns_is_carried_on_and_never_left_to_vmap() -> None:
    plain, net = Averages(), MainNetwork(Averages())
    weights, x = sets_for(net), torch.randn(4, 3)
    expected = [torch.func.functional_call(plain, dict(one), (x,)) for one in weights.unbind()]
    torch.testing.assert_close(net(x, weights=weights), torch.stack(expected))
    assert net.batching_used == "loop"
    assert vars(net.module)["calls"] == 3
    assert "keeps calls, average" in net.batching_reason
    torch.testing.assert_close(net.module.average, plain.average)
    copy.deepcopy(net)  # no dead tensor of vmap is left in it


def test_a_hook_that_assigns_is_never_left_to_vmap() -> None:
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda m, args, y: setattr(m, "last", y))
    net = MainNetwork(layer)
    weights = sets_for(net)
    net(torch.ones(1, 3), weights=weights)
    assert net.batching_used == "loop"
    torch.testing.assert_close(layer.last, net(torch.ones(1, 3), weights=weights.index(2)))


class Codebook(nn.Module):
    """A buffer that training moves, by assignment or in place."""

    codes: Tensor

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.layer, self.in_place = nn.Linear(3, 3), in_place
        self.register_buffer("codes", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        if self.training:
            with torch.no_grad():
                new = 0.5 * self.codes + 0.5 * y.mean(0)
                if self.in_place:
                    self.codes.copy_(new)
                else:
                    self.codes = new
        return y + self.codes


def old_spectral_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer: nn.Module = nn.utils.spectral_norm(nn.Linear(3, 3))
        return layer


@pytest.mark.parametrize(
    "make",
    [lambda: Codebook(True), lambda: Codebook(False), old_spectral_norm],
    ids=["in place", "assigned", "spectral norm"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_buffers_that_training_changes_belong_to_a_condition(
    make: Callable[[], nn.Module], batched: bool
) -> None:
    torch.manual_seed(0)
    module = make()
    plain = [copy.deepcopy(module) for _ in range(3)]
    net = MainNetwork(copy.deepcopy(module))
    weights = Weights(torch.randn(3, net.target.numel), net.target)
    for step in range(4):
        x = torch.randn(5, 3) + step
        expected = [
            torch.func.functional_call(one, dict(w), (x,))
            for one, w in zip(plain, weights.unbind(), strict=True)
        ]
        if batched:
            got = list(net(x, weights=weights, condition=[0, 1, 2]))
        else:
            got = [net(x, weights=w, condition=i) for i, w in enumerate(weights.unbind())]
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)
    # They travel with the state, also into a network that has not seen them change.
    fresh = MainNetwork(copy.deepcopy(module))
    fresh.load_state_dict(net.state_dict())
    x = torch.randn(5, 3)
    for one in (net, fresh):
        one.eval()
        for i, w in enumerate(weights.unbind()):
            want = torch.func.functional_call(plain[i].eval(), dict(w), (x,))
            torch.testing.assert_close(one(x, weights=w, condition=i), want)


def test_indices_for_the_size_of_the_input_belong_to_no_condition() -> None:
    class Positions(nn.Module):
        positions: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.register_buffer("positions", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            if len(self.positions) != len(x):
                self.positions = torch.arange(len(x), dtype=x.dtype)
            y: Tensor = self.layer(x) + self.positions[:, None]
            return y

    net = MainNetwork(Positions())
    weights = sets_for(net)
    for size in (3, 5):
        x = torch.zeros(size, 1)
        got = net(x, weights=weights, condition=[0, 1, 2])
        want = weights["layer.bias"][:, None] + torch.arange(size)[None, :, None]
        torch.testing.assert_close(got, want)


def test_parametrizations_that_cache_are_computed_per_set() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    plain = copy.deepcopy(layer)
    net = MainNetwork(layer)
    weights, x = sets_for(net), torch.randn(4, 3)
    with nn.utils.parametrize.cached():
        got = net(x, weights=weights)
        single = torch.stack([net(x, weights=one) for one in weights.unbind()])
    want = torch.stack(
        [torch.func.functional_call(plain, dict(one), (x,)) for one in weights.unbind()]
    )
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(single, want)


def test_weights_that_a_module_does_not_use_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.used(x)
            return y

    net = MainNetwork(Two())
    leaf = torch.randn(net.target.numel, requires_grad=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            net(torch.ones(1, 2), weights=Weights(leaf, net.target))
    (line,) = caplog.messages
    assert line == "Two does not use 2 of 4 weights in training: idle.weight, idle.bias"


def test_all_weights_in_use_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.GRU(3, 2, batch_first=True))
    net = MainNetwork(module)
    flat = weights_of(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.GRU(3, 2))).flat
    tensors = {n: t.clone().requires_grad_() for n, t in Weights(flat, net.target).items()}
    for weights in (Weights(flat.requires_grad_(), net.target), tensors):
        net(torch.ones(1, 4, 2), weights=weights)
    assert not caplog.messages


# ------------------------------------------------------------------ precision


def test_weights_take_the_precision_of_the_module() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).bfloat16())
    flat = torch.randn(net.target.numel, requires_grad=True)
    y = net(torch.ones(2, 3, dtype=torch.bfloat16), weights=Weights(flat, net.target))
    y.float().sum().backward()
    assert (y.dtype, flat.grad is not None and flat.grad.dtype) == (torch.bfloat16, torch.float32)


def test_mixed_precision_stays_mixed() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(3, 4).bfloat16(), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.first(x.bfloat16()).float())
            return y

    plain = Mixed()
    net = MainNetwork(copy.deepcopy(plain))
    weights = weights_of(plain)
    assert weights.flat.dtype == torch.float32
    torch.testing.assert_close(net(torch.ones(2, 3), weights=weights), plain(torch.ones(2, 3)))
    named = {name: tensor.double() for name, tensor in weights.items()}
    torch.testing.assert_close(net(torch.ones(2, 3), weights=named), plain(torch.ones(2, 3)))


def test_to_changes_the_precision_of_weights_from_outside_too() -> None:
    net = MainNetwork(nn.Linear(3, 2)).double()
    weights = Weights(torch.ones(8), net.target)
    assert net(torch.ones(1, 3, dtype=torch.float64), weights=weights).dtype == torch.float64
    net.to(torch.float32)
    assert net(torch.ones(1, 3), weights=weights.to(torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("training", [True, False])
def test_autocast_equals_plain_torch(training: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    plain.train(training)
    net = MainNetwork(copy.deepcopy(plain))
    head = nn.Linear(2, net.target.numel)
    x = torch.randn(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        flat = head(torch.ones(2))
        weights = Weights(flat, net.target)
        y = net(x, weights=weights)
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                parameter.copy_(weights[name])
        expected = plain(x)
        batch = net(x, weights=Weights(torch.stack([flat, flat]), net.target))
    assert flat.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected)
    if not training:
        torch.testing.assert_close(batch[1], expected)
    y.float().square().sum().backward()
    assert head.weight.grad is not None


def test_a_placeholder_has_a_shape_and_no_value() -> None:
    net = MainNetwork(nn.Linear(3, 2))
    weight: Any = net.module.weight
    assert (weight.shape, weight.dtype, weight.ndim, weight.numel()) == (
        (2, 3),
        torch.float32,
        2,
        6,
    )
    assert (weight.size(0), weight.dim(), weight.device.type) == (2, 2, "meta")
    for read in (
        lambda: weight + 1,
        lambda: torch.ones(2, 3) * weight,
        lambda: weight[0],
        lambda: weight.sum(0),
        lambda: nn.functional.linear(torch.ones(1, 3), weight),
    ):
        with pytest.raises((WeightsError, TypeError), match=r"comes from outside|Hollow"):
            read()
