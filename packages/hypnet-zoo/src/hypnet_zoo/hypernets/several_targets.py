"""One hypernetwork for several networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.networks import Condition, LinearHead, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork
from hypnet_zoo.init.effects import MOMENTS, TRUNK
from hypnet_zoo.init.heads import calibration_inputs, draw_heads, zero_heads
from hypnet_zoo.init.options import Init, InitOption, chosen_options
from hypnet_zoo.init.trunk import as_at_start, draw_trunk, is_drawn
from hypnet_zoo.layers.activations import activation_type
from hypnet_zoo.layers.hidden import HiddenOptions, hidden_layers


class SeveralTargetsOptions(HiddenOptions, InitOption, total=False):
    """Options of `SeveralTargets`."""


class SeveralTargets(InitializedHyperNetwork):
    """An MLP that writes the weights of several networks, with a head for each.

    The networks share conditions and hidden layers. `hnet(condition, target="decoder")`
    gives the weights of one network and computes its head alone. Without `target` all
    are written, as one set of weights with prefixed names (`decoder.0.weight`).

    Args:
        targets: The parameters to generate, by the name of the network. A name holds no
            dot.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        **options: See `SeveralTargetsOptions`.

    Raises:
        SpecError: There is no target, a name has a dot, or there is no input.

    Example:
        >>> encoder = TargetSpec.from_shapes([[4, 9], [4]])
        >>> decoder = TargetSpec.from_shapes([[9, 4], [9]])
        >>> targets = {"encoder": encoder, "decoder": decoder}
        >>> hnet = SeveralTargets(targets, ConditionSpec(count=3))
        >>> hnet(1, target="decoder")["0"].shape, hnet([0, 2])["decoder.0"].shape
        (torch.Size([9, 4]), torch.Size([2, 9, 4]))
    """

    def __init__(
        self,
        targets: Mapping[str, TargetSpec],
        conditions: ConditionSpec,
        **options: Unpack[SeveralTargetsOptions],
    ) -> None:
        chosen = chosen_options(SeveralTargetsOptions, options)
        super().__init__(union(targets), conditions, chosen["init"])
        self.targets = dict(targets)
        in_features = self._in_features()
        self.trunk = hidden_layers(in_features, chosen)
        self.activation = chosen["activation"]
        width = chosen["hidden"][-1] if chosen["hidden"] else in_features
        # By name, so that one head can be computed alone.
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(width, target.numel, bias=chosen["bias"])
                for name, target in targets.items()
            }
        )
        self.initialize()

    def _init_options(self) -> frozenset[str]:
        return MOMENTS | (TRUNK if is_drawn(self.trunk) else frozenset())

    def _initialize(self, init: Init) -> None:
        draw_trunk(
            self.trunk, activation_type(self.activation), scheme=init.trunk, factor=init.trunk_gain
        )
        with as_at_start(self.trunk):
            features = self.trunk(calibration_inputs(self, init))
        heads = [head for head in self.heads.values() if isinstance(head, nn.Linear)]
        draw_heads(heads, features, self.target, self.starts)

    def start_at_zero(self) -> None:
        """Set the heads to zero, so that every generated weight is exactly zero."""
        zero_heads(self.heads.values())

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
        target: str | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: An embedding in place of a learned one.
            uncond_input: The unconditional input.
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
        weights = Weights(flat if batched else flat.view(-1), self.targets[target])
        return weights.belonging_to(condition)

    def heads_at(self, condition: Condition) -> list[LinearHead]:
        """The heads of all targets, and what they read for a batch of conditions."""
        inputs, _ = self.inputs(condition)
        features = self.trunk(inputs).unsqueeze(1)
        return [
            LinearHead(features, head.weight, head.bias)
            for head in self.heads.values()
            if isinstance(head, nn.Linear)
        ]

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts: as much as the weight that it is."""
        return list(importance[None].split([one.numel for one in self.targets.values()], dim=1))

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to the flat weights of all targets `[B, numel]`."""
        features = self.trunk(inputs)
        return torch.cat([head(features) for head in self.heads.values()], dim=1)


def union(targets: Mapping[str, TargetSpec]) -> TargetSpec:
    """Join all targets into one, with prefixed names.

    Raises:
        SpecError: There is no target, or a name is empty, has a dot, or is that of an
            attribute of torch's modules.

    Example:
        >>> a, b = TargetSpec.from_shapes([[2, 3]]), TargetSpec.from_shapes([[2]])
        >>> union({"a": a, "b": b}).names
        ('a.0', 'b.0')
    """
    if not targets:
        raise SpecError("there is no target")
    for name in targets:
        if not name or "." in name:
            raise SpecError(f"the name of a target must not be empty or have a dot, got {name!r}")
        # An instance attribute such as `training` is not found on the class.
        if hasattr(nn.ModuleDict, name) or name == "training":
            raise SpecError(
                f"a target cannot be called {name!r}: torch's modules have an attribute of that"
                " name"
            )
    return TargetSpec(
        params=tuple(
            param.model_copy(
                # Layers get the prefix too, or equal names would count as one layer.
                update={
                    "name": f"{name}.{param.name}",
                    "layer": f"{name}.{param.layer}" if param.layer else name,
                }
            )
            for name, target in targets.items()
            for param in target.params
        )
    )
