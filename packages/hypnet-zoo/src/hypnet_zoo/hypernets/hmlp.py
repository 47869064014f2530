"""The full hypernetwork: an MLP that writes all weights at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo._activations import ActivationName
from hypnet_zoo._chunking.products import pairs
from hypnet_zoo.init.heads import calibration_inputs, init_heads, zero_heads
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart, as_at_start, init_trunk
from hypnet_zoo.layers.hidden import hidden_layers

# C libraries hand blocks of 32 MiB and more back to the system at once, and every new
# gradient would have to be mapped anew: a step with one head of 36 MB takes twice as
# long as one with two.
_LARGEST = 2**23 - 2**16


class HMLP(HyperNetwork):
    r"""An MLP that writes all weights of the target at once.

    Hidden layers turn the input $[e; u]$ (embedding of the condition, unconditional
    input) into $z$, and a linear head of $P$ rows writes the $P$ target weights:

    $$ \omega = H z + b, \qquad z = \phi(W_L \cdots \phi(W_1 [e; u] + b_1) \cdots + b_L)
    $$

    With hidden width $d$ the head (in code several, if it is large) alone holds $(d +
    1) P$ parameters, many more than it writes; `ChunkedHMLP` holds fewer.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        hidden: Width of each hidden layer; empty for a linear hypernetwork.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        spectral_norm: Spectral norm on all layers; each target tensor then has a head,
            and a norm, of its own.
        batch_norm: Batch norm before each hidden activation: over the batch of
            conditions, which must be two or more in training.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

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
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        hidden: tuple[int, ...] = (100, 100),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        spectral_norm: bool = False,
        batch_norm: bool = False,
        fan: Fan = "in",
    ) -> None:
        super().__init__(target, conditions)
        in_features = sum(self.input_sizes.values())
        if in_features == 0:
            raise SpecError(
                "the hypernetwork has no input: give the conditions a size, or an input_size"
            )
        self.trunk = hidden_layers(
            in_features,
            hidden,
            activation=activation,
            bias=bias,
            dropout=dropout,
            spectral_norm=spectral_norm,
            batch_norm=batch_norm,
        )
        for layer in self.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = True  # what stands before it does not need its output, and features may be large
        width = hidden[-1] if hidden else in_features
        most = 1 if spectral_norm else max(1, _LARGEST // width)
        self.heads = nn.ModuleList(
            nn.Linear(width, size, bias=bias) for size in _head_sizes(target, most)
        )
        self.activation = activation
        self.starts: tuple[Start, ...] = ()
        self._needs_batch = batch_norm
        if spectral_norm:
            for head in self.linear_heads():
                # Its scale is normalised away, but its direction must be there.
                nn.init.normal_(head.weight)
                with_spectral_norm(head)
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
        """Start so that the generated weights have the means and variances that the main network should have (hyperfan).

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
        starts = wanted_starts(self.target, fan=fan, scheme=scheme, bias=bias, overrides=overrides)
        self.start(
            starts, calibration_inputs(self, cond_var=cond_var, uncond_var=uncond_var), trunk=trunk
        )

    @torch.no_grad()
    def start(
        self, starts: tuple[Start, ...], inputs: Tensor, *, trunk: TrunkStart = "kaiming"
    ) -> None:
        """Start with given means and variances.

        Args:
            starts: One for each tensor of the target.
            inputs: What `generate` will get, as a sample: `[B, n]`.
            trunk: How the hidden layers start.
        """
        self.starts = starts
        init_trunk(self.trunk, self.activation, start=trunk)
        init_heads(self.linear_heads(), self.features_at_start(inputs), self.target, starts)

    @torch.no_grad()
    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all that is generated; heads with spectral norm stay as they are."""
        for head in self.linear_heads():
            if not is_parametrized(head):
                for parameter in head.parameters():
                    parameter.mul_(factor)

    @torch.no_grad()
    def features_at_start(self, inputs: Tensor) -> Tensor:
        """What reaches the heads: without dropout, and with batch norms as in training, whose statistics are then forgotten."""
        with as_at_start(self.trunk):
            features: Tensor = self.trunk(inputs)
        return features

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: the heads are.

        Raises:
            SpecError: Heads with spectral norm cannot be zero.
        """
        zero_heads(self.linear_heads())

    def linear_heads(self) -> list[nn.Linear]:
        """The output layers, one after the other: as few as a moderate size of each allows, or one per tensor with spectral norm."""
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        self._check_batch(len(inputs))
        return self._write(self.trunk(inputs))

    def generate_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        r"""All pairs of two partial inputs, without laying them side by side: $W[r; c] = W_r r + W_c c$.

        Args:
            rows: `[B, r]`, one per condition.
            chunks: `[K, c]`, or `[B, K, c]` if each condition has chunks of its own; `r
                + c` is the input size.

        Returns:
            `[B, K, numel]`.
        """
        self._check_batch(len(rows) * chunks.shape[-2])
        if len(self.trunk) == 0:
            outputs = [self._product(head, rows, chunks) for head in self.heads]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        features = self.features_product(rows, chunks)
        return self._write(features.flatten(0, 1)).view(*features.shape[:2], self.target.numel)

    def features_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """What reaches the heads for all pairs of two partial inputs: `[B, K, d]`; see `generate_product`."""
        if len(self.trunk) == 0:
            return pairs(rows, chunks)
        hidden = self._product(self.trunk[0], rows, chunks)
        flat = hidden.flatten(0, 1)
        for layer in self.trunk[1:]:
            flat = layer(flat)
        return flat.view(*hidden.shape[:2], -1)

    def _product(self, layer: nn.Module, rows: Tensor, chunks: Tensor) -> Tensor:
        if (
            not isinstance(layer, nn.Linear)
            or layer.in_features != rows.shape[1] + chunks.shape[-1]
        ):
            raise SpecError(
                f"the first layer must be linear with {rows.shape[1]} + {chunks.shape[-1]} inputs,"
                f" it is {layer}"
            )
        if rows.shape[1] == 0:
            return nn.functional.linear(chunks, layer.weight, layer.bias).expand(len(rows), -1, -1)
        weight_rows, weight_chunks = layer.weight.split([rows.shape[1], chunks.shape[-1]], dim=1)
        shared: Tensor = nn.functional.linear(rows, weight_rows, layer.bias)
        if len(rows) == 1:
            return torch.addmm(
                shared, chunks.reshape(-1, chunks.shape[-1]), weight_chunks.t()
            ).unsqueeze(0)
        hidden: Tensor = shared.unsqueeze(1) + chunks @ weight_chunks.t()
        return hidden

    def _write(self, hidden: Tensor) -> Tensor:
        outputs = [head(hidden) for head in self.heads]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _check_batch(self, count: int) -> None:
        if self._needs_batch and self.training and count < 2:
            raise ConditionError(
                "batch norm needs at least two conditions in one call while training: pass a batch,"
                " or call eval()"
            )


def _head_sizes(target: TargetSpec, most: int) -> list[int]:
    """How many scalars each head writes: neighbouring tensors together, up to `most`; no tensor is divided."""
    sizes: list[int] = []
    for size in filter(None, target.sizes):
        if sizes and sizes[-1] + size <= most:
            sizes[-1] += size
        else:
            sizes.append(size)
    return sizes
