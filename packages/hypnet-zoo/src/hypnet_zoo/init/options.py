"""The options of initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hypnet_core.plugins import error_from

Fan = Literal["in", "out", "harmonic"]
Scheme = Literal["kaiming", "xavier"]
BiasScheme = Literal["zero", "share", "torch"]
TrunkScheme = Literal["kaiming", "xavier_fan_in", "orthogonal"]


class Init(BaseModel):
    """How a hypernetwork starts: so that the weights it generates have the right size.

    The defaults suit main networks with rectifiers; `docs/initialisation.md` derives
    the rules. Options for chunks have no effect on hypernetworks without chunks.

    Attributes:
        fan: Keep the size of the main network's activations (`in`), of its gradients
            (`out`), or compromise: the harmonic mean of both variances (`harmonic`).
        scheme: `kaiming` for main networks with rectifiers, `xavier` for linear and
            odd nonlinearities.
        bias: Variance of generated biases: none (`zero`), a share of the variance of
            the layer as in the hyperfan paper (`share`), or 1 / (3 fan_in) (`torch`).
        trunk: Draw of the hypernetwork's hidden layers.
        overrides: Mean and variance of generated tensors, by kind (`norm_scale`) or by
            a glob over names; the last match wins.
        normal_std: Draw the hypernetwork's own weights from a normal distribution with
            this standard deviation, with zero biases, whatever they generate.
        embedding_std: Draw the embeddings of the conditions anew with this standard
            deviation; by default they keep their draw with standard deviation 1.
        chunk_embedding_std: Standard deviation of the chunk embeddings; by default the
            length of each embedding is chosen so that its chunk has the right size.
        uniform_chunks: Draw chunk embeddings uniformly instead of normally.
        min_variance: Smallest variance that a chunk embedding may get.
        condition_share: Part of the smallest chunk's variance that comes from the
            condition rather than from the chunk.
        cond_var: Variance of embeddings that the caller passes in.
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
    trunk: TrunkScheme = "kaiming"
    overrides: Mapping[str, tuple[float, Annotated[float, Field(ge=0)]]] = Field(
        default_factory=dict
    )
    normal_std: Annotated[float, Field(ge=0)] | None = None
    embedding_std: Annotated[float, Field(ge=0)] | None = None
    chunk_embedding_std: Annotated[float, Field(ge=0)] | None = None
    uniform_chunks: bool = False
    min_variance: float = Field(default=1e-5, gt=0)
    condition_share: float = Field(default=0.8, ge=0, lt=1)
    cond_var: float = Field(default=1.0, ge=0)
    uncond_var: float = Field(default=1.0, ge=0)

    if not TYPE_CHECKING:  # type checkers read the fields above

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            # Pydantic's report becomes our error, with the nearest names.
            except ValidationError as error:
                raise error_from(error, type(self), data) from None


class InitOption(TypedDict, total=False):
    """The option `init` of a hypernetwork."""

    init: Annotated[
        Init, Field(default=Init(), description="How the hypernetwork starts, see `Init`.")
    ]
