r"""Likelihoods: the directions in output space along which outputs inform about labels.

The Fisher information of outputs $f$ is a sum of outer products $\sum_k v_k v_k^\top$,
so that of parameters is $\sum_k (J^\top v_k)^2$ on the diagonal, with $J$ the Jacobian
of the outputs. `directions` gives the $v_k$, one batch of vectors after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import SpecError, clipped, did_you_mean
from hypnet_core.protocols import BatchLike

FisherKind: TypeAlias = Literal["exact", "sampled", "empirical", "batched"]
Likelihood: TypeAlias = Literal["categorical", "gaussian"]


class Directions:
    """Directions of one kind of Fisher information under one likelihood.

    Args:
        kind: Which Fisher information.
        likelihood: Which likelihood; `None` to tell from the targets.
        output_units: The outputs that the task uses; `None` for all.
        noise_variance: Variance of the Gaussian likelihood.
        generator: Draws labels, on the CPU.

    Raises:
        SpecError: A name is unknown, or a value impossible.
    """

    def __init__(
        self,
        kind: FisherKind,
        likelihood: Likelihood | None,
        output_units: Sequence[int] | None,
        noise_variance: float,
        generator: torch.Generator | None = None,
    ) -> None:
        for option, value, known in (
            ("kind", kind, get_args(FisherKind)),
            ("likelihood", likelihood, get_args(Likelihood)),
        ):
            if value not in known and not (option == "likelihood" and value is None):
                raise SpecError(f"{option}: there is no {value!r}{did_you_mean(str(value), known)}")
        if not noise_variance > 0:
            raise SpecError(f"noise_variance must be positive, got {noise_variance}")
        self.kind = kind
        self.likelihood = likelihood
        self.units = None if output_units is None else _units(output_units)
        self.noise = noise_variance**0.5
        self.generator = generator

    def __call__(self, outputs: Tensor, batch: BatchLike) -> Iterator[Tensor]:
        """Directions `[B, *out_shape]`, without history.

        Args:
            outputs: Outputs of the model `[B, C]`, or `[B, T, C]` for sequences (any
                shape for a Gaussian likelihood).
            batch: The samples.

        Raises:
            SpecError: Outputs, targets and output units do not fit together.
        """
        targets = batch.y
        chosen = self._chosen(outputs)
        frames = _frames(chosen, batch)
        likelihood = self.likelihood or _told_by(targets)
        found = (
            self._categorical(chosen, targets)
            if likelihood == "categorical"
            else self._gaussian(chosen, targets)
        )
        for direction in found:
            # The end of a padded sequence says nothing.
            masked = direction if frames is None else direction * frames
            yield masked if self.units is None else self._scattered(outputs, masked)

    def _chosen(self, outputs: Tensor) -> Tensor:
        if outputs.ndim < 2:
            raise SpecError(f"outputs [B, …, C] are expected, got shape {list(outputs.shape)}")
        if self.units is None:
            return outputs
        for unit in self.units:
            if not 0 <= unit < outputs.shape[-1]:
                raise SpecError(
                    f"there is no output unit {unit}: the model has {outputs.shape[-1]} (0 to"
                    f" {outputs.shape[-1] - 1})"
                )
        return outputs[..., self.units]

    def _scattered(self, outputs: Tensor, direction: Tensor) -> Tensor:
        whole = torch.zeros_like(outputs)
        whole[..., self.units] = direction
        return whole

    def _categorical(self, logits: Tensor, targets: Tensor) -> Iterator[Tensor]:
        probabilities = F.softmax(logits, dim=-1)
        if self.kind == "exact":
            roots, classes = probabilities.sqrt(), logits.shape[-1]
            for mask in _masks(logits):
                for label in range(classes):
                    # sqrt(p_c) (e_c - p), whose squares have the expectation over c.
                    score = -probabilities
                    score[..., label] += 1
                    yield score * roots[..., label, None] * mask
            return
        if self.kind == "sampled":
            noise = torch.rand(logits.shape, dtype=torch.float64, generator=self.generator)
            # The Gumbel trick, on the CPU: every device draws the same labels.
            gumbel = -torch.log(-torch.log(noise.clamp(1e-300, 1 - 1e-16)))
            labels = (F.log_softmax(logits.double(), -1) + gumbel.to(logits.device)).argmax(-1)
            hot = F.one_hot(labels, logits.shape[-1])
            yield hot - probabilities
            return
        target = self._label_rows(logits, targets)
        yield target - target.sum(-1, keepdim=True) * probabilities

    def _label_rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Targets as probabilities of the chosen classes."""
        classes = logits.shape[-1]
        if not targets.is_floating_point():
            if targets.shape != logits.shape[:-1]:
                raise SpecError(
                    f"labels {list(logits.shape[:-1])} are expected for outputs"
                    f" {list(logits.shape)}, got {list(targets.shape)}"
                )
            labels = targets.long()
            low, high = (int(bound) for bound in torch.aminmax(labels))
            if low < 0 or high >= classes:
                raise SpecError(
                    f"label {low if low < 0 else high} is not among the {classes} output units;"
                    " labels count from 0 within output_units (see target_transform)"
                )
            return F.one_hot(labels, classes).to(logits.dtype)
        if (
            self.units is not None
            and targets.shape[-1] != classes
            and max(self.units) < (targets.shape[-1])
        ):
            targets = targets[..., self.units]
        if targets.shape != logits.shape:
            raise SpecError(
                f"one-hot or soft targets must have shape {list(logits.shape)}, got"
                f" {list(targets.shape)}"
            )
        return targets.to(logits.dtype)

    def _gaussian(self, outputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
        if self.kind == "exact":
            for place in range(outputs[0].numel()):
                unit = torch.zeros_like(outputs)
                unit.flatten(1)[:, place] = 1 / self.noise
                yield unit
            return
        if self.kind == "sampled":
            noise = torch.randn(outputs.shape, dtype=torch.float64, generator=self.generator)
            yield noise.to(outputs) / self.noise
            return
        if (
            self.units is not None
            and targets.shape[-1] != outputs.shape[-1]
            and (targets.ndim == outputs.ndim and max(self.units) < targets.shape[-1])
        ):
            targets = targets[..., self.units]
        if targets.shape != outputs.shape:
            raise SpecError(
                f"regression targets must have the shape of the outputs {list(outputs.shape)},"
                f" got {list(targets.shape)}"
            )
        yield (targets.to(outputs) - outputs) / self.noise**2


def _units(output_units: Sequence[int]) -> list[int]:
    units = [int(unit) for unit in output_units]
    if not units or len(set(units)) != len(units):
        raise SpecError(
            f"output_units must name different units, got {clipped(repr(list(output_units)))}"
        )
    return units


def _told_by(targets: Tensor) -> Likelihood:
    if targets.is_floating_point():
        raise SpecError(
            "targets are floating point: say likelihood='gaussian' (regression) or 'categorical'"
            " (one-hot or soft targets)"
        )
    return "categorical"


def _frames(outputs: Tensor, batch: BatchLike) -> Tensor | None:
    """A mask `[B, T, 1, …]` of the frames before the padding."""
    if batch.lengths is None:
        return None
    if outputs.ndim < 3:
        # One output for a whole sequence.
        return None
    steps = torch.arange(outputs.shape[1], device=outputs.device)
    mask = steps < batch.lengths.to(outputs.device)[:, None]
    return mask.reshape(mask.shape + (1,) * (outputs.ndim - 2)).to(outputs.dtype)


def _masks(logits: Tensor) -> Iterator[Tensor]:
    """One position of the output after the other: their labels are independent."""
    masks = torch.zeros_like(logits[..., :1])
    for place in range(masks[0].numel()):
        mask = torch.zeros_like(masks)
        mask.flatten(1)[:, place] = 1
        yield mask
