"""The full hypernetwork: an MLP that writes all weights at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks.hypernetwork import HyperNetwork
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.init.hyperfan import init_head, init_trunk, starts_of
from hypnet_zoo.layers.activations import ActivationName
from hypnet_zoo.layers.hidden import hidden_layers


class HMLP(HyperNetwork):
    r"""An MLP that writes all weights of the target at once.

    Hidden layers turn the input $[e; u]$ (embedding of the condition, unconditional input) into $z$, and a linear head of
    $P$ rows writes the $P$ target weights:

    $$ \omega = H z + b, \qquad z = \phi(W_L \cdots \phi(W_1 [e; u] + b_1) \cdots + b_L) $$

    With hidden width $d$ the head alone holds $(d + 1) P$ parameters, many more than it writes; `ChunkedHMLP` holds fewer.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional input.
        hidden: Width of each hidden layer; empty for a linear hypernetwork.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        spectral_norm: Spectral norm on all layers; each target tensor then has a head, and a norm, of its own.
        batch_norm: Batch norm before each hidden activation: over the batch of conditions, which must be two or more in training.

    Raises:
        SpecError: Embedding and unconditional input are both of size 0, or a width is not positive.

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
    ) -> None:
        super().__init__(target, conditions)
        in_features = sum(self.input_sizes.values())
        if in_features == 0:
            raise SpecError("the hypernetwork has no input: give the conditions a size, or an input_size")
        self.trunk = hidden_layers(
            in_features,
            hidden,
            activation=activation,
            bias=bias,
            dropout=dropout,
            spectral_norm=spectral_norm,
            batch_norm=batch_norm,
        )
        width = hidden[-1] if hidden else in_features
        sizes = [size for size in target.sizes if size] if spectral_norm else [target.numel]
        self.heads = nn.ModuleList(nn.Linear(width, size, bias=bias) for size in sizes)
        self.reset_parameters(activation)
        if spectral_norm:
            for head in self.linear_heads():
                # Its scale is normalised away, and a head of zeros, which biases start with, has no direction.
                nn.init.normal_(head.weight)
                with_spectral_norm(head)
        self._needs_batch = batch_norm

    def reset_parameters(self, activation: ActivationName | None) -> None:
        """Hyperfan-in: the generated weights start with the variance that the main network wants, biases at zero."""
        init_trunk(self.trunk, activation)
        means, variances = starts_of(self.target)
        sizes = [head.out_features for head in self.linear_heads()]
        for head, mean, variance in zip(self.linear_heads(), means.split(sizes), variances.split(sizes), strict=True):
            init_head(head.weight, head.bias, mean, variance)

    def linear_heads(self) -> list[nn.Linear]:
        """The output layers: one, or one per target tensor with spectral norm."""
        return [head for head in self.heads if isinstance(head, nn.Linear)]

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        self._check_batch(len(inputs))
        return self._write(self.trunk(inputs))

    def generate_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        r"""All pairs of two partial inputs, without laying them side by side: $W[r; c] = W_r r + W_c c$.

        Args:
            rows: `[B, r]`, one per condition.
            chunks: `[K, c]`, or `[B, K, c]` if each condition has chunks of its own; `r + c` is the input size.

        Returns:
            `[B, K, numel]`.
        """
        count = len(rows)
        self._check_batch(count * chunks.shape[-2])
        first, *others = [*self.trunk, *self.heads]
        if not isinstance(first, nn.Linear) or (len(self.trunk) == 0 and len(self.heads) > 1):
            raise SpecError("the first layer of the hypernetwork is not linear")
        weight_rows, weight_chunks = first.weight.split([rows.shape[1], chunks.shape[-1]], dim=1)
        hidden: Tensor = nn.functional.linear(rows, weight_rows, first.bias).unsqueeze(1) + chunks @ weight_chunks.t()
        if not others:
            return hidden
        flat = hidden.flatten(0, 1)
        for layer in self.trunk[1:]:
            flat = layer(flat)
        return self._write(flat).view(count, -1, self.target.numel)

    def _write(self, hidden: Tensor) -> Tensor:
        outputs = [head(hidden) for head in self.heads]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _check_batch(self, count: int) -> None:
        if self._needs_batch and self.training and count < 2:
            raise ConditionError(
                "batch norm needs at least two conditions in one call while training: pass a batch, or call eval()"
            )
