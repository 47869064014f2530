"""An MLP that reads large inputs chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import only, with_defaults
from hypnet_zoo.layers.activations import activation_module
from hypnet_zoo.layers.hidden import LayerOptions
from hypnet_zoo.mainnets.mlp import MLP, NormedLayerOptions


class ChunkedMLP(nn.Module):
    r"""An MLP that first reduces its input chunk by chunk.

    The flat input is cut into $K = \lceil D / n \rceil$ chunks $x_k$ of $n$ numbers,
    the last one padded with zeros. A shared MLP $r$ reads each chunk beside a learned
    embedding $c_k$ of its place, and a second MLP $f$ reads all of its outputs:

    $$ y = f\bigl(\phi\bigl[\, r(x_1, c_1) \;\cdots\; r(x_K, c_K) \,\bigr]\bigr) $$

    Only the embeddings and the first layer of $f$ grow with the input.

    Shapes:
        - Input: `[N, *in_shape]`
        - Output: `[N, out_features]`

    Args:
        in_shape: Shape of one sample.
        out_features: Number of outputs.
        chunk_size: Numbers per chunk, $n$.
        chunk_features: Outputs of $r$ per chunk.
        embedding_size: Length of a chunk's embedding.
        chunk_hidden: Width of each hidden layer of $r$.
        hidden: Width of each hidden layer of $f$.
        **options: See `NormedLayerOptions`. The activation is $\phi$; batch norm and
            context modulation apply to $f$ alone.

    Raises:
        SpecError: A size is not positive, or `dropout` is not in [0, 1).

    Example:
        >>> sizes = {"chunk_size": 10, "chunk_features": 3, "embedding_size": 4}
        >>> net = ChunkedMLP((25,), 2, chunk_hidden=(), hidden=(), **sizes)
        >>> net.embeddings.weight.shape, net.reduce.out.weight.shape
        (torch.Size([3, 4]), torch.Size([3, 14]))
        >>> net.mlp.out.weight.shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        chunk_size: int = 100,
        chunk_features: int = 10,
        embedding_size: int = 8,
        chunk_hidden: tuple[int, ...] = (10, 10),
        hidden: tuple[int, ...] = (10, 10),
        **options: Unpack[NormedLayerOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(NormedLayerOptions, options)
        self.in_shape = tuple(in_shape)
        self.in_features = math.prod(self.in_shape)
        sizes = {
            "chunk_size": chunk_size,
            "chunk_features": chunk_features,
            "embedding_size": embedding_size,
        }
        for name, size in sizes.items():
            if size < 1:
                raise SpecError(f"{name} must be positive, got {size}")
        if self.in_features < 1:
            raise SpecError(f"in_shape must be positive, got {list(in_shape)}")
        self.chunk_size = chunk_size
        self.chunks = -(-self.in_features // chunk_size)  # rounded up
        # A module for embeddings, so that they count and start as such.
        self.embeddings = nn.Embedding(self.chunks, embedding_size)
        self.reduce = MLP(
            (chunk_size + embedding_size,),
            chunk_features,
            hidden=chunk_hidden,
            spectral_norm=chosen["spectral_norm"],
            **only(LayerOptions, chosen),
        )
        self.activation = activation_module(chosen["activation"])
        self.mlp = MLP((self.chunks * chunk_features,), out_features, hidden=hidden, **chosen)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs `[N, *in_shape]` to outputs `[N, out_features]`.

        Raises:
            SpecError: Inputs have another shape.
        """
        if x.ndim < 2 or x.shape[1:].numel() != self.in_features:
            raise SpecError(
                f"the network expects samples of shape {list(self.in_shape)}, got inputs"
                f" {list(x.shape)}"
            )
        # Zeros fill the last chunk.
        flat = F.pad(x.flatten(1), (0, self.chunks * self.chunk_size - self.in_features))
        chunks = flat.unflatten(1, (self.chunks, self.chunk_size))  # [N, K, n]
        # The embedding of each chunk is the same for all samples.
        places = self.embeddings.weight.expand(len(x), -1, -1)
        reduced = self.reduce(torch.cat([chunks, places], 2).flatten(0, 1))
        y: Tensor = self.mlp(self.activation(reduced).view(len(x), -1))
        return y
