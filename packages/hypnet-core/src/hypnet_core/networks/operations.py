"""The operations of torch that take a weight of which each set has its own.

Each function has the arguments of torch's own; what it does not cover is refused by
`Sets.refuse`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from hypnet_core.networks.operands import Handlers, Operand, elementwise

Weight = Tensor | Operand


def _linear(x: Tensor, weight: Weight, bias: Weight | None = None) -> Tensor:
    if isinstance(weight, Operand):
        return _product(x, weight.t(), bias, "linear")
    return _shifted(F.linear(x, weight), bias, "linear")


def _addmm(bias: Weight, x: Tensor, weight: Weight, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if beta != 1 or alpha != 1:
        _refuse("addmm", bias, weight)
    if isinstance(weight, Operand):
        return _product(x, weight, bias, "addmm")
    return _shifted(x @ weight, bias, "addmm")


def _matmul(x: Weight, weight: Weight) -> Tensor:
    if isinstance(x, Operand) or not isinstance(weight, Operand):
        _refuse("matmul", x, weight)
    return _product(x, weight, None, "matmul")


def _product(x: Tensor, weight: Operand, bias: Weight | None, operation: str) -> Tensor:
    """`x @ weight + bias` with a weight `[in, out]`, for the rows of each set."""
    sets = weight.sets
    if weight.ndim != 2 or x.ndim < 2:
        sets.refuse(f"{operation} multiplies {weight.place} with a tensor of {list(x.shape)}")
    x = sets.along(x, weight, operation)
    rows = x.reshape(sets.count, -1, x.shape[-1])
    own = bias
    if weight.down is None or weight.up is None:
        out = torch.bmm(rows, _whole(weight, operation))
    elif weight.base is None:
        out = torch.bmm(torch.bmm(rows, weight.up), weight.down).mul(weight.scale)
    else:
        plain = bias if isinstance(bias, Tensor) else None
        out = F.linear(rows, weight.base.t(), plain)
        own = None if bias is plain else bias
        hidden = torch.bmm(rows, weight.up)
        # In place, which autocast does not cast for: nothing else has seen `out` yet.
        out = out.baddbmm_(hidden.to(out.dtype), weight.down.to(out.dtype), alpha=weight.scale)
    out = out.view(*x.shape[:-1], out.shape[-1])
    return _shifted(out, own, operation)


def _shifted(out: Tensor, bias: Weight | None, operation: str) -> Tensor:
    """Add a bias to the last dimension."""
    return out if bias is None else out + _like(bias, out, operation)


def _like(weight: Weight, out: Tensor, operation: str) -> Tensor:
    """A weight for each row of an output, in its precision, which autocast chooses."""
    each = weight.each(out, operation) if isinstance(weight, Operand) else weight
    return each.to(out.dtype)


def _named(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Take the arguments of one of torch's functions, in their order, as keywords."""
    names = tuple(inspect.signature(handler).parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        return handler(**dict(zip(names, args, strict=False)), **kwargs)

    return call


@_named
def _embedding(
    *,
    ids: Tensor,
    weight: Operand,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    del norm_type
    sets, entries = weight.sets, weight.shape[0]
    if max_norm is not None or scale_grad_by_freq or sparse:
        sets.refuse(f"the embedding {weight.place} has max_norm, scale_grad_by_freq or sparse")
    ids = sets.along(ids, weight, "embedding")
    rows = ids.reshape(sets.count, -1)
    if weight.down is None or weight.up is None:
        own = _looked_up(rows, _whole(weight, "embedding"))
    else:
        own = torch.bmm(_looked_up(rows, weight.up), weight.down).mul(weight.scale)
    if padding_idx is not None:
        # The row of the padding has no gradient.
        padding = (rows == padding_idx % entries).unsqueeze(-1)
        own = torch.where(padding, own.detach(), own)
    out = own.view(*ids.shape, own.shape[-1])
    if weight.base is None:
        return out
    return F.embedding(ids, weight.base, padding_idx) + out


def _looked_up(ids: Tensor, tables: Tensor) -> Tensor:
    """Rows `[count, n, k]` of a table for each set, `[count, entries, k]`."""
    count, entries, _ = tables.shape
    first = entries * torch.arange(count, device=ids.device).unsqueeze(1)
    return F.embedding(ids + first, tables.reshape(count * entries, -1))


def _convolution(plain: Callable[..., Tensor], dimensions: int) -> Callable[..., Tensor]:
    """A convolution of torch's with a kernel for each set."""

    @_named
    def convolve(
        *,
        x: Tensor,
        weight: Weight,
        bias: Weight | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        def once(x: Tensor, kernel: Tensor, bias: Tensor | None = None, sets: int = 1) -> Tensor:
            return plain(x, kernel, bias, stride, padding, dilation, groups * sets)

        own = bias if isinstance(bias, Tensor) else None
        if not isinstance(weight, Operand):
            out = once(x, weight, own)
        else:
            if x.ndim != dimensions + 2:
                weight.sets.refuse(f"{weight.place} meets activations without a batch dimension")
            x = weight.sets.along(x, weight, f"conv{dimensions}d")
            if _has_small_kernels(x, weight):
                out = _one_by_one(once, x, weight, own)
            else:
                out = _factored(once, x, weight, own, groups)
        return out if bias is own else _shifted(out.movedim(1, -1), bias, "conv").movedim(-1, 1)

    return convolve


def _has_small_kernels(x: Tensor, weight: Operand) -> bool:
    """Whether kernels are small beside the images, so that few products make them.

    Measured on a CPU, where a convolution to r channels takes about as long as one to
    all: with four images per set and more the whole kernels are then up to 3 times
    faster. On a GPU many calls would be slower.
    """
    count = weight.sets.count
    return x.is_cpu and len(x) >= 4 * count and count * weight.numel() <= x.numel()


def _one_by_one(
    once: Callable[..., Tensor], x: Tensor, weight: Operand, bias: Tensor | None
) -> Tensor:
    """One convolution for each set, with kernels that are multiplied out."""
    sets = zip(x.chunk(weight.sets.count), weight.multiplied().unbind(), strict=True)
    return torch.cat([once(images, kernel, bias) for images, kernel in sets])


def _factored(
    once: Callable[..., Tensor], x: Tensor, weight: Operand, bias: Tensor | None, groups: int
) -> Tensor:
    """The convolution with the base, plus one with the factors of each set."""
    out = _difference(once, x, weight, groups)
    if weight.base is not None:
        return once(x, weight.base, bias).add_(out)
    return out if bias is None else out + bias.view(-1, *(1,) * (x.ndim - 2))


def _difference(once: Callable[..., Tensor], x: Tensor, weight: Operand, groups: int) -> Tensor:
    """Convolution of each set's images with the product of its factors."""
    sets = weight.sets
    if weight.down is None or weight.up is None:
        sets.refuse(f"a convolution reads {weight.place} as a whole")
    count, rank = sets.count, weight.down.shape[1]
    kernels = weight.down.view(count, 1, rank, *weight.shape[1:])
    # One grouped convolution to r channels for each set and each group of the layer,
    kernels = kernels.expand(-1, groups, *(-1,) * (kernels.ndim - 2)).flatten(0, 2)
    images = x.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)
    hidden = once(images, kernels, None, count)
    pixels = hidden.shape[2:]
    # then the channels of each group from those, pixel by pixel.
    up = weight.up.unflatten(1, (groups, -1))
    hidden = hidden.view(-1, count, groups, rank, pixels.numel())
    out = torch.matmul(up.to(hidden.dtype), hidden).mul(weight.scale)
    return out.transpose(0, 1).reshape(x.shape[0], weight.shape[0], *pixels)


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Weight | None = None,
    bias: Weight | None = None,
    eps: float = 1e-5,
) -> Tensor:
    out = F.layer_norm(x, normalized_shape, None, None, eps)
    return _affine(out, weight, bias, "layer_norm")


def _rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Weight | None = None,
    eps: float | None = None,
) -> Tensor:
    return _affine(F.rms_norm(x, normalized_shape, None, eps), weight, None, "rms_norm")


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Weight | None = None,
    bias: Weight | None = None,
    eps: float = 1e-5,
) -> Tensor:
    out = F.group_norm(x, num_groups, None, None, eps).movedim(1, -1)
    return _affine(out, weight, bias, "group_norm").movedim(-1, 1)


@_named
def _batch_norm(
    *,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Weight | None = None,
    bias: Weight | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training:
        _refuse("batch norm with the statistics of all sets", weight, bias)
    out = F.batch_norm(x, running_mean, running_var, None, None, False, momentum, eps)
    return _affine(out.movedim(1, -1), weight, bias, "batch_norm").movedim(-1, 1)


def _affine(out: Tensor, weight: Weight | None, bias: Weight | None, operation: str) -> Tensor:
    """Scale and shift the last dimensions."""
    if weight is not None:
        out = out * _like(weight, out, operation)
    return _shifted(out, bias, operation)


def _whole(weight: Operand, operation: str) -> Tensor:
    if weight.whole is None:
        weight.sets.refuse(f"{operation} reads {weight.place} as a whole")
    return weight.whole


def _refuse(operation: str, *operands: Any) -> NoReturn:
    found = next(operand for operand in operands if isinstance(operand, Operand))
    found.sets.refuse(f"{operation} reads {found.place} as a whole")


@_named
def _attention(
    *,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Weight | None,
    in_proj_bias: Weight | None,
    bias_k: Weight | None,
    bias_v: Weight | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Weight,
    out_proj_bias: Weight | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    **further: Any,
) -> tuple[Tensor, Tensor | None]:
    operands = (in_proj_weight, in_proj_bias, bias_k, bias_v, out_proj_weight, out_proj_bias)
    unusual = add_zero_attn or bias_k is not None or further.get("static_k") is not None
    if unusual or in_proj_weight is None or query.ndim != 3:
        _refuse("an unusual attention", *operands, further.get("q_proj_weight"))
    size = embed_dim_to_check
    # Torch has the batch in the second dimension here.
    same = query is key and key is value
    inputs = [x.transpose(0, 1) for x in ([query] if same else [query, key, value])]
    if same:
        q, k, v = _linear(inputs[0], in_proj_weight, in_proj_bias).split(size, dim=-1)
    else:
        q, k, v = (
            _linear(
                x,
                _rows_of(in_proj_weight, i * size, (i + 1) * size),
                None if in_proj_bias is None else _rows_of(in_proj_bias, i * size, (i + 1) * size),
            )
            for i, x in enumerate(inputs)
        )
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = _mask(attn_mask, key_padding_mask, q)
    dropout = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = F.dropout(weights, dropout) if dropout else weights
        heads = weights @ v
        weights = weights.mean(dim=1) if further.get("average_attn_weights", True) else weights
    else:
        heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    out = _linear(heads.transpose(1, 2).flatten(2), out_proj_weight, out_proj_bias)
    return out.transpose(0, 1), weights


def _rows_of(weight: Weight, start: int, stop: int) -> Weight:
    return weight.rows_between(start, stop) if isinstance(weight, Operand) else weight[start:stop]


def _mask(attention: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
    """Both masks of torch's attention as one that is added to the scores."""
    batch, heads = like.shape[:2]
    parts = []
    if attention is not None:
        whole = attention.ndim == 3
        parts.append(attention.unflatten(0, (batch, heads)) if whole else attention)
    if padding is not None:
        parts.append(padding.view(batch, 1, 1, -1))
    added = [
        like.new_zeros(part.shape).masked_fill_(part, -math.inf)
        if part.dtype is torch.bool
        else part.to(like.dtype)
        for part in parts
    ]
    return sum(added[1:], added[0]) if added else None


HANDLERS: Handlers = {
    F.linear: _linear,
    torch.addmm: _addmm,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    F.embedding: _embedding,
    F.conv1d: _convolution(F.conv1d, 1),
    F.conv2d: _convolution(F.conv2d, 2),
    F.conv3d: _convolution(F.conv3d, 3),
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.multi_head_attention_forward: _attention,
    torch.add: partial(elementwise, torch.add),
    Tensor.add: partial(elementwise, torch.add),
    torch.mul: partial(elementwise, torch.mul),
    Tensor.mul: partial(elementwise, torch.mul),
}
