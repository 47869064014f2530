"""The factors of low-rank weights."""

from __future__ import annotations

import math

from hypnet_core.errors import SpecError
from hypnet_core.networks import FACTOR_A, FACTOR_B
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec


def low_rank_factors(target: TargetSpec, rank: int) -> TargetSpec:
    r"""The factors to generate so that every matrix of a target has rank `rank`.

    A weight or embedding `[out, in, *kernel]` counts as a matrix `[out, in · kernel]`
    and is replaced by its factors `NAME.lora_A` of shape `[rank, in · kernel]` and
    `NAME.lora_B` of shape `[out, rank]`; everything else stays as it is.

    Raises:
        SpecError: The rank is not positive, or the target has no matrix.

    Example:
        >>> target = TargetSpec.from_shapes([[20, 3, 5, 5], [20]])
        >>> low_rank_factors(target, rank=2).shapes
        ((2, 75), (20, 2), (20,))
    """
    if rank < 1:
        raise SpecError(f"the rank must be positive, got {rank}")
    params: list[ParamSpec] = []
    for param in target.params:
        if not is_matrix(param):
            params.append(param)
            continue
        rows, columns = sides(param)
        params.append(
            ParamSpec(
                name=f"{param.name}.{FACTOR_A}",
                shape=(rank, columns),
                # Factors of an embedding count as weights too: they start like
                # matrices.
                kind=ParamKind.WEIGHT,
                layer=param.layer,
            )
        )
        params.append(
            ParamSpec(
                name=f"{param.name}.{FACTOR_B}",
                shape=(rows, rank),
                kind=ParamKind.WEIGHT,
                layer=param.layer,
            )
        )
    if len(params) == len(target):
        raise SpecError(
            "the target holds no weight of two or more dimensions: there is nothing to factorise"
        )
    return TargetSpec(params=tuple(params))


def is_matrix(param: ParamSpec) -> bool:
    """Whether a parameter is the product of two factors."""
    return (
        len(param.shape) > 1
        and param.kind in {ParamKind.WEIGHT, ParamKind.EMBEDDING}
        and param.numel > 0
    )


def sides(param: ParamSpec) -> tuple[int, int]:
    """Rows and columns of a parameter as a matrix."""
    return param.shape[0], math.prod(param.shape[1:])
