"""The multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Unpack, overload

from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from hypnet_core.errors import SpecError
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.activations import Activation, activation_module
from hypnet_zoo.layers.batched import batched_linear
from hypnet_zoo.layers.contexts import context_layers
from hypnet_zoo.layers.hidden import HiddenOptions, LayerOptions, NormOptions, hidden_layers
from hypnet_zoo.layers.modulation import ContextOption, modulate


class NormedLayerOptions(LayerOptions, NormOptions, ContextOption, total=False):
    """Options of `MLP` except for its widths."""

    track_statistics: Annotated[
        bool,
        Field(
            default=True,
            description=(
                "Whether batch norm keeps running statistics for evaluation; otherwise those of the"
                " batch are used."
            ),
        ),
    ]


class MLPOptions(NormedLayerOptions, HiddenOptions, total=False):
    """Options of `MLP`."""


class MLP(nn.Module):
    r"""A fully connected network with a linear output layer.

    Hidden layers compute $h_l = \phi(W_l h_{l-1} + b_l)$. Inputs of any shape are
    flattened.

    Shapes:
        - Input: `[N, *in_shape]`
        - Output: `[N, out_features]`

    Args:
        in_shape: Shape of one sample.
        out_features: Number of outputs.
        out_activation: Nonlinearity of the outputs; none by default.
        **options: See `MLPOptions`. Context modulation gives each input a gain of its
            own.

    Raises:
        SpecError: A size is not positive, or `dropout` is not in [0, 1).

    Example:
        >>> import torch
        >>> net = MLP((1, 28, 28), 10, hidden=(400, 400))
        >>> sum(p.numel() for p in net.parameters())
        478410
        >>> net(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        out_activation: Activation | None = None,
        **options: Unpack[MLPOptions],
    ) -> None:
        super().__init__()
        if not isinstance(in_shape, Sequence):
            raise SpecError(
                f"in_shape must be a sequence of sizes such as (784,), got {in_shape!r}"
            )
        in_features = math.prod(in_shape)
        if in_features < 1 or out_features < 1:
            raise SpecError(
                f"in_shape and out_features must be positive, got {list(in_shape)} and"
                f" {out_features}"
            )
        chosen = with_defaults(MLPOptions, options)
        hidden, spectral_norm = chosen["hidden"], chosen["spectral_norm"]
        self.in_shape = tuple(in_shape)
        self.hidden = hidden_layers(
            in_features,
            chosen,
            spectral_norm=spectral_norm,
            batch_norm=chosen["batch_norm"],
            track_statistics=chosen["track_statistics"],
        )
        out = nn.Linear(hidden[-1] if hidden else in_features, out_features, bias=chosen["bias"])
        self.out = with_spectral_norm(out) if spectral_norm else out
        self.out_activation = activation_module(out_activation)
        # The batched form reads weights by name and would skip parametrisations, norms
        # and activations with parameters.
        layers = [*self.hidden, self.out_activation]
        learned = any(
            list(layer.parameters()) for layer in layers if not isinstance(layer, nn.Linear)
        )
        self._plain = not (spectral_norm or chosen["batch_norm"] or learned)
        modulate(self, self.in_shape, chosen["context_mod"], input_context=self.in_shape)

    @overload
    def forward(self, x: Tensor, *, return_logits: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, *, return_logits: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, x: Tensor, *, return_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Map inputs `[N, *in_shape]` to outputs `[N, out_features]`.

        Args:
            x: The inputs.
            return_logits: Whether to return the outputs before `out_activation` as
                well.
        """
        logits: Tensor = self.out(self.hidden(self._flat(x, 1)))
        outputs: Tensor = self.out_activation(logits)
        return (outputs, logits) if return_logits else outputs

    def forward_batched(
        self,
        x: Tensor,
        *,
        weights: Mapping[str, Tensor],
        paired: bool,
        return_logits: bool = False,
    ) -> Any:
        """Run with many sets of weights at once: one batched matrix product per layer.

        Args:
            x: `[N, *in_shape]` for all sets, or `[B, N, *in_shape]` if `paired`.
            weights: `[B, *shape]` for every parameter.
            paired: Whether each set reads a different input.
            return_logits: Whether to return the outputs before `out_activation` as
                well.

        Returns:
            `[B, N, out_features]`, or `NotImplemented` with spectral norm, batch norm
            or context modulation.
        """
        if not self._plain or context_layers(self):
            return NotImplemented
        h = self._flat(x, 2 if paired else 1)
        for name, layer in self.hidden.named_children():
            if isinstance(layer, nn.Linear):
                h = batched_linear(
                    h, weights[f"hidden.{name}.weight"], weights.get(f"hidden.{name}.bias")
                )
            else:
                # Each set draws its own dropout, so the input is expanded beforehand.
                h = layer(h if h.ndim == 3 else h.expand(len(weights["out.weight"]), -1, -1))
        logits = batched_linear(h, weights["out.weight"], weights.get("out.bias"))
        outputs = self.out_activation(logits)
        return (outputs, logits) if return_logits else outputs

    def _flat(self, x: Tensor, batch_dims: int) -> Tensor:
        if x.ndim <= batch_dims or x.shape[batch_dims:].numel() != math.prod(self.in_shape):
            raise SpecError(
                f"the network expects samples of shape {list(self.in_shape)}, got inputs"
                f" {list(x.shape)}"
            )
        return x.flatten(batch_dims)
