"""The base class of hypernetworks: from conditions to weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError, did_you_mean
from hypnet_core.networks.checks import check_arguments
from hypnet_core.networks.conditions import Condition, ConditionIds, condition_ids
from hypnet_core.networks.weights import Weights
from hypnet_core.specs import ConditionSpec, TargetSpec

EMBEDDING = "embedding"
UNCONDITIONAL = "uncond_input"


class HyperNetwork(nn.Module):
    r"""A network $h(c, \theta)$ that generates the parameters of another.

    A condition $c$ is an id with a learned embedding $e$, or an embedding that the
    caller passes; an unconditional input $u$ such as noise may be added. A subclass
    implements one method, `generate`, from a batch of inputs $[e; u]$ to a batch of
    flat weights. It is an ordinary module, so `MainNetwork(hypernetwork,
    generate="unconditional")` is the same hypernetwork with $\theta$ from outside.

    Each condition owns separate parameters, so that the optimiser of one task never
    touches the embedding of another. They are drawn from $\mathcal{N}(0, 1)$.

    Args:
        target: What to generate.
        conditions: How many conditions, and how long $e$ and $u$ are.
        conditional: Shapes of further parameters that each condition owns, by name.
            They follow $[e; u]$ in the inputs, flattened.
        embeddings: Whether the conditions own embeddings here; a hypernetwork made of
            others leaves them to its `members`.

    Raises:
        SpecError: The target is empty.

    Example:
        >>> class Linear(HyperNetwork):
        ...     def __init__(self, target, conditions):
        ...         super().__init__(target, conditions)
        ...         self.head = nn.Linear(conditions.size, target.numel)
        ...
        ...     def generate(self, inputs):
        ...         return self.head(inputs)
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = Linear(target, ConditionSpec(count=3))
        >>> hnet(1).batch_shape, hnet([0, 2]).batch_shape
        (torch.Size([]), torch.Size([2]))
    """

    conditions_per_call: int | None = None
    """The fastest number of conditions per call; `None` for all at once."""

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        conditional: Mapping[str, Sequence[int]] | None = None,
        embeddings: bool = True,
    ) -> None:
        super().__init__()
        check_arguments(target, conditions)
        # An empty output has no gradient, so training would fail obscurely.
        if target.numel == 0:
            raise SpecError("the target of a hypernetwork holds no weights")
        self.target = target
        self.conditions = conditions
        # The order of these mappings is the order of the parts in the inputs of
        # `generate`.
        embedding = {EMBEDDING: (conditions.size,)} if conditions.size and embeddings else {}
        further = {name: tuple(shape) for name, shape in (conditional or {}).items()}
        self.conditional_shapes: dict[str, tuple[int, ...]] = {**embedding, **further}
        self._input_shapes = {
            **embedding,
            **({UNCONDITIONAL: (conditions.input_size,)} if conditions.input_size else {}),
            **further,
        }
        # One Parameter per condition, not a matrix for all: optimisers keep state per
        # tensor, so those of other conditions stay untouched.
        self.conditional = nn.ModuleDict(
            {name: nn.ParameterList() for name in self.conditional_shapes}
        )
        for _ in range(conditions.count):
            self._append_condition()

    def generate(self, inputs: Tensor) -> Tensor:
        """Map inputs to weights; the one method that a subclass implements.

        Args:
            inputs: `[B, n]`: embedding, unconditional input, then further conditional
                parameters, end to end.

        Returns:
            Flat weights `[B, target.numel]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement generate(inputs)")

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights.

        The result has a batch dimension if any argument has one; arguments without one,
        or with one of length 1, are repeated.

        Args:
            condition: One id, or a batch of ids.
            cond_input: An embedding `[size]` or `[B, size]` in place of a learned one;
                or a mapping from the names in `conditional_shapes` to tensors, with the
                missing ones looked up by id.
            uncond_input: `[input_size]` or `[B, input_size]`.

        Raises:
            ConditionError: An id is out of range, an input is missing, or a size is
                wrong.
        """
        # Normalised once and passed on: this runs at every step.
        ids = None if condition is None else self.ids_of(condition)
        inputs, batched = self._inputs(ids, cond_input, uncond_input)
        flat = self.generate(inputs)
        if flat.shape != (len(inputs), self.target.numel):
            raise SpecError(
                f"{type(self).__name__}.generate must return [{len(inputs)}, {self.target.numel}],"
                f" got {list(flat.shape)}"
            )
        # `view` drops the batch dimension of a single set without a copy.
        flat = flat if batched else flat.view(self.target.numel)
        if ids is not None and len(ids.ids) == 1:
            ids = ConditionIds(ids.ids, ())  # repeated for all rows, as its embedding was
        return Weights(flat, self.target, conditions=ids)

    def inputs(
        self,
        condition: Condition | None = None,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> tuple[Tensor, bool]:
        """The inputs `[B, n]` of `generate`, and whether a batch was asked for."""
        ids = None if condition is None else self.ids_of(condition)
        return self._inputs(ids, cond_input, uncond_input)

    def _inputs(
        self,
        ids: ConditionIds | None,
        cond_input: Tensor | Mapping[str, Tensor] | None,
        uncond_input: Tensor | None,
    ) -> tuple[Tensor, bool]:
        given = self._given(ids, cond_input, uncond_input)
        batched = ids is not None and ids.batched
        parts = []
        for name, shape in self._input_shapes.items():
            if name not in given:
                parts.append(self._lookup(name, ids))
                continue
            own_batch = given[name].ndim > len(shape)
            # Any argument with a batch dimension makes the result a batch.
            batched |= own_batch
            parts.append(_rows(name, given[name], shape, batched=own_batch))
        # Parts of length 1 are broadcast, so they do not decide the batch size.
        sizes = {len(part) for part in parts if len(part) != 1} or {
            1 if ids is None else len(ids.ids)
        }
        if len(sizes) > 1:
            raise ConditionError(
                f"the inputs have different batch sizes: {', '.join(map(str, sorted(sizes)))}"
            )
        count = sizes.pop()
        # Views: a single row is not copied for every row of the batch.
        rows = [part if len(part) == count else part.expand(count, -1) for part in parts]
        if not rows:
            return next(self.parameters()).new_empty((count, 0)), batched
        # Only one part: no copy either.
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1), batched

    def ids_of(self, condition: Condition) -> ConditionIds:
        """Normalise one id or a batch of ids, and check that the conditions exist.

        Raises:
            ConditionError: An id is not a whole number, or there is no such condition.
        """
        # Without embeddings every id is wrong; the range "0 to -1" would not help.
        if not self.conditions.count:
            raise ConditionError(
                f"there is no condition {condition!r}: this hypernetwork has no embeddings: pass"
                " cond_input"
            )
        ids = condition_ids(condition, self.conditions.count)
        if len(ids.shape) > 1:
            raise ConditionError(
                f"a batch of conditions has one dimension, got shape {list(ids.shape)}"
            )
        return ids

    @property
    def input_sizes(self) -> dict[str, int]:
        """Lengths of the parts of an input of `generate`, in order."""
        return {name: torch.Size(shape).numel() for name, shape in self._input_shapes.items()}

    def embedding(self, condition: SupportsIndex) -> nn.Parameter:
        """The learned embedding `[size]` of one condition.

        Raises:
            ConditionError: There is none.
        """
        if EMBEDDING not in self.conditional_shapes:
            raise ConditionError("the conditions of this hypernetwork have no embedding (size 0)")
        parameter: nn.Parameter = self.parameters_of(EMBEDDING)[self._single_id(condition)]
        return parameter

    def members(self) -> list[HyperNetwork]:
        """The inner hypernetworks that serve the same conditions."""
        return []

    def start_at_zero(self) -> None:
        """Reset the parameters so that all generated weights are zero.

        Gradients still reach the last layer, so that training can leave zero.
        Hypernetworks that generate differences start so.

        Raises:
            SpecError: This hypernetwork does not support it.
        """
        raise SpecError(
            f"{type(self).__name__} cannot start at zero: it has no start_at_zero() of its own"
        )

    def conditional_parameters(self, condition: SupportsIndex | None = None) -> list[nn.Parameter]:
        """The parameters of one condition, or of all conditions.

        Raises:
            ConditionError: The id is out of range.
        """
        if condition is None:
            own = list(self.conditional.parameters())
        else:
            i = self._single_id(condition)
            own = [self.parameters_of(name)[i] for name in self.conditional_shapes]
        return own + [
            parameter
            for member in self.members()
            for parameter in member.conditional_parameters(condition)
        ]

    def unconditional_parameters(self) -> list[nn.Parameter]:
        r"""All parameters that do not belong to a condition: $\theta$."""
        # By identity: tensors compare elementwise.
        conditional = {id(parameter) for parameter in self.conditional_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in conditional]

    def parameter_groups(self) -> dict[str, list[str]]:
        """Names of the `"conditional"` and `"unconditional"` parameters."""
        conditional = {id(parameter) for parameter in self.conditional_parameters()}
        groups: dict[str, list[str]] = {"conditional": [], "unconditional": []}
        for name, parameter in self.named_parameters():
            groups["conditional" if id(parameter) in conditional else "unconditional"].append(name)
        return groups

    def add_condition(self) -> int:
        """Add a condition with newly drawn parameters.

        The caller passes them to an optimiser.

        Returns:
            The id of the new condition.
        """
        self._append_condition()
        for member in self.members():
            member.add_condition()
        self.conditions = self.conditions.model_copy(update={"count": self.conditions.count + 1})
        return self.conditions.count - 1

    def _append_condition(self) -> None:
        # A condition that is added later must match the device and dtype of the module.
        like = next(self.parameters(), torch.empty(0))
        for name, shape in self.conditional_shapes.items():
            self.parameters_of(name).append(
                nn.Parameter(torch.randn(shape, device=like.device, dtype=like.dtype))
            )

    def parameters_of(self, name: str) -> nn.ParameterList:
        """The parameters of all conditions under a name in `conditional_shapes`.

        Raises:
            SpecError: There is no such name.
        """
        if name not in self.conditional_shapes:
            raise SpecError(
                f"the conditions have no {name!r}{did_you_mean(name, self.conditional_shapes)}"
            )
        parameters = self.conditional[name]
        if not isinstance(parameters, nn.ParameterList):
            raise SpecError(f"{name!r} is not a list of conditional parameters")
        return parameters

    def _single_id(self, condition: SupportsIndex) -> int:
        ids = self.ids_of(condition)
        if ids.batched:
            raise ConditionError(f"one condition is expected, got a batch of {len(ids.ids)}")
        return ids.ids[0]

    def _given(
        self,
        ids: ConditionIds | None,
        cond_input: Tensor | Mapping[str, Tensor] | None,
        uncond_input: Tensor | None,
    ) -> dict[str, Tensor]:
        """The inputs that the caller passed, by name."""
        if cond_input is not None and not isinstance(cond_input, (Tensor, Mapping)):
            raise ConditionError(
                "cond_input must be a tensor or a mapping of tensors, got"
                f" {type(cond_input).__name__}"
            )
        given = (
            {EMBEDDING: cond_input} if isinstance(cond_input, Tensor) else dict(cond_input or {})
        )
        for name in given:
            if name not in self.conditional_shapes:
                raise ConditionError(
                    "this hypernetwork has no conditional input"
                    f" {name!r}{did_you_mean(name, self.conditional_shapes)}"
                )
        # With everything passed, an id would have no effect.
        if ids is not None and given and not self.conditional_shapes.keys() - given.keys():
            raise ConditionError(
                "condition and cond_input both give the condition: pass one of them"
            )
        if uncond_input is not None:
            if UNCONDITIONAL not in self._input_shapes:
                raise ConditionError("this hypernetwork takes no uncond_input")
            given[UNCONDITIONAL] = uncond_input
        return given

    def _lookup(self, name: str, ids: ConditionIds | None) -> Tensor:
        """The learned parameters of some conditions, `[len(ids), n]`."""
        if name == UNCONDITIONAL:
            raise ConditionError(f"uncond_input of size {self.conditions.input_size} is missing")
        if ids is None:
            count = self.conditions.count
            wanted = f"condition= (0 to {count - 1}) or cond_input=" if count else "cond_input="
            raise ConditionError(
                f"the hypernetwork was called without a condition: pass {wanted} for {name!r}"
            )
        parameters = self.parameters_of(name)
        # [len(ids), n]; each condition's own parameter gets its gradient.
        return torch.stack([parameters[i] for i in ids.ids]).flatten(1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A checkpoint may hold conditions that were added after construction.
        family = _with_members(self)
        saved = (
            sum(
                key.startswith(f"{prefix}{place}{'.' * bool(place)}conditional.{name}.")
                for key in state_dict
            )
            for place, owner in self.named_modules()
            if isinstance(owner, HyperNetwork) and owner in family
            for name in owner.conditional_shapes
        )
        for _ in range(max(saved, default=0) - self.conditions.count):
            self.add_condition()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _with_members(hypernet: HyperNetwork) -> list[HyperNetwork]:
    """A hypernetwork and, recursively, its members."""
    return [hypernet, *(one for member in hypernet.members() for one in _with_members(member))]


def _rows(name: str, tensor: Tensor, shape: tuple[int, ...], *, batched: bool) -> Tensor:
    """An input as rows `[B, n]`; a single row if it has no batch dimension."""
    if (
        tensor.ndim not in {len(shape), len(shape) + 1}
        or tuple(tensor.shape[tensor.ndim - len(shape) :]) != shape
    ):
        what = "cond_input" if name == EMBEDDING else name
        raise ConditionError(
            f"{what} must have shape {list(shape)} or [B, {', '.join(map(str, shape))}], got"
            f" {list(tensor.shape)}"
        )
    return tensor.flatten(1) if batched else tensor.reshape(1, -1)
