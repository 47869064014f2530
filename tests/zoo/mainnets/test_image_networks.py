from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from hypnet_core import MainNetwork, TargetSpec, Weights
from hypnet_core.errors import SpecError
from hypnet_core.networks import weights_of
from hypnet_zoo.init import start_from, xavier_
from hypnet_zoo.layers import ContextMod, FromFlatHWC, LocalConv2d, Modulation
from hypnet_zoo.mainnets import MLP, BioConvNet, LeNet, ResNet, ResNetImageNet, WideResNet, ZenkeNet

MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)
SMALL_IMAGENET = {"variant": None, "blocks": (1, 1, 1, 1), "feature_maps": (4, 4, 4, 6, 8)}


@pytest.mark.parametrize(
    ("network", "in_shape", "out", "options", "count"),
    [
        (LeNet, MNIST, 10, {"arch": "mnist_small"}, 21_840),
        (LeNet, MNIST, 10, {"arch": "mnist_large"}, 431_080),
        (LeNet, CIFAR, 10, {"arch": "cifar"}, 5_747_394),
        (ResNet, CIFAR, 10, {"n": 3}, 269_722),
        (ResNet, CIFAR, 10, {"n": 5}, 464_154),
        (ResNet, CIFAR, 10, {"n": 7}, 658_586),
        (ResNet, CIFAR, 10, {"n": 9}, 853_018),
        (ResNet, CIFAR, 10, {"n": 18}, 1_727_962),
        (ResNet, CIFAR, 10, {"n": 3, "conv_bias": True}, 270_410),
        (ResNet, CIFAR, 10, {"n": 5, "conv_bias": True}, 465_290),
        (ResNet, CIFAR, 10, {"n": 7, "conv_bias": True}, 660_170),
        (ResNet, CIFAR, 10, {"n": 9, "conv_bias": True}, 855_050),
        (ResNet, CIFAR, 10, {"n": 18, "conv_bias": True}, 1_732_010),
        (ResNetImageNet, IMAGENET, 1000, {"variant": 18}, 11_689_512),
        (ResNetImageNet, IMAGENET, 1000, {"variant": 34}, 21_797_672),
        (ResNetImageNet, IMAGENET, 1000, {"variant": 50}, 25_557_032),
        (ResNetImageNet, IMAGENET, 1000, {"variant": 101}, 44_549_160),
        (ResNetImageNet, IMAGENET, 1000, {"variant": 152}, 60_192_808),
        (WideResNet, CIFAR, 10, {"n": 4, "k": 10}, 36_479_194),
        (WideResNet, CIFAR, 10, {"n": 6, "k": 2}, 2_243_546),
        (WideResNet, CIFAR, 10, {"n": 2, "k": 4}, 2_748_890),
        (ZenkeNet, CIFAR, 10, {}, 1_250_858),
        (BioConvNet, CIFAR, 10, {}, 20_020_618),
    ],
)
def test_parameter_counts(
    network: Any, in_shape: tuple[int, ...], out: int, options: dict[str, Any], count: int
) -> None:
    with torch.device("meta"):
        module = network(in_shape, out, **options)
    assert sum(p.numel() for p in module.parameters()) == count


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_outputs_equal_torchvisions_with_its_weights(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=7)
    variant: Any = int(name.removeprefix("resnet"))
    with torch.device("meta"):  # a draw of 60 million weights takes longer than the test
        ours = ResNetImageNet((3, 48, 64), 7, variant=variant)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()), assign=True)
    x = torch.randn(2, 3, 48, 64)
    for training in (True, False):
        torch.testing.assert_close(
            ours.train(training)(x), theirs.train(training)(x), atol=1e-4, rtol=1e-4
        )


def test_lenet_equals_a_sequence_of_torchs_layers() -> None:
    torch.manual_seed(0)
    net = LeNet(MNIST, 10)
    reference = nn.Sequential(
        *(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
        ),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )
    reference.load_state_dict(
        dict(zip(reference.state_dict(), net.state_dict().values(), strict=True))
    )
    x = torch.randn(3, *MNIST)
    torch.testing.assert_close(net(x), reference(x))


def test_zenkenet_equals_a_sequence_of_torchs_layers() -> None:
    torch.manual_seed(0)
    net = ZenkeNet(CIFAR, 10).eval()
    reference = nn.Sequential(
        *(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(nn.Flatten(), nn.Linear(2304, 512), nn.ReLU(), nn.Linear(512, 10)),
    )
    reference.load_state_dict(
        dict(zip(reference.state_dict(), net.state_dict().values(), strict=True))
    )
    x = torch.randn(2, *CIFAR)
    torch.testing.assert_close(net(x), reference(x))
    assert net.dropout.p == 0.25
    assert net.hidden_dropout.p == 0.5


def test_a_residual_block_without_its_convolutions_is_its_shortcut() -> None:
    net = ResNet((1, 8, 8), 2, n=1, feature_maps=(2, 2, 5, 8), statistics=None)
    for name, parameter in net.groups.named_parameters():
        assert "conv" in name
        nn.init.zeros_(parameter)
    x = torch.rand(3, 1, 8, 8)
    h = torch.relu(net.conv1(x))
    expected = torch.zeros(3, 8, 2, 2)
    expected[:, 2:4] = h[:, :, ::4, ::4]  # 2 maps became 5 (1 + 2 + 2), then 8 (1 + 5 + 2)
    torch.testing.assert_close(net.groups(h), expected)


def test_local_network_with_equal_filters_is_a_convolutional_one() -> None:
    torch.manual_seed(0)
    net = BioConvNet((1, 13, 13), 3)
    convolutions = []
    for layer in net.children():
        if isinstance(layer, LocalConv2d):
            conv = nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
            )
            assert layer.bias is not None
            assert conv.bias is not None
            with torch.no_grad():
                layer.weight.copy_(conv.weight)
                layer.bias.copy_(conv.bias)
            convolutions.append(conv)
    x = torch.randn(4, 1, 13, 13)
    h = x
    for conv in convolutions:
        h = torch.tanh(conv(h))
    torch.testing.assert_close(net(x), net.out(torch.tanh(net.fc1(h.flatten(1)))))
    assert [list(a.shape) for a in net.activations(x)][:3] == [
        [4, 64, 5, 5],
        [4, 128, 1, 1],
        [4, 256, 1, 1],
    ]


SMALL: list[tuple[Any, tuple[int, ...], dict[str, Any]]] = [
    (MLP, (2, 3), {"hidden": (5,)}),
    (LeNet, (1, 16, 16), {"arch": "mnist_small"}),
    (ZenkeNet, (1, 10, 10), {"dropout": 0.0}),
    (ResNet, (1, 6, 6), {"n": 1, "feature_maps": (3, 3, 4, 5)}),
    (WideResNet, (1, 6, 6), {"n": 1, "k": 1, "feature_maps": (3, 3, 4, 5)}),
    (ResNetImageNet, (1, 32, 32), SMALL_IMAGENET),
    (
        ResNetImageNet,
        (1, 8, 8),
        {**SMALL_IMAGENET, "bottleneck": True, "small_images": True, "shortcut": "padding"},
    ),
    (BioConvNet, (1, 13, 13), {}),
]


@pytest.mark.parametrize(
    ("network", "in_shape", "options"), SMALL, ids=lambda v: getattr(v, "__name__", "")
)
@pytest.mark.parametrize(
    "modulation",
    [{}, {"inputs": True, "pixelwise": True}, {"position": "after", "output": False}],
    ids=str,
)
def test_context_modulation_in_every_network(
    network: Any, in_shape: Any, options: Any, modulation: Any
) -> None:
    torch.manual_seed(0)
    plain = network(in_shape, 3, **options).eval()
    module = network(in_shape, 3, **options, context_mod=Modulation(**modulation)).eval()
    start_from(
        plain, {name: p for name, p in module.named_parameters() if ".context." not in f".{name}"}
    )
    x = torch.rand(4, *in_shape)
    torch.testing.assert_close(module(x), plain(x))  # gains of 1 and shifts of 0
    contexts = [layer for layer in module.modules() if isinstance(layer, ContextMod)]
    for layer in contexts:
        layer.normal_(0.3)
    assert not torch.allclose(module(x), plain(x))
    net = MainNetwork(module, generate=("gain", "shift")).eval()
    assert net.target.numel == sum(2 * layer.shape_numel for layer in contexts)
    weights = Weights(torch.randn(2, net.target.numel), net.target)
    expected = torch.stack([net(x, weights=one) for one in weights.unbind()])
    torch.testing.assert_close(net(x, weights=weights), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("network", "in_shape", "options"), SMALL[:6], ids=lambda v: getattr(v, "__name__", "")
)
def test_spectral_norm_in_every_network(network: Any, in_shape: Any, options: Any) -> None:
    torch.manual_seed(0)
    module = network(in_shape, 3, **options, spectral_norm=True)
    for _ in range(30):
        module(torch.rand(4, *in_shape))
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
                1, abs=0.05
            )


@pytest.mark.parametrize("network", [ResNet, WideResNet])
@pytest.mark.parametrize("statistics", ["running", "batch", "frozen", "learnable", None])
def test_statistics_of_residual_networks(network: Any, statistics: Any) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "n": 1,
        "k": 1,
        "feature_maps": (3, 3, 4, 5),
        "statistics": statistics,
    }
    net = MainNetwork(network((1, 6, 6), 2, **options)).train()
    x = torch.rand(5, 1, 6, 6)
    weights = weights_of(network((1, 6, 6), 2, **options))
    y = net(x, weights=weights)
    alone = net.eval()(x[:1], weights=weights)
    depends = not torch.allclose(net(x, weights=weights)[:1], alone, atol=1e-5)
    assert depends is (statistics == "batch")
    assert bool(net.stats.params) is (statistics == "running")
    assert torch.isfinite(y).all()


def test_statistics_of_a_condition_and_distilled_ones() -> None:
    torch.manual_seed(0)
    module = ResNet((1, 6, 6), 2, n=1, feature_maps=(3, 3, 4, 5))
    weights = weights_of(module)
    net = MainNetwork(module).train()
    x = torch.rand(8, 1, 6, 6)
    for _ in range(5):
        net(x, weights=weights, condition=0)
        net(5 * x, weights=weights, condition=1)
    net.eval()
    first = net(x, weights=weights, condition=0)
    assert not torch.allclose(first, net(x, weights=weights, condition=1), atol=1e-3)
    torch.testing.assert_close(net(x, weights=weights, stats=net.statistics(0)), first)


@pytest.mark.parametrize(
    ("network", "in_shape", "options"), SMALL, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_mask_of_chosen_outputs_and_weights_from_outside(
    network: Any, in_shape: Any, options: Any
) -> None:
    torch.manual_seed(0)
    module = network(in_shape, 4, **options).eval()
    xavier_(module)
    twin = network(in_shape, 4, **options).eval()
    start_from(twin, weights_of(module))
    x = torch.rand(2, *in_shape)
    net = MainNetwork(copy.deepcopy(module)).eval()
    weights = weights_of(module)
    weights.flat.requires_grad_()
    y = net(x, weights=weights)
    mask = torch.tensor(TargetSpec.of(module).output_mask([1, 3]))
    (gradient,) = torch.autograd.grad(y[:, [1, 3]].square().sum(), weights.flat)
    assert not gradient[~mask].any()
    assert (~mask).sum() == 2 * (
        module.get_submodule("fc" if hasattr(module, "fc") else "out").in_features + 1
    )
    torch.testing.assert_close(twin(x), y)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("part", [None, "out.*", "conv2.*"])
@pytest.mark.parametrize("images", [3, 9])
def test_lenets_batched_form_equals_the_loop(paired: bool, part: Any, images: int) -> None:
    torch.manual_seed(0)
    module = LeNet((2, 16, 18), 3, arch="mnist_small").double()
    net = MainNetwork(copy.deepcopy(module), generate=part)
    loop = MainNetwork(module, generate=part, batching="loop")
    weights = Weights(
        torch.randn(4, net.target.numel, dtype=torch.float64, requires_grad=True), net.target
    )
    x = torch.randn(*((4,) if paired else ()), images, 2, 16, 18, dtype=torch.float64)
    actual, expected = (n(x, weights=weights, paired=paired) for n in (net, loop))
    assert net.batching_used == "native"
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad(y.square().sum(), weights.flat)[0] for y in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_dropout_stands_where_it_should() -> None:
    torch.manual_seed(0)
    net = WideResNet((1, 6, 6), 2, n=1, k=1, feature_maps=(3, 3, 4, 5), dropout=0.5)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in net.modules()) == 3
    x = torch.rand(2, 1, 6, 6)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    lenet = LeNet((1, 16, 16), 2, dropout=0.5)
    x = torch.rand(2, 1, 16, 16)
    assert not torch.equal(lenet(x), lenet(x))


def test_flat_hwc_images_go_through_the_adapter() -> None:
    torch.manual_seed(0)
    net = ZenkeNet((3, 10, 12), 2).eval()
    x = torch.rand(2, 3, 10, 12)
    flat = x.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(nn.Sequential(FromFlatHWC((3, 10, 12)), net)(flat), net(x))


@pytest.mark.parametrize(
    ("network", "arguments", "options", "message"),
    [
        (LeNet, (MNIST, 10), {"arch": "mnist_big"}, "arch: there is no LeNet 'mnist_big'"),
        (LeNet, ((1, 15, 28), 10), {}, "at least 16x16 pixels, got 15x28"),
        (LeNet, ((784,), 10), {}, r"in_shape must be \(C, H, W\) with positive sizes, got \[784\]"),
        (LeNet, (MNIST, 0), {}, "out_features must be positive"),
        (LeNet, (MNIST, 10), {"dropout": -0.1}, "dropout must lie in"),
        (ZenkeNet, (CIFAR, 10), {"dropout": 0.5}, r"dropout must lie in \[0, 0.5\)"),
        (ZenkeNet, ((3, 9, 9), 10), {}, "at least 10x10"),
        (BioConvNet, ((3, 12, 32), 10), {}, "at least 13x13"),
        (ResNet, (CIFAR, 10), {"n": 0}, "n and k must be at least 1, got 0 and 1"),
        (ResNet, (CIFAR, 10), {"feature_maps": (16, 16, 32)}, "four positive numbers"),
        (ResNet, (CIFAR, 10), {"statistics": "none"}, "there are no statistics 'none'"),
        (WideResNet, (CIFAR, 10), {"k": 0}, "n and k must be at least 1, got 4 and 0"),
        (WideResNet, (CIFAR, 10), {"dropout": 1.0}, "dropout must lie in"),
        (ResNetImageNet, (CIFAR, 10), {"variant": 20}, "no ResNet 20; there is: 18, 34, 50"),
        (ResNetImageNet, (CIFAR, 10), {"variant": None, "blocks": (2, 2)}, "blocks must be four"),
        (ResNetImageNet, (CIFAR, 10), {"feature_maps": (1, 2, 3, 4)}, "feature_maps must be five"),
        (ResNetImageNet, (CIFAR, 10), {"shortcut": "identity"}, "shortcut: there is no 'identity'"),
    ],
)
def test_impossible_options_are_named(
    network: Any, arguments: Any, options: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        network(*arguments, **options)


@pytest.mark.parametrize(
    ("network", "in_shape", "options"), SMALL, ids=lambda v: getattr(v, "__name__", "")
)
def test_inputs_of_the_wrong_shape_are_named(network: Any, in_shape: Any, options: Any) -> None:
    with pytest.raises(SpecError, match="expects samples of shape"):
        network(in_shape, 2, **options)(torch.zeros(2, *in_shape, 2))


@pytest.mark.parametrize("shape", [(2, 784), (2, 1, 32, 32), (2, 3, 28, 28)], ids=str)
@pytest.mark.parametrize("paired", [False, True])
def test_lenets_batched_form_names_inputs_of_the_wrong_shape(
    shape: tuple[int, ...], paired: bool
) -> None:
    net = MainNetwork(LeNet(MNIST, 10, arch="mnist_small"))
    weights = Weights(torch.zeros(2, net.target.numel), net.target)
    with pytest.raises(SpecError, match="expects samples of shape"):
        net(
            torch.zeros(2, *shape) if paired else torch.zeros(shape), weights=weights, paired=paired
        )
