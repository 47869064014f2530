"""Main networks: modules called with weights from outside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self, SupportsIndex, get_args

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError, WeightsError, did_you_mean, listed
from hypnet_core.networks import batching as ways
from hypnet_core.networks.batching import Batching
from hypnet_core.networks.checks import check_inputs, check_keywords, check_tensors
from hypnet_core.networks.conditions import Condition, Ids, condition_ids
from hypnet_core.networks.execution import Execution
from hypnet_core.networks.factored import FactoredWeights
from hypnet_core.networks.hollow import Hollow
from hypnet_core.networks.joint import Joint, Refusal
from hypnet_core.networks.placement import Placement
from hypnet_core.networks.recompute import Snapshot
from hypnet_core.networks.selection import Generate, choose_target
from hypnet_core.networks.statistics import BufferWatch, StatisticsBank, statistics_spec
from hypnet_core.networks.weights import Weights
from hypnet_core.protocols import KeepsTensors
from hypnet_core.specs import TargetSpec


class MainNetwork(nn.Module):
    r"""A module $f(x, \omega)$ that takes its parameters $\omega$ at each call.

    All parameters come from outside, or those that `generate` selects. The module is
    modified (pass a copy to keep it): the selected parameters are replaced by shapes
    without memory, disappear from `parameters()`, and must be passed as `weights`. The
    others stay trainable. Tied parameters stay tied. An exception inside the module
    leaves it unchanged. While the module runs, its parameters are in their places.

    **Precision.** Weights take the dtype of the parameters that they replace, whatever
    dtype they come in; `to(dtype)` changes it, as for any module.

    **Between calls.** Tensors that `forward` caches in empty attributes or containers
    can be read after the call and are forgotten when the next begins, since they may be
    derived from its weights. Other state goes on. Activation checkpointing
    (`torch.utils.checkpoint`) recomputes with the weights of its call; such modules
    have no second derivatives.

    **Batches of weights.** With `weights` of batch shape `(B,)` the result has a
    leading dimension `B`. All sets see the same input, or one each with `paired=True`.
    Three ways lead to the same result: `torch.vmap`, a loop (where `vmap` is
    impossible, or slow on a CPU), and `forward_batched` of a module that implements
    `hypnet_core.protocols.BatchedForward`. `batching_used` and `batching_reason` tell
    which was used last. Dropout draws a mask for each set.

    **Running statistics.** Those of batch norm, and whatever other buffers training
    changes, belong to a condition, not to the module. Weights from a hypernetwork know
    their condition: its set is read and, in training mode, updated. For weights of
    unknown origin `condition=i` says whose set it is: arithmetic between conditions,
    functional transforms and batches of hypernetworks drop the ids (see `Weights`).
    Without it the module's own set is used as long as no condition was trained.
    `stats=` passes statistics from outside, which are read, never changed, and carry no
    gradient. Layers that keep other tensors per condition implement
    `hypnet_core.protocols.KeepsTensors`; those tensors replace the layer's own unless
    they come from outside. A module whose `forward` takes `condition` itself gets what
    is passed as `condition=`, and keeps its own statistics.

    Args:
        module: The network.
        generate: Which parameters come from outside: all by default; the name of a kind
            (`"bias"`), a glob over names (`"layer4.*"`), the name of a group that the
            module defines (`"unconditional"` of a hypernetwork), several of these, or a
            predicate.
        batching: Force one way to run batches of weights.

    Raises:
        SpecError: `generate` selects nothing, the module has no parameters, or there is
            no such `batching`.

    Example:
        >>> net = MainNetwork(nn.Linear(3, 2))
        >>> weights = Weights(torch.ones(5, 8), net.target)
        >>> net(torch.ones(4, 3), weights=weights).shape
        torch.Size([5, 4, 2])
        >>> net(torch.ones(4, 3))
        Traceback (most recent call last):
        hypnet_core.errors.WeightsError: 2 of 2 weights are missing: weight, bias
    """

    def __init__(
        self, module: nn.Module, generate: Generate = None, *, batching: Batching = "auto"
    ) -> None:
        super().__init__()
        if batching not in get_args(Batching):
            raise SpecError(
                f"there is no batching {batching!r}{did_you_mean(batching, get_args(Batching))}"
            )
        self.spec: TargetSpec = TargetSpec.of(module)
        self.target: TargetSpec = choose_target(module, self.spec, generate)
        self.stats: TargetSpec = statistics_spec(module)
        inputs = inspect.signature(module.forward).parameters
        check_inputs(module, inputs)
        self._takes_condition = "condition" in inputs
        # Last, because the module has no parameters from here on.
        self._placement = Placement(module, self.target)
        self.places = self._placement.pairs
        self.module = module
        # A pretrained network may come in evaluation mode.
        self.training = module.training
        self.bank = StatisticsBank(module)
        self._contexts = [
            (name, layer)
            for name, layer in module.named_modules()
            if isinstance(layer, KeepsTensors)
        ]
        self._execution = Execution(module, batching, self.bank)
        self._joint = Joint(module, self._execution, self._placement, self.bank.buffers)
        self._trained_once = False

    @property
    def batching(self) -> Batching:
        """The way to run batches of weights that was asked for."""
        return self._execution.batching

    @property
    def batching_used(self) -> str | None:
        """The last batch's way: `"factored"`, `"vmap"`, `"loop"` or `"native"`."""
        return self._execution.used

    @property
    def batching_reason(self) -> str:
        """Why that way."""
        return self._execution.reason

    def forward(
        self,
        *args: Any,
        weights: Weights | Mapping[str, Tensor] | None = None,
        condition: Condition | None = None,
        stats: Mapping[str, Tensor] | None = None,
        paired: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Run the module.

        Args:
            *args: Inputs of the module.
            weights: One tensor per parameter of `target`; may be left out if the target
                is empty.
            condition: Whose running statistics to use: one id, or one per set of
                weights; by default those of the conditions that the weights belong to.
            stats: Running statistics to use instead, one tensor per name of
                `self.stats`.
            paired: With a batch of weights: every tensor among the inputs carries the
                batch dimensions too.
            **kwargs: Further inputs of the module.

        Returns:
            What the module returns, with the batch shape of the weights in front.

        Raises:
            WeightsError: Names or shapes of `weights` or `stats` are not those
                expected.
            ConditionError: An id is not a whole number from 0, the number of ids is
                not that of the weights, or it is unknown whose running statistics to
                use.
        """
        # A positional Weights would fail obscurely inside the module.
        if weights is None and any(isinstance(arg, Weights) for arg in args):
            raise WeightsError("weights are passed by keyword: net(x, weights=…)")
        check_keywords(self.module, weights=weights, stats=stats, paired=paired)
        given, batch_shape = self._given(weights)
        ids = None
        if self._takes_condition:
            if condition is not None:
                kwargs["condition"] = condition
        # Networks without statistics ignore the ids, so that torch.compile need not
        # guard on them.
        elif (
            self.bank.names
            or self._contexts
            or condition is not None
            or (self.training and self.bank.others)
        ):
            ids = _ids_of_sets(condition, weights, batch_shape)
            if ids is None:
                self.check_known(weights=weights is not None, stats=stats is not None)
        # Nothing depends on the condition, and nothing is batched.
        if not batch_shape and ids is None and stats is None:
            # The common case, kept free of any further Python.
            return self._execution.one(given, args, kwargs)

        def run() -> Any:
            sets = self._statistics(ids, stats, batch_shape)
            if not batch_shape:
                return self._execution.one({**given, **sets[0]}, args, kwargs)
            return self._batched(given, batch_shape, args, kwargs, sets, paired=paired)

        if ids is None or not (self.training and self.bank.others):
            return run()
        return self._watching_buffers(run, ids)

    def _watching_buffers(self, run: Callable[[], Any], ids: Ids) -> Any:
        """Train conditions, and keep per condition the buffers that this changes."""
        watch = BufferWatch(self.module, self.bank.others)
        if self._trained_once:
            output = run()
            # Seen too late to tell the conditions apart: they start from these values.
            self.bank.keep(watch.changed())
            return output
        self._trained_once = True
        self.bank.reserve(ids, self.bank.own(self.module))
        before = Snapshot(self.module, self.bank.buffers())
        output = run()
        changed = watch.changed()
        if not changed:
            return output
        # Nothing but these buffers may tell that there was a first attempt.
        before.restore()
        self.bank.keep({name: self.module.get_buffer(name) for name in changed})
        return run()

    def statistics(self, condition: SupportsIndex | None = None) -> Weights:
        """A copy of the running means and variances of a condition, or of the module.

        They are the targets when a hypernetwork learns to generate statistics.

        Raises:
            ConditionError: The id is not a whole number from 0.
        """
        own = self.bank.own(self.module)
        # A condition that was never trained has the module's own statistics.
        rows = own if condition is None else self.bank.rows(condition_ids(condition).ids[0], own)
        return Weights.of(self.stats, {name: rows[name] for name in self.stats.names})

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._placement.convert(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Torch's `state_dict`, which holds no weights from outside."""
        state = super().state_dict(*args, **kwargs)
        # A module with a way of its own to save itself may have put placeholders in.
        for key in [key for key, value in state.items() if isinstance(value, Hollow)]:
            del state[key]
        return state

    def _statistics(
        self, ids: Ids | None, stats: Mapping[str, Tensor] | None, batch_shape: torch.Size
    ) -> list[dict[str, Tensor]]:
        """Buffers for each set of weights; empty where the module's own are used."""
        count = batch_shape.numel()
        if stats is not None:
            found = check_tensors(self.stats, stats)
            if found not in {torch.Size(), batch_shape}:
                raise WeightsError(
                    f"the statistics have batch shape {list(found)}, the weights"
                    f" {list(batch_shape)}"
                )
            # torch's batch norm has no derivative for running statistics, so they carry
            # no gradient.
            flat = (
                Weights.of(self.stats, stats)
                .flat.detach()
                .expand(*batch_shape, self.stats.numel)
                .reshape(count, self.stats.numel)
            )
            # In training mode batch norm writes into its buffers.
            given = [
                dict(Weights(row.clone() if self.training else row, self.stats))
                for row in flat.unbind(0)
            ]
            return (
                given
                if ids is None
                else [{**self.contexts_at(i), **rows} for i, rows in zip(ids, given, strict=True)]
            )
        if ids is None or not (self.bank.names or self._contexts):
            return [{} for _ in range(count)]
        own = self.bank.own(self.module)
        if self.training:
            self.bank.reserve(ids, own)
        return [{**self.contexts_at(i), **self.bank.rows(i, own)} for i in ids]

    def check_known(self, *, weights: bool = True, stats: bool = False) -> None:
        """Refuse to guess a condition where tensors of several are kept.

        Args:
            weights: Whether weights are passed. Without, layers use their own tensors.
            stats: Whether statistics are passed.

        Raises:
            ConditionError: The condition matters.
        """
        unknown = "these weights do not know their condition, and"
        if len(self.bank) and not stats:
            raise ConditionError(
                f"{unknown} the running statistics of {len(self.bank)} conditions are kept: pass"
                " condition= or stats="
            )
        kept = max((layer.num_checkpoints for _, layer in self._contexts), default=0)
        # What is generated does not depend on what layers keep.
        if weights and kept and self.contexts_at(0):
            raise ConditionError(
                f"{unknown} layers keep tensors of earlier conditions ({kept}): pass condition="
            )

    def contexts_at(self, condition: int) -> dict[str, Tensor]:
        """Tensors that layers keep for a condition, save those from outside."""
        # Generated tensors have priority over those that a layer keeps.
        generated = {place for place, _ in self.places}
        kept = (
            (f"{name}.{attribute}" if name else attribute, tensor)
            for name, layer in self._contexts
            for attribute, tensor in layer.tensors_at(condition).items()
        )
        return {place: tensor for place, tensor in kept if place not in generated}

    def _given(
        self, weights: Weights | Mapping[str, Tensor] | None
    ) -> tuple[Mapping[str, Tensor], torch.Size]:
        """The tensor for each place, or factored weights; and the batch shape."""
        # Factors are multiplied out only where that is necessary.
        factored = self._joint.taken(weights)
        if factored is not None:
            return factored, factored.batch_shape
        return self._placement.assign(weights)

    def _batched(
        self,
        given: Mapping[str, Tensor],
        batch_shape: torch.Size,
        args: Any,
        kwargs: Any,
        sets: list[dict[str, Tensor]],
        *,
        paired: bool,
    ) -> Any:
        """Run a batch of weights; `sets` holds the running statistics of each set."""
        if paired:
            ways.check_paired(args, kwargs, batch_shape)
            args, kwargs = ways.merged((args, kwargs), len(batch_shape))
        refusal = ""
        if isinstance(given, FactoredWeights):
            refusal = "sets have running statistics, or other kept tensors, of their own"
            own = self.bank.own(self.module)
            # Conditions that were never trained share the module's.
            if all(own.get(name) is kept for rows in sets for name, kept in rows.items()):
                output = self._joint.run(given.merged(), args, kwargs, paired=paired)
                if not isinstance(output, Refusal):
                    return ways.parted(output, batch_shape)
                refusal = output
            given, _ = self._placement.assign(given)
        tensors = ways.merged(given, len(batch_shape))
        output = self._execution.batch(tensors, sets, args, kwargs, paired=paired)
        if refusal:
            self._execution.reason += f"; factors were multiplied out: {refusal}"
        return ways.parted(output, batch_shape)

    def extra_repr(self) -> str:
        """How many parameters are generated, for `print`."""
        return f"generated={self.target.numel}, own={self.spec.numel - self.target.numel}"


def _ids_of_sets(
    condition: Condition | None,
    weights: Weights | Mapping[str, Tensor] | None,
    batch_shape: torch.Size,
) -> Ids | None:
    """One id per set of weights: as passed, or else as the weights know them."""
    if condition is None:
        return weights.conditions if isinstance(weights, Weights) else None
    count = batch_shape.numel()
    ids = condition_ids(condition)
    if not ids.batched:
        # One id for all sets.
        return ids.ids * count
    if ids.shape not in {(count,), tuple(batch_shape)}:
        sets = (
            "1 set of weights takes 1 condition"
            if count == 1
            else f"{count} sets of weights take {count} conditions"
        )
        shape = f" of shape {list(ids.shape)}" if len(ids.shape) > 1 else ""
        raise ConditionError(f"{sets}, got {len(ids.ids)}{shape}: {listed(map(str, ids.ids))}")
    return ids.ids
