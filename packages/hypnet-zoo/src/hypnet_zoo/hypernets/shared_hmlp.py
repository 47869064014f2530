"""An MLP with one head for all tensors of a shape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import Condition, LinearHead
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.options import Init, InitOption, chosen_options
from hypnet_zoo.init.products import pairs
from hypnet_zoo.init.trunk import as_at_start, draw_trunk
from hypnet_zoo.layers.activations import activation_type
from hypnet_zoo.layers.hidden import HiddenOptions, hidden_layers
from hypnet_zoo.layers.per_tensor import PerTensor

# Rows and generated scalars to measure the start with.
_ROWS = 128
_SCALARS = 2**25


class SharedHMLPOptions(HiddenOptions, InitOption, total=False):
    """Options that `SharedHMLP` has in common with other MLPs."""


class SharedHMLP(InitializedHyperNetwork):
    r"""An MLP with one head per shape, which writes all tensors of that shape.

    Learned embeddings of layer $l_t$, kind $k_t$ and depth $d_t$ distinguish the
    tensors. The hidden layers read them beside the condition, and a gain and a shift
    bring each tensor to its size:

    $$ \omega_t = a_t\, H_{\mathrm{shape}(t)}\, \phi(e, u, l_t, k_t, d_t) + b_t $$

    Tensors have the same layer embedding if the names of their layers agree once
    numbers are replaced: `blocks.3.conv1` and `blocks.7.conv2` are both
    `blocks.*.conv*`. Their depth is their rank among the tensors whose full names agree
    in this way. A network twice as deep needs more depth embeddings but no larger head.
    All tensors and all conditions make one batch.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        layer_embedding_size: Length of a layer's embedding.
        kind_embedding_size: Length of a kind's embedding.
        depth_embedding_size: Length of a depth's embedding.
        **options: See `SharedHMLPOptions`.

    Raises:
        SpecError: A width is not positive, or the size of an embedding is negative.

    Example:
        Each further layer adds a depth embedding for a weight and its bias, and a gain
        and a shift for both:

        >>> def count(blocks):
        ...     net = nn.Sequential(*(nn.Linear(50, 50) for _ in range(blocks)))
        ...     hnet = SharedHMLP(TargetSpec.of(net), ConditionSpec(count=1))
        ...     return sum(p.numel() for p in hnet.parameters())
        >>> (count(6) - count(3)) // 3
        12
    """

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        layer_embedding_size: int = 8,
        kind_embedding_size: int = 4,
        depth_embedding_size: int = 8,
        **options: Unpack[SharedHMLPOptions],
    ) -> None:
        chosen = chosen_options(SharedHMLPOptions, options)
        super().__init__(target, conditions, chosen["init"])
        self.tags = nn.ParameterDict()
        self._places: dict[str, list[int]] = {}
        layers = [pattern_of(param.layer or param.name) for param in target.params]
        self._embed("layer", layers, layer_embedding_size)
        self._embed("kind", [param.kind for param in target.params], kind_embedding_size)
        self._embed("depth", depths_of(target), depth_embedding_size)
        in_features = sum(
            (
                *self.input_sizes.values(),
                layer_embedding_size,
                kind_embedding_size,
                depth_embedding_size,
            )
        )
        self.trunk = hidden_layers(in_features, chosen)
        self.activation = chosen["activation"]
        # Heads exist once per shape; the lists hold the numbers of its tensors.
        self.shapes: dict[tuple[int, ...], list[int]] = {}
        for number, param in enumerate(target.params):
            self.shapes.setdefault(param.shape, []).append(number)
        width = chosen["hidden"][-1] if chosen["hidden"] else in_features
        self.heads = nn.ModuleList(
            nn.Linear(width, target.params[numbers[0]].numel, bias=chosen["bias"])
            for numbers in self.shapes.values()
        )
        self.per_tensor = PerTensor(target)
        self.initialize()

    def _embed(self, name: str, values: Sequence[object], size: int) -> None:
        """Make one embedding for each value, and note which of them each tensor has."""
        if size < 0:
            raise SpecError(f"{name}_embedding_size must not be negative, got {size}")
        # First occurrence first, so that the parameters have a stable order.
        known = list(dict.fromkeys(values))
        self.tags[name] = nn.Parameter(torch.randn(len(known), size))
        self._places[name] = [known.index(value) for value in values]

    def _initialize(self, init: Init) -> None:
        """Let heads write numbers of variance about 1, and fit gains and shifts.

        Tensors that share a head may need different moments, so the heads cannot have
        them.
        """
        draw_trunk(
            self.trunk, activation_type(self.activation), scheme=init.trunk, factor=init.trunk_gain
        )
        # Heads are linear, so no activation shrinks their outputs. They are so large
        # that a conventional draw keeps lengths.
        draw_trunk(self.heads, None, scheme="kaiming")
        samples = max(8, min(max(_ROWS, self.conditions.count), _SCALARS // self.target.numel))
        inputs = calibration_inputs(self, init, samples=samples)
        with as_at_start(self.trunk):
            self.per_tensor.fit(self.starts, self._written(inputs[:samples]))

    def start_at_zero(self) -> None:
        """Set gains and shifts to zero, so that every weight is exactly zero."""
        self.per_tensor.zero_()

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all generated weights."""
        self.per_tensor.scale_(factor)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        weights: Tensor = self.per_tensor(self._written(inputs))
        return weights

    def heads_at(self, condition: Condition) -> list[LinearHead]:
        r"""The heads, extended so that gains and shifts are features.

        $a_t (H z + h) + b_t$ is the product of $[H, h, 1]$ and $[a_t z, a_t, b_t]$.
        """
        inputs, _ = self.inputs(condition)
        features = self._features(inputs)
        found = []
        for head, numbers in self._heads():
            gain, shift = (
                one[numbers].expand(len(inputs), -1).unsqueeze(2)
                for one in (self.per_tensor.gain, self.per_tensor.shift)
            )
            weight = [head.weight, torch.ones_like(head.weight[:, :1])]
            read = [gain * features[:, numbers], shift]
            if head.bias is not None:
                weight.append(head.bias.unsqueeze(1))
                read.append(gain)
            found.append(LinearHead(torch.cat(read, dim=2), torch.cat(weight, dim=1)))
        return found

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts: as much as the weight that it becomes."""
        parts = importance.split(list(self.target.sizes))
        return [torch.stack([parts[number] for number in numbers]) for _, numbers in self._heads()]

    def _heads(self) -> list[tuple[nn.Linear, list[int]]]:
        """Heads that write anything, and the numbers of their tensors."""
        return [
            (head, numbers)
            for head, numbers in zip(self.heads, self.shapes.values(), strict=True)
            if isinstance(head, nn.Linear) and head.out_features
        ]

    def _features(self, inputs: Tensor) -> Tensor:
        """Inputs of the heads for all tensors: `[B, T, d]`."""
        tags = torch.cat([self.tags[name][places] for name, places in self._places.items()], dim=1)
        features: Tensor = self.trunk(pairs(inputs, tags))
        return features

    def _written(self, inputs: Tensor) -> Tensor:
        """Outputs of the heads for all tensors, in order: `[B, numel]`."""
        features = self._features(inputs)
        # Heads write by shape; the target wants its own order.
        written: dict[int, Tensor] = {}
        for head, numbers in zip(self.heads, self.shapes.values(), strict=True):
            # [B, tensors of the shape, numel], taken apart without copies
            written |= zip(numbers, head(features[:, numbers]).unbind(1), strict=True)
        return torch.cat([written[number] for number in range(len(self.target))], dim=1)


def pattern_of(name: str) -> str:
    """Replace the numbers in a name.

    Example:
        >>> pattern_of("groups.2.10.conv1.weight")
        'groups.*.*.conv*.weight'
    """
    return re.sub(r"\d+", "*", name)


def depths_of(target: TargetSpec) -> list[int]:
    """The rank of each tensor among those whose names have the same pattern.

    Example:
        >>> names = ["block.0.weight", "block.1.weight", "out.weight"]
        >>> depths_of(TargetSpec.from_shapes([[3], [3], [3]], names=names))
        [0, 1, 0]
    """
    seen: dict[str, int] = {}
    depths = []
    for param in target.params:
        pattern = pattern_of(param.name)
        depths.append(seen.get(pattern, 0))
        seen[pattern] = depths[-1] + 1
    return depths
