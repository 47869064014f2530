"""Runs of a recipe: its configuration, and one run for each seed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hypnet_core.errors import ComponentError, ConfigError, RunError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.containment import output_to_stderr
from hypnet_core.plugins.recipe import Recipe
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.protocols import Prepares
from hypnet_core.runs.config import difference, load_config
from hypnet_core.runs.experiment import execute
from hypnet_core.runs.run import Run

_logger = logging.getLogger("hypnet.recipes")

# Options that a recipe's figures do not depend on.
_FREE = ("seed", "device", "threads", "log", "log_every", "checkpoint")


@dataclass(frozen=True)
class Configured:
    """A recipe with its experiment, and options on top of its own.

    Attributes:
        entry: The recipe in the registry.
        recipe: The recipe.
        experiment: Its experiment in the registry.
        config: The configuration.
    """

    entry: Entry
    recipe: Recipe
    experiment: Entry
    config: BaseModel

    @property
    def name(self) -> str:
        """The recipe's shortest name."""
        return registry().shortest_name(self.entry)

    def prepare(self) -> Sequence[str]:
        """Check everything that can fail before the first step, as `hypnet run` does.

        Returns:
            Remarks for the user.
        """
        experiment = self.experiment.build()
        with output_to_stderr():
            return experiment.prepare(self.config) if isinstance(experiment, Prepares) else ()


def experiment_of(entry: Entry) -> Entry:
    """The experiment of a recipe.

    Raises:
        PluginError: The recipe's file is damaged.
        ComponentError: There is no such experiment.
    """
    name: str = entry.load().experiment
    try:
        return registry().get(Kind.EXPERIMENT, name)
    except ComponentError as error:
        raise ComponentError(f"{entry.label}: {error}") from error


def changes(entry: Entry, config: Mapping[str, Any]) -> str:
    """The options in which a configuration differs from a recipe's, in words.

    Seed, device, threads, loggers and checkpoints do not count.

    Args:
        entry: The recipe.
        config: A resolved configuration, as JSON.
    """
    mine, other = configure(entry).config.model_dump(mode="json"), dict(config)
    for name in _FREE:
        mine.pop(name, None)
        other.pop(name, None)
    return difference(mine, other)


def configure(
    entry: Entry, files: Sequence[Path] = (), overrides: Iterable[str] = ()
) -> Configured:
    """Resolve the configuration of a recipe.

    Args:
        entry: The recipe in the registry.
        files: Files with options on top of the recipe's.
        overrides: `"key=value"` on top of those.

    Raises:
        PluginError: The recipe's file is damaged.
        ComponentError: There is no such experiment, or a component is missing.
        ConfigError: The experiment refuses an option.
    """
    recipe: Recipe = entry.load()
    experiment = experiment_of(entry)
    config = load_config(experiment.options(), files, overrides, layers=[recipe.options])
    return Configured(entry, recipe, experiment, config)


def run_seeds(
    configured: Configured, seeds: Iterable[int], directory: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run a recipe once for each seed, in `directory/NAME/seed-N`.

    Runs that are there are resumed; those that have finished are only read.

    Args:
        configured: The recipe.
        seeds: The seeds.
        directory: The folder of the runs.

    Yields:
        Each seed with its summary, as soon as it is known.

    Raises:
        ConfigError: The experiment has no option `seed`.
        RunError: A folder holds a run of another configuration.
    """
    if "seed" not in type(configured.config).model_fields:
        raise ConfigError(f"the experiment {configured.experiment.name!r} has no option 'seed'")
    for seed in seeds:
        # Through the model once more, so that a seed out of range is refused.
        given = {**configured.config.model_dump(mode="json"), "seed": seed}
        config = load_config(configured.experiment.options(), base=given)
        path = directory / configured.entry.name / f"seed-{seed}"
        _logger.info("%s, seed %d: %s", configured.name, seed, path)
        run = _opened(configured, config, path)
        with output_to_stderr():
            summary = execute(configured.experiment.build(), config, run)
        yield seed, summary


def _opened(configured: Configured, config: BaseModel, path: Path) -> Run:
    if not (path / "config.json").exists():
        return Run.create(
            path,
            experiment=registry().shortest_name(configured.experiment),
            config=config,
            plugins=registry().versions,
            recipe=configured.name,
        )
    run = Run.resume(path)
    changed = difference(run.config, config.model_dump(mode="json"))
    if changed:
        raise RunError(f"{path} holds a run of other options ({changed}): choose a new directory")
    return run
