"""Inference of the task of a sample, by methods with weights for each task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError

Infer = Literal["given", "entropy", "agreement", "max_likelihood", "method"]
"""How the task of a sample is found: it is known (`given`), or it is the task by whose
weights the prediction has the lowest entropy (`entropy`), agrees best among several
draws of weights (`agreement`), or is the most probable (`max_likelihood`), or the
method has its own way (`method`)."""


def uncertainty(
    outputs: Tensor, how: Infer, *, classification: bool, counted: Tensor | None = None
) -> Tensor:
    r"""How little the weights of one task know about samples; the least one wins.

    With the predictive probabilities $p_k = \frac{1}{S} \sum_s p_{sk}$ over $S$ draws,
    `entropy` is $-\sum_k p_k \log p_k$, `agreement` the mean over classes of the
    standard deviation of $p_{sk}$ over draws, `max_likelihood` $-\log \max_k p_k$. For
    regression, `entropy` (that of a normal distribution, up to a constant) and
    `agreement` are the logarithm and the root of the variance over draws. Sequences are
    as uncertain as their steps on average.

    Args:
        outputs: `[draws, B, n]`, or `[draws, B, T, n]` for sequences.
        how: The criterion.
        classification: Whether outputs are logits; numbers otherwise.
        counted: For sequences, which steps count, `[B, T]`: not those of padding.

    Returns:
        `[B]`, float32.

    Raises:
        ConfigError: The criterion needs several draws, or classes.

    References:
        C. Henning, M. Cervera et al.: Posterior meta-replay for continual learning.
        NeurIPS 2021, arXiv:2103.01133, section 3 and SM B. The most probable
        prediction: D. Hendrycks, K. Gimpel, ICLR 2017, arXiv:1610.02136.
    """
    if not classification:
        _check_regression(len(outputs), how)
        spread = _mean_over_steps(outputs.float().var(dim=0), counted)
        return spread.log() if how == "entropy" else spread.sqrt()
    if len(outputs) < 2 and how == "agreement":
        raise ConfigError(
            "infer=agreement compares several draws of the weights of a task, but the method has"
            " one: use infer=entropy, or a method with several"
        )
    logs = outputs.float().log_softmax(dim=-1)
    if how == "agreement":
        return _mean_over_steps(logs.exp().std(dim=0), counted)
    mean = logs.logsumexp(dim=0) - math.log(len(outputs))
    found = -mean.amax(dim=-1) if how == "max_likelihood" else -(mean.exp() * mean).sum(dim=-1)
    return _mean_over_steps(found[..., None], counted)


def _check_regression(draws: int, how: Infer) -> None:
    if how == "max_likelihood":
        raise ConfigError("infer=max_likelihood needs classes: use entropy for regression")
    if draws < 2:
        raise ConfigError(
            "the task of a regression is inferred by how much several draws of weights differ, but"
            " the method has one for each task: use scenario=task, a method with several draws, or"
            " one with a single network for all tasks"
        )


def _mean_over_steps(values: Tensor, counted: Tensor | None) -> Tensor:
    """The mean over all dimensions but the first, of steps that count: `[B]`."""
    if counted is None:
        return values.flatten(1).mean(dim=1)
    each = values.flatten(2).mean(dim=2)
    # Not a product: what stands in padding may be infinite.
    return each.where(counted, 0.0).sum(dim=1) / counted.sum(dim=1)


def infer(
    outputs: Sequence[Tensor],
    how: Infer,
    *,
    classification: bool,
    counted: Tensor | None = None,
) -> Tensor:
    """The inferred task of each sample.

    Entropies of tasks with unequal numbers of classes are compared relative to the
    largest that is possible.

    Args:
        outputs: For each task `[draws, B, n]`, or `[draws, B, T, n]` for sequences.
        how: The criterion.
        classification: Whether outputs are logits.
        counted: For sequences, which steps count, `[B, T]`.

    Returns:
        Indices of tasks `[B]`.
    """
    unequal = len({found.shape[-1] for found in outputs}) > 1
    scores = []
    for found in outputs:
        score = uncertainty(found, how, classification=classification, counted=counted)
        if unequal and classification and how != "agreement":
            score = score / max(math.log(found.shape[-1]), 1e-9)
        scores.append(score)
    return torch.stack(scores).argmin(dim=0)
