"""Synaptic intelligence: importances from the path that training takes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypnet_core.errors import DivergedError, SpecError, did_you_mean, listed
from hypnet_core.networks import Weights
from hypnet_zoo.regularizers._importance.chosen import Mask, PerGroup
from hypnet_zoo.regularizers._importance.pieces import Pieces
from hypnet_zoo.regularizers._importance.quadratic import QuadraticPenalty


class SI(QuadraticPenalty):
    r"""Synaptic intelligence: parameters that reduced earlier losses are held.

    $$ R(\theta) = c \sum_i \Omega_i (\theta_i - \theta_{Ti})^2, \qquad
    \Omega_i = \sum_t \frac{\max(\omega_{ti}, 0)}{\Delta_{ti}^2 + \epsilon}, \qquad
    \omega_{ti} = -\sum_s g_{si} \, \delta_{si} $$

    with the gradient $g_s$ and the change $\delta_s$ of each optimiser step $s$ of task
    $t$, the change $\Delta_t$ over the whole task, and the parameters $\theta_T$ at the
    end of the latest. In the limit of small steps $\sum_i \omega_{ti}$ is the drop of
    the loss.

        penalty = SI(model, strength=0.1)
        for task in tasks:
            for batch in task:
                optimizer.zero_grad()
                (loss(batch) + penalty()).backward()
                penalty.before_step()
                optimizer.step()
                penalty.after_step()
            penalty.after_task()

    Gradients are those in `.grad`, of the whole loss. Where they are clipped before the
    step, give copies from before as `after_step(gradients=...)`: a loss falls along its
    own gradient, not along the clipped one. For importances from the task's
    own loss, without penalties, give what only that loss causes: before the penalty's
    backward pass and before the step call

        penalty.after_step(delta=lookahead(optimizer, penalty.parameters))

    with `hypnet_zoo.optim.lookahead`, in place of both calls.

    Args:
        model: The module that owns the parameters: a network, a hypernetwork, or a
            `MainNetwork` with parameters of its own.
        strength: $c$, for all parameters or for each named group.
        epsilon: $\epsilon$, likewise: the damping of importances of parameters that
            hardly moved.
        parameters: Which parameters: all that need gradients by default; a glob over
            names (`"trunk.*"`), a kind (`"weight"`), a group of the module
            (`"unconditional"` of a hypernetwork), several of these, a predicate over
            `ParamSpec`, or a mapping from names of groups to any of these.

    Raises:
        SpecError: Nothing is chosen, or a number is negative.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> penalty = SI(model, epsilon=1.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> (-2 * model.weight).sum().backward()
        >>> penalty.before_step(); optimizer.step(); penalty.after_step()
        >>> penalty.after_task()
        >>> penalty.importance  # 2 · 1 / (1² + 1)
        {'weight': tensor([[1.]])}

    References:
        F. Zenke, B. Poole, S. Ganguli: Continual learning through synaptic
        intelligence. ICML 2017, arXiv:1703.04200, eq. 3 to 5. G. M. van de Ven,
        A. S. Tolias: Three scenarios for continual learning. arXiv:1904.07734,
        appendix.
    """

    factor: ClassVar[float] = 1.0

    def __init__(
        self,
        model: nn.Module,
        *,
        strength: PerGroup = 1.0,
        epsilon: PerGroup = 1e-3,
        parameters: Mask = None,
    ) -> None:
        self.steps = 0
        """Number of steps of the present task."""
        self._waiting = False
        super().__init__(model, strength=strength, parameters=parameters)
        self._epsilons = self._chosen.per_group("epsilon", epsilon)

    @staticmethod
    def _more_buffers() -> tuple[str, ...]:
        return ("path",)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The chosen parameters by name."""
        return dict(self._chosen.now)

    def _changed(self) -> None:
        # What `before_step` remembers is of the former layout.
        self._waiting = False
        # Views by parameter: a step needs no concatenation.
        self._tensors: list[Tensor] = list(self._chosen.now.values())
        self._pieces = Pieces(self._tensors)
        self._before = self._pieces.views(torch.zeros_like(self._buffers["center"]))
        self._path = self._pieces.views(self._buffers["path"])

    @torch.no_grad()
    def before_step(self) -> None:
        """Remember the parameters, right before `optimizer.step()`."""
        self._begin()
        torch._foreach_copy_(self._before, self._pieces.now)
        self._waiting = True

    def _begin(self) -> None:
        self._fit()
        # Weights may have been loaded since the penalty was made.
        if not self.tasks and not self.steps:
            self._buffers["center"].copy_(self._chosen.flat())

    @torch.no_grad()
    def after_step(
        self,
        *,
        delta: Mapping[str, Tensor] | None = None,
        gradients: Mapping[str, Tensor] | None = None,
    ) -> None:
        r"""Add a step to the path integral, right after `optimizer.step()`.

        Args:
            delta: The change $\delta$ by name in place of that since `before_step`,
                which need not be called then; call this before the step.
            gradients: The gradients $g$ by name in place of those in `.grad`, such as
                those of the task's loss alone.

        Raises:
            SpecError: There was no `before_step`, no parameter has a gradient, or
                names or shapes do not fit.
        """
        if delta is not None:
            self._begin()
        elif not self._waiting:
            raise SpecError("after_step needs before_step before optimizer.step(), or delta=")
        self._waiting = False
        path: list[Any] = self._path
        slopes: list[Any] = self._slopes(gradients)
        moves: list[Any] = self._before
        if delta is None:
            # In place: the remembered parameters become the negative change.
            torch._foreach_sub_(self._before, self._pieces.now)
        else:
            changes = self._pieces.of(self._by_name("delta", delta))
            moves = [None if change is None else -change for change in changes]
        # What has no gradient, or did not move, adds nothing.
        there = [a is not None and b is not None for a, b in zip(slopes, moves, strict=True)]
        if not all(there):
            path, slopes, moves = (list(compress(p, there)) for p in (path, slopes, moves))
        if path:
            torch._foreach_addcmul_(path, slopes, moves)
        self.steps += 1

    def _slopes(self, given: Mapping[str, Tensor] | None) -> list[Tensor | None]:
        """Gradients, in the order of the parameters and in pieces."""
        found = (
            [tensor.grad for tensor in self._tensors]
            if given is None
            else self._by_name("gradients", given)
        )
        if all(gradient is None for gradient in found):
            raise SpecError("no chosen parameter has a gradient: call backward() before the step")
        # Embeddings may have sparse ones.
        if any(g is not None and g.is_sparse for g in found):
            found = [g.to_dense() if g is not None and g.is_sparse else g for g in found]
        return self._pieces.of(found)

    def _by_name(self, option: str, given: Mapping[str, Tensor]) -> list[Tensor | None]:
        """Given tensors, in the order of the parameters."""
        chosen = self._chosen.now
        for name, tensor in given.items():
            if name in chosen and tensor.shape != chosen[name].shape:
                raise SpecError(
                    f"{option}[{name!r}] must have shape {list(chosen[name].shape)}, got"
                    f" {list(tensor.shape)}"
                )
            if name not in chosen and name not in dict(self.model.named_parameters()):
                raise SpecError(
                    f"{option}: there is no parameter {name!r}{did_you_mean(name, chosen)}"
                )
        return [given.get(name) for name in chosen]

    @torch.no_grad()
    def after_task(self) -> None:
        """Turn the path of the task into importances, and hold the parameters here.

        Raises:
            SpecError: There was no step since the last task.
            DivergedError: Gradients or parameters were NaN or infinite. The penalty is
                as before.
        """
        self._fit()
        if not self.steps:
            raise SpecError(
                "there was no step in this task: call before_step() and after_step() around each"
                " optimizer.step()"
            )
        here = self._chosen.flat()
        path, center = self._buffers["path"], self._buffers["center"]
        views = Weights(path + here, self._spec).items()
        bad = [name for name, tensor in views if not bool(tensor.isfinite().all())]
        if bad:
            raise DivergedError(
                f"the path of {listed(bad)} is not finite: gradients or parameters were NaN or"
                " infinite"
            )
        epsilon = self._chosen.per_scalar(self._epsilons)
        damped = (here - center).square() + epsilon
        # Never negative, unlike the path; nothing if there is neither move nor damping.
        share = torch.where(damped > 0, path.clamp(min=0) / damped, 0.0)
        self._buffers["importance"].add_(share)
        center.copy_(here)
        path.zero_()
        self.tasks, self.steps, self._waiting = self.tasks + 1, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Everything that the penalty has learned, the path of this task included."""
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the penalty that gave `state` was, also within a task.

        Raises:
            CheckpointError: The state is incomplete, or belongs to other parameters.
        """
        super().load_state_dict(state)
        self.steps, self._waiting = int(state["steps"]), False
