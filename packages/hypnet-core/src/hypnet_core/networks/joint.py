"""Many sets of factored weights in one call of a module.

The inputs of all sets are laid along the batch dimension, the module runs once, and
`Operand`s in the places of its weights add each set's factors. That is right only if
the module treats the entries of a batch independently, so each kind of call is checked
the first time against one set after the other, with factors drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from hypnet_core.errors import HypnetError
from hypnet_core.networks import batching as ways
from hypnet_core.networks.execution import Execution
from hypnet_core.networks.factored import FACTOR_A, FACTOR_B, FactoredWeights
from hypnet_core.networks.operands import Sets, UnfactoredError
from hypnet_core.networks.operations import HANDLERS
from hypnet_core.networks.placement import Placement
from hypnet_core.networks.recompute import Snapshot
from hypnet_core.networks.weights import Weights

REASON = "low-rank factors are added where the module multiplies with its weights"
_OTHERS = "the module reads other weights than in an earlier call"
# A module on inputs in a layout that it does not expect may fail in any of these ways.
_FAILURES = (
    HypnetError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
# Root mean square of the differences, of that of the outputs: deep networks magnify
# rounding, but a factor or an entry in the wrong place is far above.
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
_ROUGH = 0.1  # half precision, and autocast
_CONSTANTS = (bool, int, float, str, type(None), torch.dtype, torch.device)
_NOISE = 0.1  # standard deviation of draws for tensors other than factors


class Layout(NamedTuple):
    """How the inputs of all sets are laid along the batch dimension.

    Attributes:
        batched: Whether each set's inputs have a batch dimension, which is merged with
            that of the sets. Else each set's input is one entry of the batch.
        reads: The operations that read weights, as `Sets.reads`.
    """

    batched: bool
    reads: list[Any]


class Joint:
    """Runs batches of factored weights in one call of the module.

    Args:
        module: The module, already hollow.
        execution: How it runs once.
        placement: Where its weights go.
        buffers: Gives the tensors beside the module's that a call may change.
    """

    def __init__(
        self,
        module: nn.Module,
        execution: Execution,
        placement: Placement,
        buffers: Callable[[], Iterator[Tensor]],
    ) -> None:
        self._module = module
        self._parts = list(module.modules())
        self._execution = execution
        self._placement = placement
        self._buffers = buffers
        # By kind of call: its layout, or why it is impossible.
        self._known: dict[Any, Layout | str] = {}
        # By mode and `paired`, for compilation.
        self._latest: dict[tuple[bool, bool], Layout] = {}

    def taken(self, weights: object) -> FactoredWeights | None:
        """The weights, if they may stay factored: a batch of them for this target."""
        if (
            not isinstance(weights, FactoredWeights)
            or weights.batch_shape.numel() < 2
            or not weights.batch_shape
            or self._execution.batching != "auto"
            or not self._placement.fits(weights)
        ):
            return None
        return weights

    def run(self, weights: FactoredWeights, args: Any, kwargs: Any, *, paired: bool) -> Any:
        """Run all sets.

        Args:
            weights: Sets of weights, with one batch dimension.
            args: Positional inputs.
            kwargs: Further inputs.
            paired: Whether each set has inputs of its own.

        Returns:
            Outputs with a dimension for the sets in front, or else the reason, a
            `Refusal`, why the weights must be multiplied out.
        """
        if torch.compiler.is_compiling():
            return self._traced(weights, args, kwargs, paired=paired)
        leaves, structure = pytree.tree_flatten((args, kwargs))
        kinds = tuple(_kind(leaf, paired=paired) for leaf in leaves)
        modes = tuple(part.training for part in self._parts)
        autocast = torch.is_autocast_enabled(weights.factors.flat.device.type)
        key = (modes, paired, autocast, structure, kinds)
        known = None if None in kinds else self._known.get(key)
        if known is None:
            known, lasting = self._checked(weights, args, kwargs, paired=paired)
            if lasting and None not in kinds:
                self._known[key] = known
            if isinstance(known, Layout):
                self._latest[self._module.training, paired] = known
        if isinstance(known, str):
            return Refusal(known)
        try:
            output, reads = self._call(weights, args, kwargs, known.batched, paired=paired)
        # An error of the module's own will be raised again, by one set.
        except RuntimeError as error:
            return Refusal(str(error).partition("\n")[0])
        if reads != known.reads:
            return Refusal(_OTHERS)
        self._execution.used, self._execution.reason = "factored", REASON
        return output

    def _traced(self, weights: FactoredWeights, args: Any, kwargs: Any, *, paired: bool) -> Any:
        """The same within `torch.compile`, which can check nothing itself."""
        known = self._latest.get((self._module.training, paired))
        if known is None:
            return Refusal("the first call of its kind was compiled: make one without")
        try:
            output, reads = self._call(weights, args, kwargs, known.batched, paired=paired)
        except UnfactoredError as error:
            return Refusal(str(error))
        # Sizes may be symbols here.
        if [read[:2] for read in reads] != [read[:2] for read in known.reads]:
            return Refusal(_OTHERS)
        return output

    def _call(
        self, weights: FactoredWeights, args: Any, kwargs: Any, batched: bool, *, paired: bool
    ) -> tuple[Any, list[Any]]:
        """One call for all sets: the outputs, and which operations read weights.

        Raises:
            UnfactoredError: An operation needs a weight as a whole.
        """
        count = weights.batch_shape.numel()

        def laid(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            each = leaf if paired else leaf.expand(count, *leaf.shape)
            return each.flatten(0, 1) if batched else each

        inputs = pytree.tree_map(laid, (args, kwargs))
        lengths = {len(x) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)}
        sets = Sets(count, lengths.pop() if len(lengths) == 1 else 0, HANDLERS)
        if not sets.rows:
            sets.refuse("the inputs are not batches of one length")
        operands = self._placement.operands(weights, sets)
        try:
            output = self._execution.one(operands, *inputs)
        except _FAILURES as error:
            # It may have been caught inside, and have led to this one.
            if sets.refusal:
                raise UnfactoredError(sets.refusal) from error
            raise
        if sets.refusal:
            raise UnfactoredError(sets.refusal)

        def parted(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if not leaf.ndim or leaf.shape[0] != sets.rows:
                sets.refuse(f"an output of shape {list(leaf.shape)} does not tell the sets apart")
            return leaf.unflatten(0, (count, -1)) if batched else leaf

        return pytree.tree_map(parted, output), sets.reads

    @torch.no_grad()
    def _checked(
        self, weights: FactoredWeights, args: Any, kwargs: Any, *, paired: bool
    ) -> tuple[Layout | str, bool]:
        """The layout in which two sets are right, or a reason; and whether it lasts."""
        pair = [0, 1]
        try:
            _read((weights.factors.flat, args, kwargs))
            if paired:
                pair = _different(args, kwargs, weights.batch_shape[0])
        except RuntimeError:
            return "there are no values that could be compared (vmap, the meta device)", False
        if paired:
            args, kwargs = pytree.tree_map(
                lambda leaf: leaf[pair] if isinstance(leaf, Tensor) else leaf, (args, kwargs)
            )
        device = weights.factors.flat.device
        before = Snapshot(self._module, self._buffers(), {device})
        found: Layout | str = ""
        dtype = torch.get_autocast_dtype(device.type)
        # In full precision first, which tells more.
        for autocast in sorted({False, torch.is_autocast_enabled(device.type)}):
            try:
                with torch.autocast(device.type, dtype, enabled=autocast):
                    probe = _drawn(weights.index(pair))
                    found = self._layout(probe, args, kwargs, before, paired=paired)
            except _FAILURES as error:
                # The loop will raise it again if it is the module's own.
                found = f"the check of two sets fails: {error}".partition("\n")[0]
            finally:
                before.restore()
            if isinstance(found, Layout):
                break
        return found, pair[0] != pair[1]

    def _layout(
        self, probe: FactoredWeights, args: Any, kwargs: Any, before: Snapshot, *, paired: bool
    ) -> Layout | str:
        tensors, _ = self._placement.assign(probe)
        states = ways.unbind_states(tensors, 2)
        one = self._execution.one
        with _WithoutDropout():
            expected = ways.run_loop(self._module, one, states, args, kwargs, paired=paired)
        reasons: list[str] = []
        for batched in (True, False):
            before.restore()
            try:
                with _WithoutDropout():
                    found, reads = self._call(probe, args, kwargs, batched, paired=paired)
            except _FAILURES as error:
                if isinstance(error, UnfactoredError):
                    reasons.insert(0, str(error))
                continue
            if _agree(found, expected):
                return Layout(batched, reads)
            reasons.append("computed together, sets of weights differ from one after the other")
        return reasons[0] if reasons else "the module takes no batch of all sets' inputs"


class Refusal(str):
    """The reason why factors must be multiplied out."""

    __slots__ = ()


def _kind(leaf: Any, *, paired: bool) -> Any:
    """Kind of an input, save its values and the number of sets; `None` if unknown."""
    if isinstance(leaf, Tensor):
        return leaf.shape[1:] if paired else leaf.shape, leaf.dtype
    # Equal numbers of different types are different inputs.
    return (type(leaf), leaf) if isinstance(leaf, _CONSTANTS) else None


def _read(inputs: Any) -> None:
    """Read a value of each tensor.

    Raises:
        RuntimeError: `vmap` is at work, or they are on the meta device.
    """
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, Tensor) and leaf.numel():
            leaf.flatten()[0].item()


def _different(args: Any, kwargs: Any, count: int) -> list[int]:
    """Two sets with inputs that differ; twice the same if there are none."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    for i in range(1, count):
        if any(not torch.equal(tensor[0], tensor[i]) for tensor in tensors):
            return [0, i]
    return [0, 0]


def _drawn(weights: FactoredWeights) -> FactoredWeights:
    """The same weights plus random ones, as large as a linear layer's.

    Factors often start at zero, where nothing that is wrong would be seen.
    """
    factors = weights.factors
    noise = {}
    for name, tensor in factors.items():
        if name.endswith(f".{FACTOR_A}"):
            std = tensor.shape[-1] ** -0.5
        elif name.endswith(f".{FACTOR_B}"):
            std = tensor.shape[-1] ** -0.5 / weights.scale
        else:
            std = _NOISE
        noise[name] = std * torch.randn_like(tensor)
    return weights.with_factors(factors + Weights.of(factors.spec, noise))


def _agree(found: Any, expected: Any) -> bool:
    """Whether outputs are equal but for rounding."""
    if pytree.tree_structure(found) != pytree.tree_structure(expected):
        return False
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    return all(_close(one, other) for one, other in pairs)


def _close(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return type(one) is type(other) and one == other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not other.is_floating_point():
        return torch.equal(one, other)
    rough = torch.is_autocast_enabled(other.device.type)
    tolerance = _ROUGH if rough else _TOLERANCES.get(other.dtype, _ROUGH)
    finite = other.isfinite()
    if not torch.equal(one[~finite].nan_to_num(), other[~finite].nan_to_num()):
        return False
    truth = other[finite].double()
    error = (one[finite].double() - truth).square().sum()
    return bool(error <= tolerance**2 * truth.square().sum())


class _WithoutDropout(TorchFunctionMode):
    """Switches dropout off in training mode, so that two calls can be compared."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        if function is F.scaled_dot_product_attention:
            args, kwargs = args[:4], {**kwargs, **dict(zip(_FURTHER, args[4:], strict=False))}
            kwargs["dropout_p"] = 0.0
        elif function is F.multi_head_attention_forward:
            args = (*args[:10], 0.0, *args[11:])
        return function(*args, **kwargs)


_FURTHER = ("dropout_p", "is_causal", "scale", "enable_gqa")
_DROPOUTS = {
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    torch.dropout,
}
