"""One hypernetwork for several networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo._activations import ActivationName
from hypnet_zoo.init.heads import calibration_inputs, init_heads, zero_heads
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart, as_at_start, init_trunk
from hypnet_zoo.layers.hidden import hidden_layers


class SeveralTargets(HyperNetwork):
    """An MLP that writes the weights of several networks, which share conditions and hidden layers; each has a head of its own.

    `hnet(condition, target="decoder")` gives the weights of one network and computes
    its head alone. Without `target` all are written, as one set of weights with
    prefixed names (`decoder.0.weight`).

    Args:
        targets: What to generate, by the name of the network. A name holds no dot.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        hidden: Width of each hidden layer; empty for linear heads alone.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        fan: Start with weights that keep the size of the networks' activations
            (`"in"`), of their gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: There is no target, a name has a dot, or there is no input.

    Example:
        >>> encoder, decoder = TargetSpec.from_shapes([[4, 9], [4]]), TargetSpec.from_shapes([[9, 4], [9]])
        >>> hnet = SeveralTargets({"encoder": encoder, "decoder": decoder}, ConditionSpec(count=3))
        >>> hnet(1, target="decoder")["0"].shape, hnet([0, 2])["decoder.0"].shape
        (torch.Size([9, 4]), torch.Size([2, 9, 4]))
    """

    def __init__(
        self,
        targets: Mapping[str, TargetSpec],
        conditions: ConditionSpec,
        *,
        hidden: tuple[int, ...] = (100, 100),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        fan: Fan = "in",
    ) -> None:
        super().__init__(union(targets), conditions)
        self.targets = dict(targets)
        in_features = sum(self.input_sizes.values())
        if in_features == 0:
            raise SpecError(
                "the hypernetwork has no input: give the conditions a size, or an input_size"
            )
        self.trunk = hidden_layers(
            in_features, hidden, activation=activation, bias=bias, dropout=dropout
        )
        self.activation = activation
        width = hidden[-1] if hidden else in_features
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, target.numel, bias=bias) for name, target in targets.items()}
        )
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

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
        """Start so that the generated weights have the means and variances that the networks should have; see `HMLP.initialize`.

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
        with as_at_start(self.trunk):
            features = self.trunk(
                calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var)
            )
        heads = [head for head in self.heads.values() if isinstance(head, nn.Linear)]
        init_heads(heads, features, self.target, self.starts)

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: the heads are."""
        zero_heads(self.heads.values())

    def forward(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
        target: str | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: See `HyperNetwork.forward`, likewise `cond_input` and
                `uncond_input`.
            cond_input: As above.
            uncond_input: As above.
            target: Name of the network; all of them by default.

        Raises:
            SpecError: There is no such network.
            ConditionError: An id is out of range, an input is missing, or a size is
                wrong.
        """
        if target is None:
            return super().forward(condition, cond_input=cond_input, uncond_input=uncond_input)
        if target not in self.targets:
            raise SpecError(f"there is no target {target!r}{did_you_mean(target, self.targets)}")
        inputs, batched = self.inputs(condition, cond_input, uncond_input)
        flat: Tensor = self.heads[target](self.trunk(inputs))
        return Weights(flat if batched else flat.view(-1), self.targets[target])

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to the flat weights of all targets `[B, numel]`."""
        features = self.trunk(inputs)
        return torch.cat([head(features) for head in self.heads.values()], dim=1)


def union(targets: Mapping[str, TargetSpec]) -> TargetSpec:
    """All targets as one, with prefixed names.

    Raises:
        SpecError: There is none, or a name is empty, has a dot, or is that of an
            attribute of torch's modules.

    Example:
        >>> union({"a": TargetSpec.from_shapes([[2, 3]]), "b": TargetSpec.from_shapes([[2]])}).names
        ('a.0', 'b.0')
    """
    if not targets:
        raise SpecError("there is no target")
    for name in targets:
        if not name or "." in name:
            raise SpecError(f"the name of a target must not be empty or have a dot, got {name!r}")
        if hasattr(nn.ModuleDict, name) or name == "training":
            raise SpecError(
                f"a target cannot be called {name!r}: torch's modules have an attribute of that"
                " name"
            )
    return TargetSpec(
        params=tuple(
            param.model_copy(
                update={
                    "name": f"{name}.{param.name}",
                    "layer": f"{name}.{param.layer}" if param.layer else name,
                }
            )
            for name, target in targets.items()
            for param in target.params
        )
    )
