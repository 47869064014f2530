"""Checks for recipes, which need no training but a run of seconds on generated data.

The options of a check are overrides of the experiment's.
"""

from __future__ import annotations

import json
from typing import Any

from hypnet_core.errors import ConfigError, listed
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.recipe import Recipe, parse_recipe
from hypnet_core.plugins.registry import registry
from hypnet_core.protocols import Experiment
from hypnet_core.recipes.counting import wrong_counts
from hypnet_core.recipes.figures import figure_in
from hypnet_core.recipes.seeds import experiment_of
from hypnet_core.runs.config import load_config
from hypnet_core.runs.experiment import execute
from hypnet_core.runs.run import Run
from hypnet_core.testing.general import its_summary_is_one_sentence
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect


def _recipe(subject: Subject) -> Recipe:
    recipe: Recipe = subject.entry.load()
    return recipe


def _config(subject: Subject, part: str, options: dict[str, Any]) -> Any:
    """The configuration of the experiment; mistakes name the part of the recipe."""
    model = experiment_of(subject.entry).options()
    layers = [_recipe(subject).options, options, subject.options]
    try:
        return load_config(model, layers=layers)
    except ConfigError as error:
        lines = (f"{part}.{line}" for line in str(error).splitlines())
        raise ConfigError("\n".join(lines)) from error


def _smoke(subject: Subject) -> dict[str, Any]:
    smoke = _recipe(subject).smoke
    if smoke is None:
        raise NotApplicableError("it gives no options of a short run (smoke)")
    return smoke


def its_file_is_a_recipe(subject: Subject) -> None:
    """Its file holds a recipe and nothing else."""
    expect(isinstance(_recipe(subject), Recipe), "its file holds something else")


def it_survives_json(subject: Subject) -> None:
    """Written as JSON and read back, it is the same."""
    recipe = _recipe(subject)
    again = parse_recipe(json.loads(recipe.model_dump_json(exclude_defaults=True)), "JSON")
    expect(again == recipe, f"{recipe} became {again}")


def its_figures_have_a_source(subject: Subject) -> None:
    """Every expected figure says where it stands, or the recipe does for all."""
    recipe = _recipe(subject)
    silent = [one.label for one in recipe.expected if not (one.source or recipe.source)]
    expect(not silent, f"there is no source of {listed(silent)}")


def its_experiment_is_there(subject: Subject) -> None:
    """The experiment is registered and can be built."""
    experiment_of(subject.entry).build()


def its_experiment_takes_its_options(subject: Subject) -> None:
    """The experiment accepts its options."""
    _config(subject, "options", {})


def its_experiment_takes_the_options_of_a_short_run(subject: Subject) -> None:
    """The experiment accepts the options of a short run on top of them."""
    _config(subject, "smoke", _smoke(subject))


def its_seeds_are_seeds(subject: Subject) -> None:
    """The experiment has an option `seed` and accepts the seeds of a check."""
    recipe, model = _recipe(subject), experiment_of(subject.entry).options()
    if not recipe.expected:
        raise NotApplicableError("it expects no figures")
    expect("seed" in model.model_fields, "its experiment has no option `seed`")
    for seed in recipe.seeds:
        _config(subject, "seeds", {"seed": seed})


def its_counts_are_exact(subject: Subject) -> None:
    """The numbers of parameters are those that it says."""
    counts = _recipe(subject).counts
    if counts is None:
        raise NotApplicableError("it gives no counts")
    wrong = wrong_counts(_config(subject, "options", {}), counts)
    expect(not wrong, "; ".join(wrong))


def its_figures_are_compared_with_recipes_of_the_experiment(subject: Subject) -> None:
    """Figures are compared with those of recipes that are there."""
    names = {one.minus for one in _recipe(subject).expected if one.minus is not None}
    if not names:
        raise NotApplicableError("it compares no figures with other recipes")
    known = {entry.name for entry in registry().entries(Kind.RECIPE)}
    unknown = sorted(name for name in names if name.rpartition(":")[2] not in known)
    expect(not unknown, f"there is no recipe {listed(unknown)}")


def a_short_run_gives_the_expected_figures(subject: Subject) -> None:
    """A run of seconds on generated data has all expected figures in its summary."""
    recipe = _recipe(subject)
    config = _config(subject, "smoke", _smoke(subject))
    experiment: Experiment = experiment_of(subject.entry).build()
    run = Run.create(subject.directory / "run", experiment=recipe.experiment, config=config)
    summary = execute(experiment, config, run)
    for expected in recipe.expected:
        figure_in(summary, expected)


GENERAL: tuple[Check, ...] = (its_summary_is_one_sentence,)
CHECKS: tuple[Check, ...] = (
    its_file_is_a_recipe,
    it_survives_json,
    its_figures_have_a_source,
    its_experiment_is_there,
    its_experiment_takes_its_options,
    its_experiment_takes_the_options_of_a_short_run,
    its_seeds_are_seeds,
    its_figures_are_compared_with_recipes_of_the_experiment,
    its_counts_are_exact,
    a_short_run_gives_the_expected_figures,
)
