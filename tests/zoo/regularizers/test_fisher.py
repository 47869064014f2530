"""Fisher information against closed forms and a loop over batches of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hypnet_core import Batch, ConditionSpec, MainNetwork, Split
from hypnet_core.errors import DataError, DivergedError, SpecError
from hypnet_core.tasks import Augmentation
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.layers.batch_norm import BatchNorm
from hypnet_zoo.regularizers import fisher

DOUBLE = torch.float64
KINDS = ["exact", "empirical", "sampled"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def by_hand(
    tensors: Mapping[str, Tensor],
    log_probabilities: Callable[[int], Iterator[tuple[float, Tensor]]],
    samples: int,
) -> dict[str, Tensor]:
    """The slow oracle: weights and log-probabilities of single samples, one by one."""
    total = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    for row in range(samples):
        for weight, log_p in log_probabilities(row):
            gradients = torch.autograd.grad(
                log_p, list(tensors.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(tensors, gradients, strict=True):
                if gradient is not None:
                    total[name] += weight * gradient.square() / samples
    return total


def classes_by_hand(
    model: nn.Module, x: Tensor, y: Tensor, *, exact: bool, units: list[int] | None = None
) -> dict[str, Tensor]:
    """The expectation over labels, or the true ones, for `[B, C]` and `[B, T, C]`."""

    def terms(row: int) -> Iterator[tuple[float, Tensor]]:
        logits = model(x[row : row + 1])
        log_p = F.log_softmax(logits if units is None else logits[..., units], -1)[0]
        frames = log_p.reshape(-1, log_p.shape[-1])
        if not exact:
            yield 1.0, frames.gather(1, y[row].reshape(-1, 1)).sum()
            return
        for frame in frames:
            for one in frame:
                yield float(one.detach().exp()), one

    return by_hand(dict(model.named_parameters()), terms, len(x))


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-9) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = float(tensor.abs().max())
        torch.testing.assert_close(actual[name], tensor, rtol=rtol, atol=rtol * scale, msg=name)


class Shifted(Augmentation):
    """An augmentation that nobody can miss."""

    def __call__(self, values: Tensor, _: torch.Generator | None = None, /) -> Tensor:
        return values + 5 * torch.rand_like(values)


class Conv(nn.Sequential):
    """Convolutions, norms and activations in place."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, (3, 2), padding="same", dilation=(1, 3)),
            BatchNorm(6),
            nn.GroupNorm(3, 6),
            nn.Tanh(),
            nn.Flatten(),
            nn.LayerNorm(6 * 4 * 4),
            nn.Linear(6 * 4 * 4, 3),
        )
        part: Any
        for part in self:
            if hasattr(part, "running_var"):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)


class Frames(nn.Module):
    """A linear network on each frame of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.tanh(self.norm(self.first(x.reshape(len(x), -1, 3)))))
        return out.mean(1)


class Tied(nn.Module):
    """One matrix in two places, of which a layer is only one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.layer(x) @ self.layer.weight))
        return out


class Twice(nn.Module):
    """A layer that is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.tanh(self.layer(x)))[:, :3]
        return out


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x)[0])
        return out


class Attention(nn.Module):
    """Attention uses a layer's weights without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.mix(x, x, x, need_weights=False)[0].mean(1))
        return out


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)),
    "conv": (Conv, (2, 8, 8)),
    "frames": (Frames, (6,)),
    "tied": (Tied, (4,)),
    "twice": (Twice, (4,)),
    "attention": (Attention, (5, 4)),
}


def made(name: str, samples: int = 7) -> tuple[Any, Tensor, Tensor]:
    build, shape = NETWORKS[name]
    model = build().to(DOUBLE).eval()
    return model, torch.randn(samples, *shape, dtype=DOUBLE), torch.randint(3, (samples,))


@pytest.mark.parametrize("kind", ["exact", "empirical"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_equals_a_loop_over_batches_of_one(name: str, kind: Any) -> None:
    model, x, y = made(name)
    expected = classes_by_hand(model, x, y, exact=kind == "exact")
    assert_same(fisher(model, (x, y), kind=kind, batch_size=4), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["closed_form", "vmap", "loop"])
@pytest.mark.parametrize("name", ["mlp", "conv", "frames"])
def test_every_way_gives_the_same(name: str, way: Any, kind: Any) -> None:
    model, x, y = made(name)
    found, expected = (
        fisher(model, (x, y), kind=kind, gradients=one, generator=torch.manual_seed(3))
        for one in (way, "auto")
    )
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["tied", "twice", "attention"])
def test_closed_forms_are_refused_where_they_would_be_wrong(name: str) -> None:
    model, x, y = made(name)
    # `tied` calls its layer once: only the comparison with the loop sees it.
    if name != "tied":
        with pytest.raises(SpecError, match="gradients='closed_form' is impossible"):
            fisher(model, (x, y), gradients="closed_form")


@settings(max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0, 1, (2, 1), "same", "valid"]),
    st.integers(1, 2),
    st.booleans(),
)
def test_convolutions_of_any_geometry(
    kernel: int, dilation: int, padding: Any, stride: int, bias: bool
) -> None:
    layer = nn.Conv2d(
        2,
        3,
        (kernel, 2),
        stride=1 if padding == "same" else stride,
        padding=padding,
        dilation=dilation,
        bias=bias,
    )
    model = nn.Sequential(layer, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    data = (torch.randn(3, 2, 8, 8, dtype=DOUBLE), torch.tensor([0, 1, 2]))
    assert_same(fisher(model, data, gradients="closed_form"), fisher(model, data, gradients="loop"))


def test_softmax_regression_has_a_closed_form() -> None:
    model, x = nn.Linear(4, 3).double(), torch.randn(50, 4, dtype=DOUBLE)
    p = F.softmax(model(x), -1).detach()
    spread = p * (1 - p)
    expected = {"weight": spread.T @ x.square() / 50, "bias": spread.mean(0)}
    assert_same(fisher(model, (x, torch.zeros(50, dtype=torch.int64))), expected, rtol=1e-12)


def test_true_labels_give_the_empirical_one() -> None:
    model, x, y = nn.Linear(4, 3).double(), torch.randn(50, 4, dtype=DOUBLE), torch.arange(50) % 3
    score = F.one_hot(y, 3) - F.softmax(model(x), -1).detach()
    expected = {"weight": score.square().T @ x.square() / 50, "bias": score.square().mean(0)}
    assert_same(fisher(model, (x, y), kind="empirical"), expected, rtol=1e-12)
    one_hot = F.one_hot(y, 3).double()
    found = fisher(model, (x, one_hot), kind="empirical", likelihood="categorical")
    assert_same(found, expected, rtol=1e-12)


def test_soft_targets_give_the_gradient_of_their_cross_entropy() -> None:
    model, x = nn.Linear(2, 3).double(), torch.randn(9, 2, dtype=DOUBLE)
    soft = torch.rand(9, 3, dtype=DOUBLE)
    expected = by_hand(
        dict(model.named_parameters()),
        lambda row: iter([(1.0, (soft[row] * F.log_softmax(model(x[row]), -1)).sum())]),
        9,
    )
    assert_same(fisher(model, (x, soft), kind="empirical", likelihood="categorical"), expected)


def test_drawn_labels_average_to_the_exact_one() -> None:
    model, x = nn.Linear(2, 3).double(), torch.tensor([[0.5, -2.0]], dtype=DOUBLE).repeat(20000, 1)
    data = (x, torch.zeros(20000, dtype=torch.int64))
    sampled = fisher(model, data, kind="sampled", generator=torch.manual_seed(1))
    # One standard error is about .7 %.
    assert_same(sampled, fisher(model, data), rtol=0.04)
    again = fisher(model, data, kind="sampled", generator=torch.manual_seed(1))
    assert all(torch.equal(sampled[name], again[name]) for name in sampled)


def test_the_batched_one_squares_the_mean_gradient_of_each_batch() -> None:
    model, x, y = made("mlp", samples=10)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        loss = F.cross_entropy(model(x[rows]), y[rows])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for name, gradient in zip(expected, gradients, strict=True):
            expected[name] += gradient.square() * len(x[rows]) / 10
    assert_same(fisher(model, (x, y), kind="batched", batch_size=4), expected)
    one_by_one = fisher(model, (x, y), kind="batched", batch_size=1)
    assert_same(one_by_one, fisher(model, (x, y), kind="empirical"))


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_regression_has_a_gaussian_likelihood(kind: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(8, 2, dtype=DOUBLE), torch.randn(8, 2, dtype=DOUBLE)

    def terms(row: int) -> Iterator[tuple[float, Tensor]]:
        out = model(x[row])
        if kind == "exact":
            # The expected square of (y - f) / σ² is 1 / σ².
            yield from ((1 / 0.3, one) for one in out)
        else:
            yield 1.0, torch.distributions.Normal(out, 0.3**0.5).log_prob(y[row]).sum()

    expected = by_hand(dict(model.named_parameters()), terms, 8)
    found = fisher(model, (x, y), kind=kind, likelihood="gaussian", noise_variance=0.3)
    assert_same(found, expected)


def test_drawn_regression_targets_average_to_the_exact_one() -> None:
    model, x = nn.Linear(2, 2).double(), torch.tensor([[0.5, -2.0]], dtype=DOUBLE).repeat(20000, 1)
    options: Any = {"likelihood": "gaussian", "noise_variance": 4.0}
    data = (x, torch.zeros(20000, 2))
    sampled = fisher(model, data, kind="sampled", generator=torch.manual_seed(1), **options)
    # Squares of a normal variable: one standard error is 1 %.
    assert_same(sampled, fisher(model, data, **options), rtol=0.05)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_a_recurrent_network_on_padded_sequences(kind: Any) -> None:
    model = Recurrent().double()
    x, lengths = torch.randn(4, 5, 2, dtype=DOUBLE), torch.tensor([5, 2, 3, 1])
    y = torch.randint(3, (4, 5))

    def terms(row: int) -> Iterator[tuple[float, Tensor]]:
        length = int(lengths[row])
        log_p = F.log_softmax(model(x[row : row + 1, :length]), -1)[0]
        if kind == "empirical":
            yield 1.0, log_p.gather(1, y[row, :length, None]).sum()
        else:
            yield from ((float(one.detach().exp()), one) for one in log_p.flatten())

    expected = by_hand(dict(model.named_parameters()), terms, 4)
    assert_same(fisher(model, (x, y, lengths), kind=kind), expected)


def test_parameters_of_a_hypernetwork() -> None:
    net = MainNetwork(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double())
    hypernet = HMLP(net.target, ConditionSpec(count=2, size=3), hidden=(5,)).double()
    x, y = torch.randn(6, 3, dtype=DOUBLE), torch.randint(3, (6,))
    theta = {
        name: p
        for name, p in hypernet.named_parameters()
        if any(p is one for one in hypernet.unconditional_parameters())
    }

    def terms(row: int) -> Iterator[tuple[float, Tensor]]:
        log_p = F.log_softmax(net(x[row : row + 1], weights=hypernet(1)), -1)[0]
        yield from ((float(one.detach().exp()), one) for one in log_p)

    ways: Any = ("auto", "vmap", "loop")
    for way in ways:
        found = fisher(
            hypernet,
            (x, y),
            parameters="unconditional",
            forward=lambda batch: net(batch.x, weights=hypernet(1)),
            gradients=way,
        )
        assert_same(found, by_hand(theta, terms, 6))


def test_own_parameters_of_a_main_network() -> None:
    module: Any = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    data = (torch.randn(5, 3), torch.arange(5) % 3)
    whole = fisher(module, data)
    head = {"2.weight": module[2].weight.detach().clone(), "2.bias": module[2].bias.detach()}
    net = MainNetwork(module, generate="2.*")
    found = fisher(net, data, forward=lambda batch: net(batch.x, weights=head))
    assert_same(
        {name.removeprefix("module."): f for name, f in found.items()},
        {name: whole[name] for name in ("0.weight", "0.bias")},
    )


def test_only_the_chosen_output_units_have_probabilities() -> None:
    model, x, y = made("mlp")
    units, labels = [2, 0], y % 2
    expected = classes_by_hand(model, x, labels, exact=True, units=units)
    assert_same(fisher(model, (x, labels), output_units=units), expected)
    expected = classes_by_hand(model, x, labels, exact=False, units=units)
    assert_same(fisher(model, (x, labels), kind="empirical", output_units=units), expected)
    assert not expected["2.weight"][1].any()
    wide = F.one_hot(torch.tensor(units)[labels], 3).double()
    found = fisher(model, (x, wide), kind="empirical", output_units=units, likelihood="categorical")
    assert_same(found, expected)


def test_targets_may_be_transformed() -> None:
    model, x, y = made("mlp")
    shifted = fisher(model, (x, y + 5), kind="empirical", target_transform=lambda y: y - 5)
    assert_same(shifted, fisher(model, (x, y), kind="empirical"))


def test_an_own_likelihood_sees_batches_with_ids() -> None:
    model, x, y = made("mlp")
    reliability = torch.rand(7, dtype=DOUBLE)
    split = Split.of(x.float(), y).with_transforms(lambda x, _: x.double())

    def outputs(batch: Any) -> dict[str, Tensor]:
        return {"logits": model(batch.x)}

    def log_likelihood(found: Any, batch: Any) -> Tensor:
        losses = F.cross_entropy(found["logits"], batch.y, reduction="none")
        return -reliability[batch.ids] * losses

    expected = by_hand(
        dict(model.named_parameters()),
        lambda row: iter(
            [(1.0, reliability[row] * F.log_softmax(model(x[row].float().double()), -1)[y[row]])]
        ),
        7,
    )
    ways: Any = ("auto", "vmap", "loop")
    for way in ways:
        found = fisher(
            model,
            split,
            kind="empirical",
            forward=outputs,
            log_likelihood=log_likelihood,
            gradients=way,
        )
        assert_same(found, expected)


def test_a_forward_that_looks_at_values_is_looped() -> None:
    model, x, y = made("mlp")
    scales = {0: 1.0, 1: 2.0, 2: 0.5}

    def outputs(batch: Any) -> Tensor:
        factors = torch.tensor([scales[int(i) % 3] for i in batch.ids])
        out: Tensor = model(batch.x * factors[:, None])
        return out

    scaled = x * torch.tensor([scales[i % 3] for i in range(7)])[:, None]
    model.register_parameter("unused", nn.Parameter(torch.zeros(2, dtype=DOUBLE)))
    found = fisher(model, (x, y), forward=outputs)
    assert not found.pop("unused").any()
    delattr(model, "unused")
    assert_same(found, classes_by_hand(model, scaled, y, exact=True))


def test_a_forward_that_mixes_samples_of_equal_number_is_noticed() -> None:
    """As many conditions as samples: the rows of a layer are no samples there."""
    trunk = nn.Linear(2, 3).double()
    codes, x = torch.randn(2, 2, dtype=DOUBLE), torch.randn(2, 3, dtype=DOUBLE)

    def outputs(batch: Any) -> Tensor:
        # Every sample depends on both rows of the layer.
        out: Tensor = batch.x * trunk(codes).tanh().sum(0)
        return out

    def terms(row: int) -> Iterator[tuple[float, Tensor]]:
        log_p = F.log_softmax(x[row] * trunk(codes).tanh().sum(0), -1)
        yield from ((float(one.detach().exp()), one) for one in log_p)

    expected = by_hand(dict(trunk.named_parameters()), terms, 2)
    assert_same(fisher(trunk, (x, torch.tensor([0, 1])), forward=outputs), expected)


def test_all_forms_of_data_give_the_same() -> None:
    model, x, y = made("mlp", samples=10)
    expected = fisher(model, (x, y), kind="empirical")
    batches = [
        Batch(x[i : i + 3], y[i : i + 3], torch.arange(10)[i : i + 3]) for i in range(0, 10, 3)
    ]
    forms: list[Any] = [
        (x.numpy(), y.numpy()),
        DataLoader(TensorDataset(x, y), batch_size=4),
        batches,
        tuple(batches[:2]) + tuple(batches[2:]),
        iter(batches),
        [(x[:6], y[:6]), (x[6:], y[6:])],
    ]
    for data in forms:
        assert_same(fisher(model, data, kind="empirical"), expected)
    split = fisher(model, Split.of(x, y), kind="empirical")  # in single precision
    assert_same(split, expected, rtol=1e-5)


def test_a_subset_is_random_seeded_and_complete() -> None:
    model, x, y = made("mlp", samples=12)
    single = [fisher(model, (x[i : i + 1], y[i : i + 1]), kind="empirical") for i in range(12)]

    def subset(data: Any, samples: int, seed: int) -> frozenset[int]:
        """Which samples were used, told from the sum of their squares."""
        found = fisher(
            model, data, kind="empirical", samples=samples, generator=torch.manual_seed(seed)
        )
        rows = torch.stack([one["0.weight"].flatten() for one in single], 1)
        share = torch.linalg.lstsq(rows, found["0.weight"].reshape(-1, 1)).solution.flatten()
        assert all(min(abs(v), abs(v - 1 / samples)) < 1e-6 for v in share.tolist())
        return frozenset(i for i, v in enumerate(share.tolist()) if v > 0.5 / samples)

    split = Split.of(x, y).with_transforms(lambda x, _: x.double())
    x = split.all().x
    single = [fisher(model, (x[i : i + 1], y[i : i + 1]), kind="empirical") for i in range(12)]
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    for data in (split, loader):
        chosen = [subset(data, 4, seed) for seed in range(6)]
        assert {len(one) for one in chosen} == {4}
        assert len(set(chosen)) > 3
        assert chosen[2] == subset(data, 4, 2)
        assert len(subset(data, 12, 0)) == 12


def test_proper_scaling_is_the_precision_of_the_laplace_posterior() -> None:
    model, x = nn.Linear(3, 1).double(), torch.randn(40, 3, dtype=DOUBLE)
    data = (x, torch.randn(40, 1, dtype=DOUBLE))
    options: Any = {"likelihood": "gaussian", "noise_variance": 0.5, "proper_scaling": True}
    found = fisher(model, data, prior_precision=2.0, **options)
    torch.testing.assert_close(found["weight"][0], x.square().sum(0) / 0.5 + 2.0)
    torch.testing.assert_close(found["bias"], torch.tensor([40 / 0.5 + 2.0], dtype=DOUBLE))
    # The size of the data counts, not that of the subset.
    part = fisher(model, data, samples=10, **options)
    torch.testing.assert_close(part["bias"], torch.tensor([40 / 0.5], dtype=DOUBLE))
    by_name = fisher(model, data, prior_precision={"bias": torch.tensor([3.0])}, **options)
    torch.testing.assert_close(by_name["bias"], torch.tensor([83.0], dtype=DOUBLE))
    flat = fisher(model, data, prior_precision=torch.arange(4.0), **options)
    torch.testing.assert_close(flat["weight"][0], x.square().sum(0) / 0.5 + torch.arange(3.0))


def test_parameters_are_chosen_by_a_mask() -> None:
    model, x, y = made("mlp")
    whole = fisher(model, (x, y))
    model[0].bias.requires_grad_(False)
    for mask, names in (
        (None, {"0.weight", "2.weight"}),
        ("2.*", {"2.weight"}),
        (["0.weight", "2.weight"], {"0.weight", "2.weight"}),
        (lambda param: param.fan_out == 5, {"0.weight"}),
        ("weight", {"0.weight", "2.weight"}),
    ):
        found = fisher(model, (x, y), parameters=mask)
        assert_same(found, {name: f for name, f in whole.items() if name in names})


def test_the_model_is_left_as_it_was() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    model.train()
    model[1].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        found = fisher(model, (torch.randn(6, 4), torch.arange(6) % 3))
    assert [part.training for part in model] == [True, False, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(tensor.requires_grad for tensor in found.values())
    assert not model[0]._forward_hooks


def test_the_model_is_evaluated_without_dropout() -> None:
    norm: Any = nn.BatchNorm1d(5)
    model = nn.Sequential(nn.Linear(4, 5), norm, nn.Dropout(0.5), nn.Linear(5, 3))
    norm.running_mean.normal_()
    data = (torch.randn(6, 4, dtype=DOUBLE), torch.arange(6) % 3)
    model.double().eval()
    expected = classes_by_hand(model, *data, exact=True)
    assert_same(fisher(model.train(), data), expected)


def test_data_are_not_augmented() -> None:
    model, x, y = made("mlp")
    shifted = Split.of(x, y).with_transforms(lambda x, _: x.double(), Shifted())
    plain = shifted.unaugmented()
    for samples in (None, 7):
        assert_same(fisher(model, shifted, samples=samples), fisher(model, plain))


def test_half_precision_is_squared_in_single() -> None:
    model = nn.Linear(2, 2).bfloat16()
    x = 1e-3 * torch.randn(5, 2)
    found = fisher(model, (x, torch.zeros(5, dtype=torch.int64)))
    assert found["weight"].dtype == torch.float32
    exact = fisher(model.float(), (x.bfloat16().float(), torch.zeros(5, dtype=torch.int64)))
    assert_same(found, exact, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "exacty"}, "kind: there is no 'exacty'; did you mean 'exact'"),
        ({"knd": "exact"}, "there is no option 'knd'; did you mean 'kind'"),
        ({"gradients": "map"}, "gradients: there is no 'map'; did you mean 'vmap'"),
        ({"likelihood": "gauss"}, "likelihood: there is no 'gauss'; did you mean 'gaussian'"),
        ({"noise_variance": 0.0}, "noise_variance must be positive"),
        ({"samples": 0}, "samples must be positive"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"output_units": [1, 1]}, "output_units must name different units"),
        ({"output_units": [7]}, "there is no output unit 7: the model has 3"),
        ({"parameters": "3.*"}, r"no parameter matches '3\.\*'"),
        ({"parameters": "0.wight"}, "no parameter matches '0.wight'; did you mean '0.weight'"),
        ({"parameters": lambda _: False}, "selects none of the module's parameters"),
        ({"prior_precision": -1.0}, "prior_precision must not be negative"),
        ({"prior_precision": torch.ones(3)}, "prior_precision must be a number or have shape"),
        ({"prior_precision": {"0.wight": 1.0}}, "'0.wight'; did you mean '0.weight'"),
        ({"forward": lambda batch: torch.zeros(len(batch), 3)}, "outputs do not depend"),
        ({"log_likelihood": lambda *_: None}, "kind='exact' draws labels"),
        (
            {"kind": "empirical", "log_likelihood": lambda out, _: out.sum()},
            "log_likelihood must return one number per sample",
        ),
    ],
)
def test_what_is_impossible_is_named(options: Any, message: str) -> None:
    model, x, y = made("mlp")
    with pytest.raises(SpecError, match=message) as caught:
        fisher(model, (x, y), **options)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_be_is_named() -> None:
    model, x, y = made("mlp")
    for samples in (8, 100):
        for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=3)):
            with pytest.raises(DataError, match=f"samples={samples}, but the data has only 7"):
                fisher(model, data, samples=samples)
    with pytest.raises(DataError, match="there are no samples"):
        fisher(model, (x[:0], y[:0]))
    with pytest.raises(DataError, match="there are no samples"):
        fisher(model, iter([]))
    with pytest.raises(DataError, match="data is a split, a tuple of arrays"):
        fisher(model, x)
    with pytest.raises(DataError, match="a batch is a Batch or a tuple"):
        fisher(model, [x])
    with pytest.raises(SpecError, match="targets are floating point: say likelihood="):
        fisher(model, (x, torch.randn(7, 3)))
    with pytest.raises(SpecError, match="label 2 is not among the 2 output units"):
        fisher(model, (x, torch.full((7,), 2)), kind="empirical", output_units=[0, 1])
    with pytest.raises(SpecError, match=r"regression targets must have the shape .* \[7, 3\]"):
        fisher(model, (x, torch.randn(7)), kind="empirical", likelihood="gaussian")
    with pytest.raises(DivergedError, match=r"Fisher information of 0\.weight.* is not finite"):
        fisher(model, (x * float("nan"), y))
    with pytest.raises(SpecError, match="a module is expected"):
        fisher(nn.Linear, (x, y))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="none of the chosen parameters needs gradients"):
        fisher(model.requires_grad_(False), (x, y))
