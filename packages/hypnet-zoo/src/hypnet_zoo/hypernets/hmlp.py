"""The full hypernetwork: an MLP that writes all weights at once."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks import Condition, LinearHead
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import (
    InitializedHyperNetwork,
    check_batch,
    independent_rows,
)
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import MOMENTS, TRUNK, of_draws
from hypnet_zoo.init.heads import calibration_inputs, draw_heads, start_by_bias, zero_heads
from hypnet_zoo.init.moments import Moments
from hypnet_zoo.init.options import Init, InitOption, chosen_options, init_from
from hypnet_zoo.init.products import pairs
from hypnet_zoo.init.trunk import as_at_start, draw_trunk, is_drawn
from hypnet_zoo.layers.activations import activation_type
from hypnet_zoo.layers.hidden import HiddenOptions, NormOptions, hidden_layers

# C libraries return blocks of 32 MiB and more to the system at once, and every new
# gradient would have to be mapped anew: a step with one head of 36 MB takes twice as
# long as one with two.
_LARGEST = 2**23 - 2**16


class HMLPOptions(HiddenOptions, NormOptions, InitOption, total=False):
    """Options of `HMLP`."""


class HMLP(InitializedHyperNetwork):
    r"""An MLP that writes all weights of the target at once.

    Hidden layers map the input $[e; u]$ (embedding of the condition, unconditional
    input) to $z$, and a linear head of $P$ rows writes the $P$ target weights:

    $$ \omega = H z + b, \qquad z = \phi(W_L \cdots \phi(W_1 [e; u] + b_1) \cdots + b_L)
    $$

    With hidden width $d$ the head (several in the code, if it is large) alone holds $(d
    + 1) P$ parameters, many more than it writes; `ChunkedHMLP` holds fewer.

    With `spectral_norm` each target tensor has its own head and norm. With
    `batch_norm` training needs two or more conditions in a batch.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        **options: See `HMLPOptions`.

    Raises:
        SpecError: Embedding and unconditional input are both of size 0, or a width is
            not positive.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = HMLP(target, ConditionSpec(count=2, size=8), hidden=(100, 100))
        >>> sum(p.numel() for p in hnet.parameters())
        17076
        >>> hnet([0, 1])["0"].shape
        torch.Size([2, 10, 5])
    """

    def __init__(
        self, target: TargetSpec, conditions: ConditionSpec, **options: Unpack[HMLPOptions]
    ) -> None:
        chosen = chosen_options(HMLPOptions, options)
        super().__init__(target, conditions, chosen["init"])
        in_features = self._in_features()
        spectral_norm, hidden = chosen["spectral_norm"], chosen["hidden"]
        self.trunk = hidden_layers(
            in_features, chosen, spectral_norm=spectral_norm, batch_norm=chosen["batch_norm"]
        )
        for layer in self.trunk:
            if isinstance(layer, nn.ReLU):
                # No layer before it needs its own output for the gradient, and features
                # may be large.
                layer.inplace = True
        width = hidden[-1] if hidden else in_features
        # Spectral norm sets one scale per matrix, hence one head per tensor.
        most = 1 if spectral_norm else max(1, _LARGEST // width)
        self.heads = nn.ModuleList(
            nn.Linear(width, size, bias=chosen["bias"]) for size in _head_sizes(target, most)
        )
        self.activation = chosen["activation"]
        self._needs_batch = chosen["batch_norm"]
        if spectral_norm:
            for head in self.linear_heads():
                # Spectral norm removes its scale, but it needs a direction.
                nn.init.normal_(head.weight)
                with_spectral_norm(head)
        self.initialize()

    def _init_options(self) -> frozenset[str]:
        trunk = TRUNK if is_drawn(self.trunk) else frozenset()
        # Spectral norm fixes the scale of a head; only means can be chosen.
        if not is_drawn(self.heads):
            return trunk | {"overrides"}
        biased = all(head.bias is not None for head in self.linear_heads())
        return trunk | MOMENTS | ({"by_bias"} if biased else frozenset())

    def _initialize(self, init: Init) -> None:
        self.draw_layers(self.starts, calibration_inputs(self, init), init)
        if init.by_bias:
            start_by_bias(self.linear_heads(), drawn_weights(self.target, of_draws(init)))

    @torch.no_grad()
    def draw_layers(
        self, moments: tuple[Moments, ...], inputs: Tensor, init: Init | None = None
    ) -> None:
        """Start so that given inputs give weights of given moments.

        Args:
            moments: Mean and variance of each tensor of the target.
            inputs: A sample of the inputs of `generate`: `[B, n]`.
            init: Chooses the draw of the hidden layers.
        """
        self.starts = moments
        rules = init_from(init)
        draw_trunk(
            self.trunk,
            activation_type(self.activation),
            scheme=rules.trunk,
            factor=rules.trunk_gain,
        )
        draw_heads(self.linear_heads(), self.features_at_start(inputs), self.target, moments)

    @torch.no_grad()
    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all generated weights; heads with spectral norm stay as they are."""
        for head in self.linear_heads():
            if not is_parametrized(head):
                for parameter in head.parameters():
                    parameter.mul_(factor)

    @torch.no_grad()
    def features_at_start(self, inputs: Tensor) -> Tensor:
        """Inputs of the heads, without dropout and with the batch's norm statistics."""
        with as_at_start(self.trunk):
            features: Tensor = self.trunk(inputs)
        return features

    def start_at_zero(self) -> None:
        """Set the heads to zero, so that every generated weight is exactly zero.

        Raises:
            SpecError: Heads with spectral norm cannot be zero.
        """
        zero_heads(self.linear_heads())

    def linear_heads(self) -> list[nn.Linear]:
        """The output layers in order: one per tensor with spectral norm, else few."""
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads, and what they read for a batch of conditions."""
        if not independent_rows(self):
            return None
        inputs, _ = self.inputs(condition)
        features = self.trunk(inputs).unsqueeze(1)
        return [LinearHead(features, head.weight, head.bias) for head in self.linear_heads()]

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts: as much as the weight that it is."""
        return list(importance[None].split([head.out_features for head in self.linear_heads()], 1))

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        self._check_batch(len(inputs))
        return self._write(self.trunk(inputs))

    def generate_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        r"""Generate for all pairs of two partial inputs: $W[r; c] = W_r r + W_c c$.

        The products with rows and with chunks are computed once each, and the pairs are
        never laid side by side.

        Args:
            rows: `[B, r]`, one per condition.
            chunks: `[K, c]`, or `[B, K, c]` if each condition has its own chunks; `r
                + c` is the input size.

        Returns:
            `[B, K, numel]`.
        """
        # Batch norm sees all pairs as one batch.
        self._check_batch(len(rows) * chunks.shape[-2])
        # A linear hypernetwork splits its heads instead of its first layer.
        if len(self.trunk) == 0:
            outputs = [self._product(head, rows, chunks) for head in self.heads]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        features = self.features_product(rows, chunks)
        return self._write(features.flatten(0, 1)).view(*features.shape[:2], self.target.numel)

    def features_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """Inputs of the heads for all pairs: `[B, K, d]`; see `generate_product`."""
        if len(self.trunk) == 0:
            return pairs(rows, chunks)
        hidden = self._product(self.trunk[0], rows, chunks)
        flat = hidden.flatten(0, 1)  # [B K, d]
        for layer in self.trunk[1:]:
            flat = layer(flat)
        return flat.view(*hidden.shape[:2], -1)

    def _product(self, layer: nn.Module, rows: Tensor, chunks: Tensor) -> Tensor:
        in_features = rows.shape[1] + chunks.shape[-1]
        if not isinstance(layer, nn.Linear) or layer.in_features != in_features:
            raise SpecError(
                f"the first layer must be linear with {rows.shape[1]} + {chunks.shape[-1]} inputs,"
                f" it is {layer}"
            )
        if rows.shape[1] == 0:
            # Rows without entries are all equal: one product, expanded without a copy.
            return nn.functional.linear(chunks, layer.weight, layer.bias).expand(len(rows), -1, -1)
        # Rows and chunks meet only here: B + K products instead of B K.
        weight_rows, weight_chunks = layer.weight.split([rows.shape[1], chunks.shape[-1]], dim=1)
        shared: Tensor = nn.functional.linear(rows, weight_rows, layer.bias)
        if len(rows) == 1:
            # One fused product instead of a product and a sum.
            flat = chunks.reshape(-1, chunks.shape[-1])
            return torch.addmm(shared, flat, weight_chunks.t()).unsqueeze(0)
        # One product of two matrices: `@` of three dimensions may round otherwise where
        # gradients are needed, and unchanged weights would seem to have changed.
        of_chunks = chunks.flatten(0, -2) @ weight_chunks.t()
        # [B, 1, d] + [(B,) K, d]
        hidden: Tensor = shared.unsqueeze(1) + of_chunks.view(*chunks.shape[:-1], -1)
        return hidden

    def _write(self, hidden: Tensor) -> Tensor:
        outputs = [head(hidden) for head in self.heads]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _check_batch(self, count: int) -> None:
        if self._needs_batch:
            check_batch(count, training=self.training)


def _head_sizes(target: TargetSpec, most: int) -> list[int]:
    """Number of scalars that each head writes.

    Heads write neighbouring tensors up to `most` scalars; no tensor is divided.
    """
    sizes: list[int] = []
    for size in filter(None, target.sizes):  # empty tensors need no rows
        if sizes and sizes[-1] + size <= most:
            sizes[-1] += size
        else:
            sizes.append(size)
    return sizes
