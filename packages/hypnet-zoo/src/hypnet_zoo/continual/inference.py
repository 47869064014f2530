"""Inference of the task of a sample, by methods with weights for each task."""

from __future__ import annotations

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


def uncertainty(outputs: Tensor, how: Infer, *, classification: bool) -> Tensor:
    r"""How little the weights of one task know about samples; the least one wins.

    With the predictive probabilities $p_k = \frac{1}{S} \sum_s p_{sk}$ over $S$ draws,
    `entropy` is $-\sum_k p_k \log p_k$, `agreement` the mean over classes of the
    standard deviation of $p_{sk}$ over draws, `max_likelihood` $-\log \max_k p_k$. For
    regression, `entropy` (that of a normal distribution, up to a constant) and
    `agreement` are the logarithm and the root of the variance over draws.

    Args:
        outputs: `[draws, B, n]`.
        how: The criterion.
        classification: Whether outputs are logits; numbers otherwise.

    Returns:
        `[B]`, float32.

    Raises:
        ConfigError: The criterion needs several draws, or classes.

    References:
        C. Henning, M. Cervera et al.: Posterior meta-replay for continual learning.
        NeurIPS 2021, arXiv:2103.01133, section 3 and SM B. The most probable
        prediction: D. Hendrycks, K. Gimpel, ICLR 2017, arXiv:1610.02136.
    """
    if len(outputs) < 2 and (how == "agreement" or not classification):
        raise ConfigError(
            f"infer={how} compares several draws of the weights of a task, but the method has one:"
            " use infer=entropy for classes, or a method with several"
        )
    if not classification:
        if how == "max_likelihood":
            raise ConfigError("infer=max_likelihood needs classes: use entropy for regression")
        spread = outputs.float().var(dim=0).flatten(1).mean(dim=1)
        return spread.log() if how == "entropy" else spread.sqrt()
    logs = outputs.float().log_softmax(dim=-1)
    if how == "agreement":
        return logs.exp().std(dim=0).mean(dim=-1)
    mean = logs.logsumexp(dim=0) - torch.tensor(float(len(outputs))).log()
    if how == "max_likelihood":
        return -mean.amax(dim=-1)
    return -(mean.exp() * mean).sum(dim=-1)


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
        score = uncertainty(found, how, classification=classification)
        if unequal and classification and how != "agreement":
            score = score / torch.tensor(float(found.shape[-1])).log().clamp(min=1e-9)
        if score.ndim > 1:
            steps = torch.ones_like(score) if counted is None else counted.to(score)
            score = (score * steps).sum(dim=1) / steps.sum(dim=1)
        scores.append(score)
    return torch.stack(scores).argmin(dim=0)
