"""Initial values of the embeddings of conditions and chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.networks import EMBEDDING, HyperNetwork
from hypnet_zoo.init.options import Init
from hypnet_zoo.init.protocols import HasChunkEmbeddings

_SETS = 100


@torch.no_grad()
def draw_condition_embeddings(
    hypernet: HyperNetwork,
    fill: Callable[[Tensor, int], object] | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> None:
    r"""Draw the embeddings of all conditions anew, also those inside wrappers.

    Args:
        hypernet: The hypernetwork, changed in place. Without embeddings it stays as it
            is.
        fill: Called with each embedding `[size]` and the id of its condition, fills it
            in place.
        mean: Mean of the normal distribution that is drawn from without `fill`.
        std: Its standard deviation.

    Example:
        >>> from hypnet_core.specs import ConditionSpec, TargetSpec
        >>> from hypnet_zoo.hypernets import HMLP
        >>> conditions = ConditionSpec(count=2, size=4)
        >>> hnet = HMLP(TargetSpec.from_shapes([[3, 2]]), conditions)
        >>> draw_condition_embeddings(hnet, lambda e, number: e.fill_(number))
        >>> hnet.embedding(1)
        Parameter containing: tensor([1., 1., 1., 1.], requires_grad=True)
    """
    for part in _hypernetworks(hypernet):
        if EMBEDDING not in part.conditional_shapes:
            continue
        for condition, embedding in enumerate(part.parameters_of(EMBEDDING)):
            embedding.normal_(mean, std) if fill is None else fill(embedding, condition)


@torch.no_grad()
def draw_chunk_embeddings(
    hypernet: HyperNetwork,
    fill: Callable[[Tensor], object] | None = None,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> None:
    """Draw the embeddings of chunks anew, where there are any.

    Args:
        hypernet: The hypernetwork, changed in place.
        fill: Called with each tensor of chunk embeddings `[chunks, size]`, fills it in
            place; once per condition where each has its own chunk embeddings.
        mean: Mean of the normal distribution that is drawn from without `fill`.
        std: Its standard deviation.
    """
    for part in _hypernetworks(hypernet):
        if not isinstance(part, HasChunkEmbeddings):
            continue
        for embeddings in part.all_chunk_embeddings():
            embeddings.normal_(mean, std) if fill is None else fill(embeddings)


@torch.no_grad()
def draw_chunks(hypernet: HasChunkEmbeddings, init: Init) -> None:
    """Draw the chunk embeddings of one hypernetwork as its option `init` says."""
    std = init.chunk_embedding_std
    for embeddings in hypernet.all_chunk_embeddings():
        if std is None:
            _draw_unit_rows(embeddings, uniform=init.uniform_chunks)
        else:
            embeddings.normal_(0.0, std)


def _draw_unit_rows(embeddings: Tensor, *, uniform: bool) -> None:
    """Draw chunk embeddings in place; every row then has mean square 1 exactly."""
    if uniform:
        embeddings.uniform_(-math.sqrt(3.0), math.sqrt(3.0))
    else:
        embeddings.normal_()
    equalize_(embeddings)


@torch.no_grad()
def equalize_(embedding: Tensor, std: float = 1.0) -> Tensor:
    """Give vectors one length in place: rows get the mean square `std**2`."""
    length = embedding.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return embedding.mul_(std * math.sqrt(embedding.shape[-1]) / length)


@torch.no_grad()
def spread_(embeddings: Sequence[Tensor], others: Sequence[Tensor] = ()) -> None:
    """Point vectors away from each other, and from others, in place.

    Of 100 random sets of directions the one with the smallest largest cosine is taken.
    Three vectors of length 2 are then 90 to 120 degrees apart.

    Args:
        embeddings: The vectors `[size]` to fill; they get length 1.
        others: Vectors that stay as they are.
    """
    # On the meta device there are no numbers to compare.
    if not embeddings or embeddings[0].is_meta:
        return
    like = embeddings[0]
    fixed = [F.normalize(other, dim=0) for other in others]

    def drawn() -> Tensor:
        return F.normalize(like.new_empty(len(embeddings), len(like)).normal_(), dim=1)

    def largest_cosine(rows: Tensor) -> float:
        cosines = rows @ torch.stack([*rows, *fixed]).t()
        return float(cosines.fill_diagonal_(-1.0).max())  # the diagonal is each to itself

    # One by one: all sets of many conditions would not fit the memory.
    best = min((drawn() for _ in range(_SETS)), key=largest_cosine)
    for embedding, direction in zip(embeddings, best, strict=True):
        embedding.copy_(direction)


def _hypernetworks(hypernet: HyperNetwork) -> Iterator[HyperNetwork]:
    return (module for module in hypernet.modules() if isinstance(module, HyperNetwork))
