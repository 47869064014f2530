"""Diagonal Fisher information of the parameters of any module."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from hypnet_core.networks import Generate
from hypnet_zoo.regularizers._importance.chosen import Chosen
from hypnet_zoo.regularizers._importance.data import Data
from hypnet_zoo.regularizers._importance.estimate import FisherOptions, check_options, estimate
from hypnet_zoo.regularizers._importance.precision import Precision, flat_precision


def fisher(
    model: nn.Module,
    data: Data,
    *,
    parameters: Generate = None,
    prior_precision: Precision = 0.0,
    **options: Unpack[FisherOptions],
) -> dict[str, Tensor]:
    r"""Diagonal Fisher information of a model's parameters.

    $$ F_i = \frac{1}{N} \sum_n \mathbb{E}_{y}
    \Bigl[\bigl(\partial_{\theta_i} \log p(y \mid x_n, \theta)\bigr)^2\Bigr] $$

    The expectation is over the model's own labels (`exact`: all of them, `sampled`:
    one draw for each $x_n$), or the true label takes its place (`empirical`).
    `batched` squares the gradient of each batch's mean instead of each sample's.

    Gradients of single samples come from closed forms where all chosen parameters
    belong to linear layers, two-dimensional convolutions and norms, from
    `torch.func.vmap` otherwise, and from a loop where that has no rule (LSTM). The
    results are the same. The model runs in evaluation mode.

    Args:
        model: The module that owns the parameters, such as a network, a hypernetwork,
            or a `MainNetwork` with parameters of its own.
        data: A split, arrays `(x, y)` or `(x, y, lengths)`, a `DataLoader` or another
            iterable of batches. A split is read without augmentation. Inputs move to
            the model's device and, if they are floating point, to its dtype.
        parameters: Which parameters: all that need gradients by default; a glob over
            names (`"trunk.*"`), a kind (`"weight"`), a group of the module
            (`"unconditional"` of a hypernetwork), several of these, or a predicate
            over `ParamSpec`.
        prior_precision: Added to the result: a number, a flat tensor, or numbers and
            tensors by name.
        **options: See below.

    Keyword Args:
        kind: `"exact"` (default), `"sampled"`, `"empirical"` or `"batched"`. The exact
            one costs a backward pass per class, for sequences per class and frame.
        samples: Use a random subset of this many samples.
        batch_size: Samples per forward pass, 128 by default. It changes the result of
            `batched` alone. Iterables keep their own batches.
        likelihood: `"categorical"` (softmax; labels, one-hot or soft targets) or
            `"gaussian"` (regression). Whole-number targets are labels; floating-point
            ones are refused without it.
        noise_variance: $\sigma^2$ of the Gaussian likelihood, 1 by default.
        output_units: Outputs that the task uses; the softmax is over these alone, and
            labels count from 0 within them.
        target_transform: Applied to the targets of each batch.
        forward: From a batch to the outputs, `model(batch.x)` by default: `[B, C]`, or
            `[B, T, C]` for sequences, whose frames after `batch.lengths` do not count.
            This is the place for a hypernetwork:
            `lambda batch: net(batch.x, weights=hypernet(task))`.
        log_likelihood: From outputs and batch to $\log p(y \mid x)$ for each sample,
            `[B]`; with kinds that use the true labels. It may depend on parameters
            only through the outputs or the module.
        proper_scaling: Return the precision of the Laplace posterior, the sum over all
            samples of the data (also where only some are used), plus
            `prior_precision`, instead of the mean.
        gradients: `"auto"`, or one way to compute gradients of single samples:
            `"closed_form"`, `"vmap"`, `"loop"`.
        generator: Source of randomness, on the CPU; torch's global one by default.

    Returns:
        One tensor per chosen parameter, of its shape; float32, or float64 for
        parameters in double precision.

    Raises:
        SpecError: An option is impossible, or shapes do not fit.
        DataError: There are no samples, or fewer than asked for.
        DivergedError: Gradients are NaN or infinite.

    Example:
        >>> model = nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.zeros_(model.weight)  # both labels have probability 1/2
        >>> fisher(model, ([[2.0], [4.0]], [0, 1]))["weight"]  # mean of x² / 4
        tensor([[2.5000],
                [2.5000]])

    References:
        J. Kirkpatrick et al.: Overcoming catastrophic forgetting in neural networks.
        PNAS 2017, arXiv:1612.00796. F. Kunstner, L. Balles, P. Hennig: Limitations of
        the empirical Fisher approximation. NeurIPS 2019, arXiv:1905.12558.
    """
    check_options(options)
    chosen = Chosen(model, parameters)
    found = estimate(chosen, data, **options)
    prior = flat_precision(chosen, prior_precision)
    return {
        name: (tensor.flatten() + offset).view_as(tensor)
        for (name, tensor), offset in zip(
            found.items(), prior.split(chosen.spec.sizes), strict=True
        )
    }
