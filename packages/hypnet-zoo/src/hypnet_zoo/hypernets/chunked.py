"""Hypernetworks that write their target chunk by chunk."""

from __future__ import annotations

import logging
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks.hypernetwork import HyperNetwork
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.hypernets.hmlp import HMLP
from hypnet_zoo.init.hyperfan import init_head, starts_of
from hypnet_zoo.layers.activations import ActivationName

CHUNK_EMBEDDINGS = "chunk_embeddings"

_logger = logging.getLogger(__name__)


class ChunkedHMLP(HyperNetwork):
    r"""An MLP that writes the target's weights one chunk at a time.

    The $P$ target weights are laid end to end and cut into $K = \lceil P/n \rceil$ chunks of $n$. One network $h_\theta$ writes
    them all, told by a learned embedding $c_k$ which chunk it is at, by $e$ which condition, and by $u$ what the caller adds:

    $$ \omega = \bigl[\, h_\theta(e, u, c_1) \;\cdots\; h_\theta(e, u, c_K) \,\bigr]_{1:P} $$

    Only the chunk embeddings grow with the target, so $\theta$ may hold far fewer weights than it writes. Where $n$ does not divide
    $P$, the surplus of the last chunk is dropped. Cuts ignore layer borders.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional input.
        chunk_size: Weights per chunk.
        chunk_embedding_size: Length of a chunk embedding.
        conditional_chunks: Each condition has chunk embeddings of its own. With `conditions.count=0` they come from the caller:
            `cond_input={"chunk_embeddings": …}` of shape `[K, chunk_embedding_size]` or `[B, K, chunk_embedding_size]`.
        hidden: Width of each hidden layer; empty for a linear hypernetwork.
        activation: Nonlinearity of the hidden layers; `None` for none.
        bias: Whether the layers have biases.
        dropout: Probability that a hidden activation is set to zero in training.
        spectral_norm: Spectral norm on all layers.
        batch_norm: Batch norm before each hidden activation, over chunks and conditions.

    Raises:
        SpecError: A size is not positive.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with hypernetworks. ICLR 2020, arXiv:1906.00695.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = ChunkedHMLP(target, ConditionSpec(count=2, size=8), chunk_size=25, hidden=(10,))
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([60]))
    """

    # One batch of very many conditions touches more fresh memory than it saves (benchmarks/hypercl_step.py).
    conditions_per_call: ClassVar[int | None] = 10

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        chunk_size: int = 1000,
        chunk_embedding_size: int = 8,
        conditional_chunks: bool = False,
        hidden: tuple[int, ...] = (100, 100),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        spectral_norm: bool = False,
        batch_norm: bool = False,
    ) -> None:
        if chunk_size < 1 or chunk_embedding_size < 1:
            raise SpecError(
                f"chunk_size and chunk_embedding_size must be positive, got {chunk_size} and {chunk_embedding_size}"
            )
        num_chunks = -(-target.numel // chunk_size)
        chunk_shape = (num_chunks, chunk_embedding_size)
        super().__init__(target, conditions, conditional={CHUNK_EMBEDDINGS: chunk_shape} if conditional_chunks else None)
        self.num_chunks = num_chunks
        self.chunk_size = chunk_size
        self.conditional_chunks = conditional_chunks
        surplus = self.num_chunks * chunk_size - target.numel
        if surplus > chunk_size // 2 and self.num_chunks == 1:
            _logger.warning("chunk_size %d is above the target's %d weights: %d are wasted", chunk_size, target.numel, surplus)
        self.chunk_embeddings = None if conditional_chunks else nn.Parameter(torch.randn(chunk_shape))
        self.inner = HMLP(
            TargetSpec(params=(ParamSpec(name="chunk", shape=(chunk_size,), kind=ParamKind.OTHER),)),
            ConditionSpec(count=0, size=conditions.size + conditions.input_size + chunk_embedding_size),
            hidden=hidden,
            activation=activation,
            bias=bias,
            dropout=dropout,
            spectral_norm=spectral_norm,
            batch_norm=batch_norm,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """One head writes everything, so all weights start with the variance that the target wants on average."""
        if self.chunk_embeddings is not None:
            nn.init.normal_(self.chunk_embeddings)
        _, variances = starts_of(self.target)
        heads = (head for head in self.inner.linear_heads() if not is_parametrized(head))  # spectral norm sets the scale itself
        for head in heads:
            rows = torch.ones(head.out_features)
            init_head(head.weight, head.bias, 0 * rows, variances.mean() * rows)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        if self.chunk_embeddings is not None:
            rows, chunks = inputs, self.chunk_embeddings
        else:
            own = self.input_sizes[CHUNK_EMBEDDINGS]
            rows, flat = inputs.split([inputs.shape[1] - own, own], dim=1)
            chunks = flat.unflatten(1, self.conditional_shapes[CHUNK_EMBEDDINGS])
        return self.inner.generate_product(rows, chunks).flatten(1)[:, : self.target.numel]
