"""`sample`: draws of a distribution in one call."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from hypnet_core.errors import ConfigError, clipped
from hypnet_core.networks import Weights
from hypnet_core.plugins import SamplerChoice
from hypnet_core.protocols import Climbs, LogDensity, Sampler
from hypnet_core.runs import Progress
from hypnet_core.runs import progress as show_progress
from hypnet_zoo.bayes._loop import FileKeeper, Keeper, LogMetrics, Loop
from hypnet_zoo.bayes._start import Start, start_of
from hypnet_zoo.bayes._store import Store
from hypnet_zoo.bayes.draws import Draws

SamplerLike: TypeAlias = str | Mapping[str, Any] | SamplerChoice | Callable[[LogDensity], Sampler]
"""A sampler's name, a mapping of its name and options, or a function that makes one."""

_LOGGER = logging.getLogger("hypnet.bayes")


def sample(
    log_density: LogDensity,
    sampler: SamplerLike,
    start: Start,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int | None = None,
    thin: int = 1,
    seed: int = 0,
    progress: bool = True,
    log: LogMetrics | None = None,
    log_every: int = 50,
    directory: Path | str | None = None,
    keeper: Keeper | None = None,
    save_every: int = 100,
) -> Draws:
    """Draw from a distribution that is known by the logarithm of its density.

    Args:
        log_density: From parameters `[chains, *shape]` by name to log densities
            `[chains]`, up to a constant.
        sampler: A sampler's name, a mapping of its name and options, or a function of
            the log density that makes one, such as `functools.partial(NUTS,
            mass="dense")`.
        start: Where chains start: one set of parameters for all, as a mapping of names
            to tensors or as `Weights`; `Weights` of batch shape `[chains]`; or a
            `TargetSpec`, for random places between -2 and 2. Their dtype and device are
            those of the computation; use float64 if accuracy matters.
        chains: Number of chains. All advance in one batch.
        warmup: Steps in which the sampler adapts; they are not kept.
        draws: Draws to keep of each chain: 1,000 by default, or 1 if chains climb to
            modes (`ensemble`).
        thin: Steps per draw.
        seed: Seed of all randomness. The global generators are not touched.
        progress: Whether to show progress, a bar on a terminal; the logger
            `hypnet.progress` must be at `INFO`.
        log: Called with the step and with metrics: energy, acceptance, step size.
        log_every: Steps between metrics.
        directory: Stream the draws to files in this directory. A call with the same
            directory goes on where the last one was stopped, to the same draws.
        keeper: Keeps the states to go on from, in place of a file in `directory`.
        save_every: Steps between those states.

    Raises:
        ConfigError: An option is impossible, or the draws need more than all memory.
        SamplingError: The log density cannot be sampled from this start.
        DivergedError: A parameter became infinite or NaN.
        CheckpointError: The directory belongs to other draws.

    Example:
        >>> def log_density(params):
        ...     return -0.5 * ((params["x"] - 3.0) ** 2).sum(-1)
        >>> start = {"x": torch.zeros(2)}
        >>> found = sample(log_density, "hmc", start, warmup=200, draws=500)
        >>> found.weights["x"].shape
        torch.Size([4, 500, 2])
        >>> [round(mean) for mean in found.summary().mean["x"].tolist()]
        [3, 3]
    """
    _check(chains=(chains, 1), warmup=(warmup, 0), thin=(thin, 1), save_every=(save_every, 1))
    _check(log_every=(log_every, 1), draws=(1 if draws is None else draws, 1))
    if keeper is not None and directory is None:
        raise ConfigError("keeper: states need the draws beside them: give a directory, too")
    label, made = _made(sampler, log_density)
    climbs = isinstance(made, Climbs) and made.climbs
    draws = (1 if climbs else 1000) if draws is None else draws
    generator = torch.Generator(_device(start)).manual_seed(seed)
    state = made.init(start_of(start, chains, log_density, generator))
    setup = {
        "sampler": label,
        "chains": chains,
        "warmup": warmup,
        "draws": draws,
        "thin": thin,
        "seed": seed,
        "max_depth": getattr(made, "max_depth", None),
        "spec": state.spec.model_dump(mode="json"),
    }
    path = None if directory is None else Path(directory)
    if path is not None and keeper is None:
        keeper = FileKeeper(path / "state.safetensors")
    kept = None if keeper is None else keeper.load(state.position.device)
    loop = Loop(
        made,
        state,
        generator,
        Store.in_memory(state.position, draws)
        if path is None
        else Store.in_files(path, state.position, draws, new=kept is None),
        warmup,
        draws,
        thin,
        setup,
        keeper,
        save_every,
        log,
        log_every,
    )
    loop.restore()
    return _run(loop, progress=progress)


def extend(
    before: Draws,
    log_density: LogDensity,
    sampler: SamplerLike,
    *,
    draws: int = 1000,
    chains: Sequence[int] | None = None,
    progress: bool = True,
    log: LogMetrics | None = None,
    log_every: int = 50,
) -> Draws:
    """Go on with some chains, without another warm-up.

    All of them together give the draws that a longer run would have given.

    Args:
        before: Their draws so far.
        log_density: The log density that they come from.
        sampler: The sampler that they come from.
        draws: Further draws of each chain.
        chains: The chains to extend; all by default.
        progress: Whether to show progress.
        log: Called with the step and with metrics.
        log_every: Steps between metrics.

    Returns:
        The chosen chains alone, with their old and their new draws.

    Raises:
        ConfigError: There is no such chain, or the draws come from another sampler.
        SamplingError: The log density cannot be used.
    """
    _check(draws=(draws, 1), log_every=(log_every, 1))
    label, made = _made(sampler, log_density)
    if label != before.setup["sampler"]:
        raise ConfigError(
            f"these draws come from {before.setup['sampler']!r}, they cannot be extended by"
            f" {label!r}"
        )
    chosen = list(range(before.chains) if chains is None else chains)
    wrong = [chain for chain in chosen if not 0 <= chain < before.chains]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"chains: some of 0 to {before.chains - 1} are expected, each once, got {chosen}"
        )
    state = before.state.select(chosen)
    generator = torch.Generator(state.position.device)
    generator.set_state(before.random)
    thin = before.setup["thin"]
    store = Store.in_memory(state.position, draws)
    loop = Loop(made, state, generator, store, 0, draws, thin, before.setup, log=log)
    loop.log_every = log_every
    more = _run(loop, progress=progress)
    return Draws(
        Weights(torch.cat([before.weights.flat[chosen], more.weights.flat], dim=1), state.spec),
        torch.cat([before.statistics[chosen], more.statistics], dim=1),
        more.state,
        more.random,
        {**before.setup, "chains": len(chosen), "draws": len(before) + draws},
    )


def _run(loop: Loop, *, progress: bool) -> Draws:
    shown = show_progress(loop.total, start=loop.done) if progress else _silence()
    with shown as bar:
        found = loop.run(bar)
    for line in found.warnings():
        _LOGGER.warning("%s", line)
    return found


class _Silent:
    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        """Show nothing."""


@contextlib.contextmanager
def _silence() -> Iterator[Progress]:
    yield _Silent()


def _check(**numbers: tuple[int, int]) -> None:
    for name, (value, least) in numbers.items():
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}")


def _made(sampler: SamplerLike, log_density: LogDensity) -> tuple[str, Sampler]:
    """A sampler, and a label by which it is known again."""
    if isinstance(sampler, (str, Mapping)):
        sampler = SamplerChoice.of(sampler)
    if isinstance(sampler, SamplerChoice):
        return sampler.model_dump_json(), sampler.build(log_density)
    if not callable(sampler):
        raise ConfigError(f"sampler: expected a name or a function, got {clipped(repr(sampler))}")
    made = sampler(log_density)
    return type(made).__name__, made


def _device(start: Start) -> torch.device:
    if isinstance(start, Weights):
        return start.flat.device
    if isinstance(start, Mapping):
        tensors = (value for value in start.values() if isinstance(value, torch.Tensor))
        return next((tensor.device for tensor in tensors), torch.device("cpu"))
    return torch.get_default_device()
