"""The options of initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import weights_of
from hypnet_core.plugins import error_from, validated, with_defaults

GroupType = TypeVar("GroupType")


Fan = Literal["in", "out", "harmonic"]
Scheme = Literal["kaiming", "xavier"]
BiasScheme = Literal["zero", "share", "torch"]
Directions = Literal["random", "spread"]
TrunkScheme = Literal["isometric", "kaiming", "xavier_fan_in", "orthogonal"]


class Init(BaseModel):
    """How a hypernetwork starts: so that the weights it generates have the right size.

    The defaults suit main networks with rectifiers; `docs/initialisation.md` derives
    the rules. A hypernetwork refuses options that have no effect in it, except
    `cond_var` where it keeps embeddings.

    Attributes:
        fan: Keep the size of the main network's activations (`in`), of its gradients
            (`out`), or compromise: the harmonic mean of both variances (`harmonic`).
        scheme: `kaiming` for main networks with rectifiers, `xavier` for linear and
            odd nonlinearities.
        bias: Variance of generated biases: none (`zero`), a share of the variance of
            the layer as in the hyperfan paper (`share`), or 1 / (3 fan_in) (`torch`).
        trunk: Draw of the hypernetwork's hidden layers. `isometric` layers give inputs
            of equal length features of equal length, so that no condition starts with
            larger weights than another.
        trunk_gain: Factor of the gain of hidden layers. Bounded activations bring
            conditions close together; a factor above 1, about 8 for `sigmoid`, keeps
            them apart.
        overrides: Mean and variance of generated tensors, by kind (`norm_scale`) or by
            a glob over names; the last match wins.
        from_module: Take mean and variance of each generated tensor from the module as
            it was built, in an experiment; from Python `Init.of(module)` does so.
        by_bias: Write one conventional draw into the biases of the heads, or beside the
            chunks, and let their weights start at zero: every condition starts as the
            same ordinary network (J. Beck et al.: Hypernetworks in meta-reinforcement
            learning. CoRL 2022, arXiv:2210.11348).
        normal_std: Draw the hypernetwork's own weights from a normal distribution with
            this standard deviation, with zero biases, instead of by the rules for
            moments.
        embeddings: Directions of the embeddings of the conditions: independent
            (`random`), or far from each other (`spread`), so that no two conditions
            start alike. Spread ones are the best of 100 random sets.
        embedding_std: Root mean square of the embeddings of the conditions, all of one
            length; 1 by default.
        chunk_embedding_std: Standard deviation of the chunk embeddings; by default the
            length of each embedding is chosen so that its chunk has the right size.
        uniform_chunks: Draw chunk embeddings uniformly instead of normally.
        min_variance: Smallest variance that a chunk embedding may get.
        condition_share: Part of the smallest chunk's variance that comes from the
            condition rather than from the chunk.
        cond_var: Mean square of embeddings that the caller passes in, which should all
            have one length. Hypernetworks that keep embeddings start by those instead.
        uncond_var: Variance of unconditional inputs.

    Raises:
        ConfigError: An option is unknown or impossible.

    Example:
        >>> Init(fan="out").scheme
        'kaiming'
        >>> Init(fan="inn")
        Traceback (most recent call last):
        hypnet_core.plugins.validation.InvalidOptionsError: fan: ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fan: Fan = "in"
    scheme: Scheme = "kaiming"
    bias: BiasScheme = "zero"
    trunk: TrunkScheme = "isometric"
    trunk_gain: FiniteFloat = Field(default=1.0, gt=0)
    overrides: Mapping[str, tuple[FiniteFloat, Annotated[FiniteFloat, Field(ge=0)]]] = Field(
        default_factory=dict
    )
    from_module: bool = False
    by_bias: bool = False
    normal_std: Annotated[FiniteFloat, Field(ge=0)] | None = None
    embeddings: Directions = "random"
    embedding_std: Annotated[FiniteFloat, Field(ge=0)] | None = None
    chunk_embedding_std: Annotated[FiniteFloat, Field(ge=0)] | None = None
    uniform_chunks: bool = False
    min_variance: FiniteFloat = Field(default=1e-5, gt=0)
    condition_share: FiniteFloat = Field(default=0.8, ge=0, lt=1)
    cond_var: FiniteFloat = Field(default=1.0, ge=0)
    uncond_var: FiniteFloat = Field(default=1.0, ge=0)

    def __hash__(self) -> int:
        # The mapping of overrides cannot be hashed itself.
        values = {**dict(self), "overrides": frozenset(self.overrides.items())}
        return hash(tuple(values.items()))

    if not TYPE_CHECKING:  # type checkers read the fields above

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            # Pydantic's report becomes our error, with the nearest names.
            except ValidationError as error:
                raise error_from(error, type(self), data) from None

    @classmethod
    def of(cls, module: nn.Module, init: Init | None = None) -> Init:
        """Give each tensor the mean and variance that it has in a module.

        Networks with a start of their own, such as SIREN, learn from that alone. Call
        it before the module becomes a `MainNetwork`, which takes its parameters out.

        Args:
            module: The module as it was built.
            init: Further options; its overrides come last and win.

        Raises:
            SpecError: This is no module, or it has no parameters any more.

        Example:
            >>> layer = nn.LayerNorm(4)
            >>> Init.of(layer).overrides["weight"]
            (1.0, 0.0)
        """
        rules = init_from(init)
        found = {
            name: (float(values.mean()), float(values.var(correction=0)))
            for name, values in weights_of(module).items()
            if values.numel()
        }
        if not found:
            raise SpecError("there are no parameters to start from: use Init.of before MainNetwork")
        overrides = {**found, **rules.overrides}
        return rules.model_copy(update={"overrides": overrides, "from_module": False})


class InitOption(TypedDict, total=False):
    """The option `init` of a hypernetwork."""

    init: Annotated[
        Init, Field(default=Init(), description="How the hypernetwork starts, see `Init`.")
    ]


class _Holder(BaseModel):
    """Lets messages about a mapping begin with `init`."""

    init: Init


def init_from(given: object) -> Init:
    """The option `init` as callers pass it from Python.

    Args:
        given: An `Init`, a mapping of its fields, or `None` for the defaults.

    Raises:
        SpecError: It is something else.
        ConfigError: A field of the mapping is unknown or impossible.
    """
    if given is None:
        return Init()
    if isinstance(given, Init):
        return given
    if isinstance(given, Mapping):
        return validated(_Holder, {"init": dict(given)}).init
    raise SpecError(
        "init must be an Init or a mapping of its fields, such as Init(scheme='xavier'), got"
        f" {given!r}"
    )


def chosen_options(group: type[GroupType], given: GroupType) -> GroupType:
    """Complete the options of a hypernetwork with their defaults.

    Args:
        group: The `TypedDict`, which includes `InitOption`.
        given: The options that a caller passed, some of its keys.

    Raises:
        TypeError: A key is unknown; a field of `Init` is named with its place.
        SpecError: `init` is neither an `Init` nor a mapping.
    """
    try:
        chosen = with_defaults(group, given)
    except TypeError as error:
        misplaced = [key for key in cast("Mapping[str, Any]", given) if key in Init.model_fields]
        if not misplaced:
            raise
        key = misplaced[0]
        raise TypeError(
            f"there is no option {key!r}, but init has it: pass init=Init({key}=...)"
        ) from error
    options = cast("dict[str, Any]", chosen)
    options["init"] = init_from(options["init"])
    return chosen
