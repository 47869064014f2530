"""Setup of an experiment: device, tasks, networks and seeds."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hypnet_core.errors import (
    ConfigError,
    DataError,
    HypnetError,
    PluginError,
    clipped,
    did_you_mean,
    error_line,
)
from hypnet_core.networks import HyperNetwork, MainNetwork
from hypnet_core.plugins import DatasetChoice, HypernetChoice
from hypnet_core.protocols import TaskLike
from hypnet_core.specs import ConditionSpec
from hypnet_zoo.experiments._hypercl.config import HyperCLConfig
from hypnet_zoo.init import Init
from hypnet_zoo.init.mainnet import startable_names
from hypnet_zoo.init.options import init_from

_SMALL = 1_000_000


def pick_device(name: str) -> torch.device:
    """The device of a name; `"auto"` is a GPU if there is one.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"device: there is no {clipped(repr(name))}"
            f"{did_you_mean(name, ['auto', 'cpu', 'cuda'])}"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        # The name is right, so there is no nearer one to suggest.
        raise ConfigError(f"device: {name!r} cannot be used here: {reason}") from error
    if device.type == "meta":
        raise ConfigError("device: 'meta' has no numbers to compute with")
    return device


def seed_of(*numbers: int) -> int:
    """A seed that depends on all the numbers.

    Neighbouring seeds and tasks therefore share no random stream.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    # A hash instead of a sum, so that (0, 1) and (1, 0) differ.
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:7], "big")


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed torch's generators for a block, and restore their states afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(*numbers))
        yield


@contextlib.contextmanager
def cpu_threads(count: int | None, parameters: int) -> Iterator[int]:
    """Set the number of CPU threads for a block.

    Args:
        count: Number of threads. By default one for small networks, whose operations
            take less time than their distribution to threads, and torch's own number
            for large ones.
        parameters: Number of parameters of all networks together.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or (1 if parameters < _SMALL else before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def load_tasks(choice: DatasetChoice, limit: int | None = None) -> Sequence[TaskLike]:
    """Load the tasks of a dataset in order; a single task is a sequence of one.

    Args:
        choice: The dataset.
        limit: Number of tasks to keep; all by default.

    Raises:
        ConfigError: There are fewer tasks, or they differ in kind or in the shape of
            their inputs.
    """
    try:
        built = choice.build()
    except HypnetError:
        raise
    except Exception as error:
        raise DataError(f"data: {choice.name} cannot be loaded: {error_line(error)}") from error
    tasks: Sequence[TaskLike] = built if isinstance(built, Sequence) else [built]
    if limit is not None and limit > len(tasks):
        raise ConfigError(f"tasks: {limit} were requested, but {choice.name} has {len(tasks)}")
    tasks = tasks[:limit]
    first = tasks[0].spec
    for task in tasks:
        if (task.spec.kind, task.spec.in_shape) != (first.kind, first.in_shape):
            raise ConfigError(
                f"data: all tasks need inputs of one kind and shape: {first.name} has {first.kind}"
                f" {list(first.in_shape)}, {task.spec.name} {task.spec.kind}"
                f" {list(task.spec.in_shape)}"
            )
        if first.kind == "regression" and task.spec.out_shape != first.out_shape:
            raise ConfigError(
                f"data: all tasks need targets of one shape: {list(first.out_shape)} and"
                f" {list(task.spec.out_shape)}"
            )
    return tasks


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Give the error of a constructor the key of its options."""
    try:
        yield
    except PluginError:  # not a matter of options
        raise
    except (HypnetError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"{key}: {error_line(error, HypnetError, ValueError)}") from error


def build_networks(
    config: HyperCLConfig, tasks: Sequence[TaskLike], device: torch.device
) -> tuple[MainNetwork, HyperNetwork]:
    """Build the main network and a hypernetwork with one condition per task.

    Raises:
        ConfigError: The main network cannot be wrapped as the configuration says, or
            `mnet_init` finds no parameter to start.
    """
    out_features = max(math.prod(task.spec.out_shape) for task in tasks)
    with _named("mnet"):
        module = config.mnet.build(tasks[0].spec.in_shape, out_features)
    config.mnet_init.apply(module)  # before MainNetwork takes out the generated parameters
    startable = startable_names(module)
    with _named("hnet"):
        chosen = _from_module(config.hnet, module)
    with _named("generate"):
        net = MainNetwork(module, generate=config.generate)
    if config.mnet_init.scheme != "own" and startable <= set(net.target.names):
        # It would only move the random stream, and results would look different.
        raise ConfigError(
            f"mnet_init.scheme={config.mnet_init.scheme}: all weights and biases of the main"
            " network are generated: use hnet.init"
        )
    with _named("hnet"):
        hypernet: HyperNetwork = chosen.build(
            net.target, ConditionSpec(count=len(tasks), size=config.embedding_size)
        )
    return net.to(device), hypernet.to(device)


def _from_module(choice: HypernetChoice, module: nn.Module) -> HypernetChoice:
    """The chosen hypernetwork, started as the module was built if that is asked for."""
    given = choice.options.get("init")
    if given is None or not init_from(given).from_module:
        return choice
    init = Init.of(module, init_from(given))
    return type(choice)(name=choice.name, **{**choice.options, "init": init.model_dump()})
