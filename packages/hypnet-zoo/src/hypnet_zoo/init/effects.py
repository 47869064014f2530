"""The options of `Init` that have an effect in a hypernetwork.

An option without effect is refused instead of ignored, so that no sweep compares equal
starts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_zoo.init.moments import restricted
from hypnet_zoo.init.options import Init
from hypnet_zoo.init.protocols import HasInitOptions, Initializable

Names: TypeAlias = frozenset[str]

ALL: Names = frozenset(Init.model_fields)
MOMENTS: Names = frozenset({"fan", "scheme", "bias", "overrides"})
"""Options that choose the moments of the generated weights."""
TRUNK: Names = frozenset({"trunk", "trunk_gain"})
"""Options that choose the draw of the hidden layers."""

_REASONS = {
    "trunk": "no hidden layer is drawn by it",
    "trunk_gain": "no hidden layer is drawn by it",
    "from_module": "only an experiment knows the module; pass init=Init.of(module)",
    "by_bias": "no bias of a head writes single weights",
    "embeddings": "no embedding of a condition is kept there",
    "embedding_std": "no embedding of a condition is kept there",
    "chunk_embedding_std": "there are no chunk embeddings",
    "uniform_chunks": "there are no chunk embeddings",
    "min_variance": "there are no chunk embeddings whose lengths are adapted",
    "condition_share": "there is no chunk writer that can be scaled",
    "cond_var": "no embedding is read there",
    "uncond_var": "there is no unconditional input",
}
_UNDER_STD = {"uniform_chunks", "min_variance"}


def changed(init: Init) -> list[str]:
    """The options whose values differ from their defaults."""
    default = Init()
    return [name for name in Init.model_fields if getattr(init, name) != getattr(default, name)]


def effective(hypernet: HyperNetwork, init: Init) -> Names:
    """The options that have an effect in a hypernetwork.

    A third party's hypernetwork that does not name them is assumed to use all.
    """
    if isinstance(hypernet, HasInitOptions):
        return hypernet.init_options(init)
    return ALL if isinstance(hypernet, Initializable) else frozenset()


def effective_in_draws(init: Init) -> Names:
    """The options that have an effect in `drawn_weights`."""
    if init.normal_std is not None:
        return frozenset({"normal_std", "overrides"})
    return MOMENTS | {"normal_std"}


def of_draws(init: Init) -> Init:
    """The options that have an effect in `drawn_weights`."""
    return reduced(init, effective_in_draws(init))


def reduced(init: Init, names: Collection[str]) -> Init:
    """The same options, with defaults for all but the named ones."""
    default = Init()
    others = {name: getattr(default, name) for name in changed(init) if name not in names}
    return init.model_copy(update=others) if others else init


def concerning(hypernet: HyperNetwork, init: Init) -> Init:
    """The options that have an effect in a part, with overrides of its tensors."""
    return restricted(reduced(init, effective(hypernet, init)), hypernet.target)


def refuse_without_effect(init: Init, names: Collection[str], where: str) -> None:
    """Refuse options that are set and have no effect.

    Args:
        init: The options.
        names: Those that have an effect.
        where: The hypernetwork's name in the message.

    Raises:
        SpecError: An option that differs from its default is not among the names.
    """
    for name in changed(init):
        if name in names:
            continue
        if init.normal_std is not None and name in ALL - {
            "embeddings",
            "embedding_std",
            "chunk_embedding_std",
        }:
            reason = "init.normal_std replaces the rules for moments"
        elif init.chunk_embedding_std is not None and name in _UNDER_STD:
            reason = "init.chunk_embedding_std sets their size"
        else:
            reason = _REASONS.get(name, "no generated weight starts by it")
        raise SpecError(f"init.{name} has no effect in {where}: {reason}")
