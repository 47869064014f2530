"""Recipes of chunkings: functions from a `TargetSpec` to a `Chunking`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict, Unpack, get_args, get_type_hints

from pydantic import Field

from hypnet_core.errors import ImportStringError, SpecError, did_you_mean
from hypnet_core.import_strings import import_callable
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import ParamSpec, TargetSpec
from hypnet_zoo.hypernets._chunking.cuts import Cuts, ResidualLayers
from hypnet_zoo.hypernets._chunking.documents import Chunking


class WriterOptions(TypedDict, total=False):
    """Options of the networks that write the chunks."""

    hidden: Annotated[
        tuple[int, ...],
        Field(
            default=(100, 100),
            description="Hidden layers of every network; empty for soft sharing by templates.",
        ),
    ]
    bias: Annotated[bool, Field(default=True, description="Whether their layers have biases.")]


class GroupOptions(WriterOptions, total=False):
    """Options of the groups of chunks of a residual network."""

    embedding_size: Annotated[
        int | tuple[int, ...],
        Field(
            default=8,
            description="Length of the chunk embeddings; one for all groups, or one each.",
        ),
    ]


def by_shape(
    target: TargetSpec,
    *,
    embedding_size: int = 8,
    **options: Unpack[WriterOptions],
) -> Chunking:
    """One group for all tensors of the same shape and kind, one chunk per tensor.

    It suits any network.

    Args:
        target: The target.
        embedding_size: Length of all chunk embeddings.
        **options: See `WriterOptions`.

    Example:
        >>> chunking = by_shape(TargetSpec.from_shapes([[6, 6], [6], [6, 6], [6]]))
        >>> [(group.shapes, group.count) for group in chunking.groups]
        [(((6, 6),), 2), (((6,),), 2)]
    """
    # Kinds matter: a norm's scale and a bias may have the same shape but not the same
    # start.
    alike: dict[object, list[ParamSpec]] = {}
    for param in target.params:
        if param.numel:
            alike.setdefault((param.shape, param.kind), []).append(param)
    cuts = Cuts()
    for params in alike.values():
        cuts.whole([[param] for param in params])
    return cuts.chunking(embedding_size, **with_defaults(WriterOptions, options))


def resnet(
    target: TargetSpec,
    *,
    gcd: bool = False,
    **options: Unpack[GroupOptions],
) -> Chunking:
    """Chunks of a `resnet`: weight and bias of a layer, and the norm after it.

    Eight groups: the first layer; of each of the three parts of the network its first
    convolution, then all others; the output layer. With n blocks they have 1, 1, 2n -
    1, 1, 2n - 1, 1, 2n - 1 and 1 chunks. Layers that the target lacks are left out.

    Args:
        target: Weights of a `resnet`, with or without biases, norms and output layer.
        gcd: Write the convolutions of the three parts in pieces: as many outputs as the
            greatest common divisor of all numbers of feature maps. One group for each
            number of inputs, six groups in all.
        **options: See `GroupOptions`.

    Raises:
        SpecError: These are not the weights of a `resnet`, or the number of embedding
            sizes is wrong.
    """
    net = ResidualLayers(
        target, lambda convolutions: [name.replace("conv", "norm") for name in convolutions]
    )
    cuts = Cuts()
    cuts.whole([net.first])
    if gcd:
        # A piece must fit into every layer, hence a divisor of all widths.
        size = math.gcd(net.first[0].shape[0], *(stage[0][0].shape[0] for stage in net.stages))
        first, second, third = net.stages
        # The first convolution of a part has as many inputs as the part before has
        # outputs, so their pieces have the same shape.
        for layers in (first[:1], [*first[1:], *second[:1]], [*second[1:], *third[:1]], third[1:]):
            cuts.add(layers, size, dim=0)
    else:
        for stage in net.stages:
            cuts.whole(stage[:1])
            cuts.whole(stage[1:])
    cuts.whole(net.output)
    return cuts.chunking(**with_defaults(GroupOptions, options))


def wide_resnet(
    target: TargetSpec,
    *,
    gcd: bool = False,
    **options: Unpack[GroupOptions],
) -> Chunking:
    """Chunks of a `wide_resnet`: a convolution, and the norm after it.

    Up to eleven groups: the first layer; of each of the three parts of the network its
    first convolution, then all others; the shortcuts, each by itself; the output layer.
    Where the first convolution of a part has as many inputs as outputs, or a factor of
    two more or fewer, one group writes the whole part, in chunks of as many inputs as
    the greatest common divisor of both; biases and norms are then written with every
    chunk, and those of the first are used. Layers that the target lacks are left out.

    Args:
        target: Weights of a `wide_resnet`, with or without biases, norms and output
            layer.
        gcd: Let one group write each part, for any number of inputs of its first
            convolution.
        **options: See `GroupOptions`.

    Raises:
        SpecError: These are not the weights of a `wide_resnet`, or the number of
            embedding sizes is wrong.
    """
    # Norms precede convolutions here, so the norm of a convolution's outputs is named
    # after the next one.
    net = ResidualLayers(
        target,
        lambda convolutions: [*(name.replace("conv", "norm") for name in convolutions[1:]), "norm"],
    )
    cuts = Cuts()
    cuts.whole([net.first])
    for stage in net.stages:
        outputs, inputs = stage[0][0].shape[:2]
        # Here every convolution is a whole number of slices of the same shape.
        if gcd or max(inputs, outputs) in {min(inputs, outputs), 2 * min(inputs, outputs)}:
            cuts.add(stage, math.gcd(inputs, outputs), dim=1)
        else:
            cuts.whole(stage[:1])
            cuts.whole(stage[1:])
    for shortcut in net.shortcuts:
        cuts.whole([shortcut])
    cuts.whole(net.output)
    return cuts.chunking(**with_defaults(GroupOptions, options))


def economical_ensemble(target: TargetSpec) -> Chunking:
    """The chunking of WRN-28-10 in the paper on economical ensembles.

    It has eight linear generators without bias, and 42 chunks.

    Its target is the convolutions alone (`generate=["*conv*", "*shortcut*"]`). Use it
    with `conditional_chunks` and conditions of size 0: the chunk embeddings are all
    that the members of an ensemble do not share.

    Args:
        target: Weights of the convolutions of `wide_resnet` with n = 4 and k = 10.

    Raises:
        SpecError: The target is another one.

    References:
        J. Sacramento, J. von Oswald, S. Kobayashi, C. Henning, B. F. Grewe: Economical
        ensembles with hypernetworks. 2020, arXiv:2007.12927, table S1.
    """
    chunking = wide_resnet(target, embedding_size=8, hidden=(), bias=False)
    # Stem; the first part's first convolution and its 7 others; two parts in slices, 1
    # + 7 * 2 each; three shortcuts.
    counts = tuple(group.count for group in chunking.groups)
    if counts != (1, 1, 7, 15, 15, 1, 1, 1) or any(
        len(group.shapes) > 1 for group in chunking.groups
    ):
        raise SpecError(
            "economical_ensemble is for the convolutions of WRN-28-10 without biases (generate"
            " *conv* and *shortcut*): expected groups of 1, 1, 7, 15, 15, 1, 1 and 1 chunks of one"
            f" tensor, got {', '.join(map(str, counts))}"
        )
    # Lengths of the embeddings in the paper, one for each of these groups.
    return wide_resnet(target, embedding_size=(10, 7, 14, 14, 14, 7, 7, 7), hidden=(), bias=False)


CHUNKINGS: Mapping[str, Callable[..., Chunking]] = {
    "by_shape": by_shape,
    "resnet": resnet,
    "wide_resnet": wide_resnet,
    "economical_ensemble": economical_ensemble,
}


def chunking_of(
    target: TargetSpec, chunking: Chunking | str, options: Mapping[str, Any]
) -> Chunking:
    """The chunking of a document, the name of a recipe or an import string.

    Raises:
        SpecError: There is no such recipe, it has no such option, or it does not return
            a `Chunking`.
    """
    if isinstance(chunking, Chunking):
        if options:
            raise SpecError(
                "chunking_options are for chunkings by name, not for a document:"
                f" {', '.join(options)}"
            )
        return chunking
    if ":" not in chunking and chunking not in CHUNKINGS:
        raise SpecError(
            f"there is no chunking {chunking!r} (name your own function as"
            f" module:function){did_you_mean(chunking, CHUNKINGS)}"
        )
    function = CHUNKINGS.get(chunking) or _imported(chunking)
    signature = _signature_of(function)
    try:
        # Bound before the call, so that a `TypeError` from inside the recipe is not
        # mistaken for a wrong option.
        signature.bind(target, **options)
    except TypeError as error:
        known = list(signature.parameters)[1:]
        raise SpecError(
            f"chunking_options of {chunking}: {error}; it has: {', '.join(known) or 'none'}"
        ) from None
    # From a configuration, tuples come as lists.
    made = function(
        target,
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        },
    )
    if not isinstance(made, Chunking):
        raise SpecError(f"{chunking} must return a Chunking, returned a {type(made).__name__}")
    return made


def _signature_of(function: Callable[..., Chunking]) -> inspect.Signature:
    """The signature of a recipe, with its group of options unfolded."""
    signature = inspect.signature(function)
    *others, last = signature.parameters.values()
    if last.kind is not last.VAR_KEYWORD:
        return signature
    try:
        (group,) = get_args(get_type_hints(function).get(last.name))
        names = get_type_hints(group)
    except (NameError, TypeError, ValueError):
        return signature  # any other `**options` takes all names
    unfolded = [inspect.Parameter(name, last.KEYWORD_ONLY, default=None) for name in names]
    return signature.replace(parameters=[*others, *unfolded])


def _imported(path: str) -> Callable[..., Chunking]:
    try:
        return import_callable(path)
    except ImportStringError as error:
        raise SpecError(f"chunking: {error}") from error
