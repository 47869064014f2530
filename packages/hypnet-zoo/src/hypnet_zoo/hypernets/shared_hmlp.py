"""One small head for all tensors of a shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo._activations import ActivationName
from hypnet_zoo._chunking.products import pairs
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart, as_at_start, init_trunk
from hypnet_zoo.layers.hidden import hidden_layers
from hypnet_zoo.layers.per_tensor import PerTensor

_ROWS = 128
_SCALARS = 2**25


class SharedHMLP(HyperNetwork):
    r"""An MLP with one head per shape, which writes all tensors of that shape.

    What tells tensors apart are learned embeddings of their layer $l_t$, kind $k_t$ and
    depth $d_t$. The hidden layers read them beside the condition, and a gain and a
    shift of its own bring each tensor to its size:

    $$ \omega_t = a_t\, H_{\mathrm{shape}(t)}\, \phi(e, u, l_t, k_t, d_t) + b_t $$

    Tensors have the same layer if their layers' names agree once numbers are replaced:
    `blocks.3.conv1` and `blocks.7.conv2` are both `blocks.*.conv*`. Their depth is
    their rank among the tensors whose full names agree so. A network twice as deep
    needs more depth embeddings and no larger head. All tensors and all conditions make
    one batch.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        layer_embedding_size: Length of a layer's embedding.
        kind_embedding_size: Length of a kind's embedding.
        depth_embedding_size: Length of a depth's embedding.
        hidden: Width of each hidden layer; empty for heads that read the embeddings
            themselves.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: A width is not positive, or the size of an embedding is negative.

    Example:
        >>> def count(blocks):
        ...     net = nn.Sequential(*(nn.Linear(50, 50) for _ in range(blocks)))
        ...     return sum(p.numel() for p in SharedHMLP(TargetSpec.of(net), ConditionSpec(count=1)).parameters())
        >>> (count(6) - count(3)) // 3  # a depth embedding for a weight and its bias, and a gain and a shift for each
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
        hidden: tuple[int, ...] = (100, 100),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        fan: Fan = "in",
    ) -> None:
        super().__init__(target, conditions)
        self.tags = nn.ParameterDict()
        self._places: dict[str, list[int]] = {}
        layers = [pattern_of(param.layer or param.name) for param in target.params]
        self._tell_apart("layer", layers, layer_embedding_size)
        self._tell_apart("kind", [param.kind for param in target.params], kind_embedding_size)
        self._tell_apart("depth", depths_of(target), depth_embedding_size)
        sizes = [
            *self.input_sizes.values(),
            layer_embedding_size,
            kind_embedding_size,
            depth_embedding_size,
        ]
        self.trunk = hidden_layers(
            sum(sizes), hidden, activation=activation, bias=bias, dropout=dropout
        )
        self.activation = activation
        self.shapes: dict[tuple[int, ...], list[int]] = {}
        for number, param in enumerate(target.params):
            self.shapes.setdefault(param.shape, []).append(number)
        width = hidden[-1] if hidden else sum(sizes)
        self.heads = nn.ModuleList(
            nn.Linear(width, target.params[numbers[0]].numel, bias=bias)
            for numbers in self.shapes.values()
        )
        self.per_tensor = PerTensor(target)
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

    def _tell_apart(self, name: str, values: Sequence[object], size: int) -> None:
        """One embedding for each value, and which of them each tensor has."""
        if size < 0:
            raise SpecError(f"{name}_embedding_size must not be negative, got {size}")
        known = list(dict.fromkeys(values))
        self.tags[name] = nn.Parameter(torch.randn(len(known), size))
        self._places[name] = [known.index(value) for value in values]

    @torch.no_grad()
    def initialize(
        self,
        *,
        fan: Fan = "in",
        scheme: Scheme = "kaiming",
        bias: BiasStart = "zero",
        trunk: TrunkStart = "kaiming",
        overrides: Mapping[str, Start | tuple[float, float]] | None = None,
        cond_var: float = 1.0,
        uncond_var: float = 1.0,
    ) -> None:
        """Start so that the generated weights have the means and variances that the main network should have.

        Tensors that share a head may want different things: heads write numbers of
        variance about 1, and gain and shift of each tensor are set from what is
        measured.

        Args:
            fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme`, `bias`
                and `overrides`.
            scheme: As above.
            bias: As above.
            trunk: How the hidden layers start.
            overrides: As above.
            cond_var: Variance of embeddings, if they come from the caller.
            uncond_var: Variance of unconditional inputs.
        """
        self.starts = wanted_starts(
            self.target, fan=fan, scheme=scheme, bias=bias, overrides=overrides
        )
        init_trunk(self.trunk, self.activation, start=trunk)
        init_trunk(self.heads, None, start=trunk)
        samples = max(8, min(max(_ROWS, self.conditions.count), _SCALARS // self.target.numel))
        inputs = calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var, samples=samples)
        with as_at_start(self.trunk):
            self.per_tensor.start(self.starts, self._written(inputs[:samples]))

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: gains and shifts are."""
        self.per_tensor.zero_()

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all that is generated."""
        self.per_tensor.scale_(factor)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        weights: Tensor = self.per_tensor(self._written(inputs))
        return weights

    def _written(self, inputs: Tensor) -> Tensor:
        """What the heads write for all tensors of the target, in its order: `[B, numel]`."""
        tags = torch.cat([self.tags[name][places] for name, places in self._places.items()], dim=1)
        features = self.trunk(pairs(inputs, tags))
        written: dict[int, Tensor] = {}
        for head, numbers in zip(self.heads, self.shapes.values(), strict=True):
            written |= zip(numbers, head(features[:, numbers]).unbind(1), strict=True)
        return torch.cat([written[number] for number in range(len(self.target))], dim=1)


def pattern_of(name: str) -> str:
    """A name with its numbers replaced.

    Example:
        >>> pattern_of("groups.2.10.conv1.weight")
        'groups.*.*.conv*.weight'
    """
    return re.sub(r"\d+", "*", name)


def depths_of(target: TargetSpec) -> list[int]:
    """The rank of each tensor among those whose names have the same pattern.

    Example:
        >>> depths_of(TargetSpec.from_shapes([[3], [3], [3]], names=["block.0.weight", "block.1.weight", "out.weight"]))
        [0, 1, 0]
    """
    seen: dict[str, int] = {}
    depths = []
    for param in target.params:
        pattern = pattern_of(param.name)
        depths.append(seen.get(pattern, 0))
        seen[pattern] = depths[-1] + 1
    return depths
