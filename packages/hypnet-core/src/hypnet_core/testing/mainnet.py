"""Checks for main networks.

Hints: `in_shapes` (shapes of one sample to try, `[(1, 8, 8)]` by default),
`out_features` (numbers of outputs, `[3]`), `options` (options that make a large network
smaller for the checks) and, for networks of sequences, `sequence_length`: samples are
then `[T, *in_shape]` and have one row of outputs per time step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hypnet_core.networks.main_network import MainNetwork
from hypnet_core.networks.weights import Weights, weights_of
from hypnet_core.params import DeclaresFans, DeclaresKinds
from hypnet_core.protocols import KeepsTensors
from hypnet_core.specs import ParamKind
from hypnet_core.testing.copies import equals_fresh_copies, expect_near
from hypnet_core.testing.kit import Check, Subject, expect

_BATCH = 4


def _build(subject: Subject, in_shape: Sequence[int], out_features: int) -> nn.Module:
    options = {**subject.hint("options", {}), **subject.options}
    built: nn.Module = subject.build(tuple(in_shape), out_features, **options)
    return built


def _cases(subject: Subject) -> Iterator[tuple[nn.Module, Tensor, int]]:
    """A module, a batch of inputs, and the number of outputs, for each hinted shape."""
    steps = subject.hint("sequence_length")
    for in_shape in subject.hint("in_shapes", [(1, 8, 8)]):
        for out_features in subject.hint("out_features", [3]):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                module = _build(subject, in_shape, out_features)
                yield (
                    module,
                    torch.rand(_BATCH, *([steps] if steps else []), *in_shape),
                    out_features,
                )


def it_is_a_plain_module(subject: Subject) -> None:
    """It is an `nn.Module` with parameters."""
    for module, _, _ in _cases(subject):
        expect(isinstance(module, nn.Module), f"{type(module).__name__} is not an nn.Module")
        expect(any(True for _ in module.parameters()), "it has no parameters to generate")


def it_gives_one_row_of_outputs_per_sample(subject: Subject) -> None:
    """Inputs `[N, *in_shape]` give finite outputs `[N, out_features]`."""
    for module, x, out_features in _cases(subject):
        y = module.eval()(x)
        samples = x.shape[: 2 if subject.hint("sequence_length") else 1]
        expected = [*samples, out_features]
        expect(
            list(y.shape) == expected,
            f"inputs {list(x.shape)} gave {list(y.shape)}, expected {expected}",
        )
        expect(bool(torch.isfinite(y).all()), "outputs are not finite")


def it_equals_itself_with_its_weights_from_outside(subject: Subject) -> None:
    """Its own weights from outside give the same outputs and gradients."""
    for module, x, _ in _cases(subject):
        module.eval()
        weights = weights_of(module)
        weights.flat.requires_grad_()
        net = MainNetwork(copy.deepcopy(module)).eval()
        own, outside = module(x), net(x, weights=weights)
        expect_near(outside, own, "outputs")
        own.square().sum().backward()
        outside.square().sum().backward()
        gradients = [
            p.grad if p.grad is not None else torch.zeros_like(p) for p in module.parameters()
        ]
        if weights.flat.grad is None:
            raise AssertionError("no gradient reached the weights from outside")
        expect_near(weights.flat.grad, torch.cat([g.flatten() for g in gradients]), "gradients")


def a_batch_of_weights_equals_one_by_one(subject: Subject) -> None:
    """A batch of weights equals the sets one by one, with shared and paired inputs."""
    for module, x, _ in _cases(subject):
        start = weights_of(module)
        net = MainNetwork(module).eval()
        weights = Weights(start.flat + 0.05 * torch.randn(3, net.target.numel), net.target)
        expected = torch.stack([net(x, weights=one) for one in weights.unbind()])
        expect_near(net(x, weights=weights), expected, "outputs for one input")
        inputs = torch.stack([x, x.flip(0), 2 * x])
        expected = torch.stack(
            [net(inputs[i], weights=one) for i, one in enumerate(weights.unbind())]
        )
        expect_near(
            net(inputs, weights=weights, paired=True), expected, "outputs for paired inputs"
        )


def other_weights_give_what_fresh_copies_give(subject: Subject) -> None:
    """Weights in turn and in batches equal fresh copies, in evaluation and training."""
    for module, x, _ in _cases(subject):
        for training in (False, True):
            equals_fresh_copies(module, (x,), training=training)


def a_gradient_reaches_every_parameter(subject: Subject) -> None:
    """In training, a gradient reaches every parameter."""
    for module, x, _ in _cases(subject):
        module.train()(x).square().sum().backward()
        without = [
            name for name, p in module.named_parameters() if p.requires_grad and p.grad is None
        ]
        expect(not without, f"no gradient reaches {', '.join(without)}")


def every_parameter_has_a_kind(subject: Subject) -> None:
    """Initialisation knows the kind of each parameter: none is `other`."""
    for module, _, _ in _cases(subject):
        unknown = [param.name for param in MainNetwork(module).spec.params if param.kind == "other"]
        expect(
            not unknown,
            f"the kind of {', '.join(unknown)} is not known: let its layer declare it in"
            " `param_kinds`",
        )


def its_layers_declare_what_they_have(subject: Subject) -> None:
    """Layers declare kinds, fans and tensors per condition of their own parameters."""
    for module, _, _ in _cases(subject):
        for name, layer in module.named_modules():
            shapes = {key: p.shape for key, p in layer.named_parameters(recurse=False)}
            if isinstance(layer, DeclaresKinds):
                unknown = set(layer.param_kinds.values()) - {kind.value for kind in ParamKind}
                expect(not unknown, f"{name} declares the kinds {unknown}, which do not exist")
            if isinstance(layer, DeclaresFans):
                wrong = [key for key, fans in layer.param_fans.items() if min(fans) < 1]
                expect(not wrong, f"{name} declares fans below 1 for {wrong}")
            if isinstance(layer, KeepsTensors):
                for key, tensor in layer.tensors_at(0).items():
                    expect(
                        tensor.shape == shapes.get(key),
                        f"{name} keeps {key} {list(tensor.shape)} per condition, which is not"
                        " the shape of a parameter",
                    )


def its_state_can_be_saved_and_loaded(subject: Subject) -> None:
    """A second module with the first one's `state_dict` gives the same outputs."""
    for module, x, out_features in _cases(subject):
        in_shape = x.shape[2 if subject.hint("sequence_length") else 1 :]
        twin = _build(subject, in_shape, out_features)
        twin.load_state_dict(module.state_dict())
        expect_near(twin.eval()(x), module.eval()(x), "outputs")


def samples_do_not_touch_each_other_in_evaluation(subject: Subject) -> None:
    """In evaluation, a sample's output does not depend on the rest of the batch."""
    for module, x, _ in _cases(subject):
        module.train()(x)
        module.eval()
        expect_near(module(x[:1]), module(x)[:1], "the first sample's outputs alone and in a batch")


CHECKS: tuple[Check, ...] = (
    it_is_a_plain_module,
    it_gives_one_row_of_outputs_per_sample,
    it_equals_itself_with_its_weights_from_outside,
    a_batch_of_weights_equals_one_by_one,
    other_weights_give_what_fresh_copies_give,
    a_gradient_reaches_every_parameter,
    every_parameter_has_a_kind,
    its_layers_declare_what_they_have,
    its_state_can_be_saved_and_loaded,
    samples_do_not_touch_each_other_in_evaluation,
)
