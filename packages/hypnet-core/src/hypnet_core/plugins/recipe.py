"""Recipes: an experiment, its options and its expected figures, in a TOML file.

```toml
summary = "Two moons, learned by heart."
experiment = "memorize"
source = "A. Author: Paper. Venue 2020, table 1."

[options]
steps = 150
mnet = { name = "mlp", hidden = [16] }

[[expected]]
figure = "accuracy"
value = 97.5
at_least = 97.0
```

The name of a recipe is that of its file. Reading one needs neither torch nor numpy.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from hypnet_core.errors import PluginError, clipped, error_line
from hypnet_core.plugins.validation import InvalidChoiceError, InvalidOptionsError, validated

Options: TypeAlias = dict[str, Any]

_NAME = r"[a-z][a-z0-9_]*"
"""Names of files, which must also be names of components."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expected(_Part):
    """One figure that a recipe should give.

    Attributes:
        figure: Where it stands in the summary of a run: keys and places in lists with
            dots between them, such as `accuracy` or `during.0`.
        over: A second figure by which the first is divided, item by item for lists.
        reduce: How a list becomes one number; nested lists are flattened.
        value: The published number.
        tolerance: How far from `value` the measured number may lie.
        at_least: Smallest number that is as expected.
        at_most: Largest number that is as expected.
        minus: Name of another recipe: the difference to its figure with the same seed
            is what should lie within the bounds.
        of: Whether the mean over seeds should lie within the bounds, or `every` seed.
        share: Instead, the least share of seeds that should.
        source: Where the number stands, if not at the source of the recipe.
    """

    figure: str = Field(min_length=1)
    over: str | None = None
    reduce: Literal["max", "min", "mean", "sum"] | None = None
    value: FiniteFloat | None = None
    tolerance: NonNegativeFloat | None = None
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    minus: str | None = None
    of: Literal["mean", "every"] = "mean"
    share: float | None = Field(None, gt=0.0, le=1.0)
    source: str = ""

    @model_validator(mode="after")
    def _bounded(self) -> Expected:
        bounded = self.at_least is not None or self.at_most is not None
        if self.tolerance is not None and self.value is None:
            raise ValueError("tolerance is the distance from value: give value too")
        if self.tolerance is not None and bounded:
            raise ValueError("give either tolerance, or at_least and at_most")
        if self.tolerance is None and not bounded:
            raise ValueError("give at_least, at_most, or value with its tolerance")
        low, high = self.bounds
        if low > high:
            raise ValueError(f"at_least={low:g} lies above at_most={high:g}")
        if self.share is not None and "of" in self.model_fields_set:
            raise ValueError("give either of or share")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number that are as expected."""
        if self.value is not None and self.tolerance is not None:
            return self.value - self.tolerance, self.value + self.tolerance
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low, high

    @property
    def label(self) -> str:
        """The figure in words.

        Example:
            >>> Expected(figure="final", over="during", reduce="max", at_most=2).label
            'max of final / during'
        """
        text = self.figure if self.over is None else f"{self.figure} / {self.over}"
        text = text if self.reduce is None else f"{self.reduce} of {text}"
        return text if self.minus is None else f"{text}, minus that of {self.minus}"

    @property
    def range(self) -> str:
        """The bounds in words, with the rule for several seeds.

        Example:
            >>> Expected(figure="accuracy", value=97.5, at_least=97, of="every").range
            '>= 97 in every seed (published: 97.5)'
        """
        low, high = self.bounds
        if self.value is not None and self.tolerance is not None:
            text = f"{self.value:.10g} ± {self.tolerance:.10g}"
        else:
            ends = (("<=", high), (">=", low))
            text = " and ".join(
                f"{sign} {end:.10g}" for sign, end in ends if abs(end) < float("inf")
            )
        if self.share is not None:
            text += f" in {self.share:.10g} of the seeds"
        elif self.of == "every":
            text += " in every seed"
        published = self.value is not None and self.tolerance is None
        return f"{text} (published: {self.value:.10g})" if published else text


class Counts(_Part):
    """Exact numbers of parameters, which need no data.

    The main network is built for inputs and outputs of these sizes, and the
    hypernetwork for its parameters.

    Attributes:
        in_shape: Shape of one input.
        out_features: Number of outputs.
        tasks: Number of conditions.
        mainnet: Dotted key of the experiment's option that chooses the main network.
        hypernet: Dotted key of the option that chooses the hypernetwork.
        embedding_size: Dotted key of the length of an embedding, or that length.
        generate: Dotted key of the parameters to generate; all if there is no such
            option.
        generated: Expected number of generated weights.
        parameters: Expected number of parameters of the hypernetwork, embeddings
            included.
        conditional: Expected number of parameters in all embeddings of conditions.
        compression: Expected `parameters / generated`, to three decimals.
    """

    in_shape: tuple[PositiveInt, ...]
    out_features: PositiveInt
    tasks: PositiveInt
    mainnet: str = "mnet"
    hypernet: str = "hnet"
    embedding_size: str | NonNegativeInt = "embedding_size"
    generate: str = "generate"
    generated: NonNegativeInt | None = None
    parameters: NonNegativeInt | None = None
    conditional: NonNegativeInt | None = None
    compression: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _counts_something(self) -> Counts:
        if not self.expected:
            raise ValueError("give generated, parameters, conditional or compression")
        return self

    @property
    def expected(self) -> dict[str, float]:
        """The expected numbers that are given, by name."""
        names = ("generated", "parameters", "conditional", "compression")
        found = {name: getattr(self, name) for name in names}
        return {name: number for name, number in found.items() if number is not None}


class Recipe(_Part):
    """An experiment with options and expected figures.

    Attributes:
        summary: One sentence.
        experiment: Name of the experiment.
        source: The publication.
        options: Options of the experiment, nested as in a configuration file.
        seeds: Seeds of a check; a number `n` is short for `0` to `n - 1`.
        minutes: About how long one run takes.
        expected: What its summary should hold.
        counts: Exact numbers of parameters.
        smoke: Options, on top of the others, that make a run of seconds on generated
            data.
    """

    summary: str = Field(min_length=1)
    experiment: str = Field(min_length=1)
    source: str = ""
    options: Options = {}
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2, 3, 4), min_length=1)
    minutes: PositiveFloat | None = None
    expected: tuple[Expected, ...] = ()
    counts: Counts | None = None
    smoke: Options | None = None

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_of_seeds(cls, value: Any) -> Any:
        return range(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"a seed is given twice: {list(value)}")
        return value


class Heading(NamedTuple):
    """The part of a recipe that listings show.

    Attributes:
        name: Name of the file, without its suffix.
        summary: One sentence; empty if there is a fault.
        fault: Why the file cannot be read, in one line; empty if it can.
    """

    name: str
    summary: str
    fault: str


def headings(package: str) -> Iterator[Heading]:
    """The recipes in a package's folder, in alphabetical order.

    Args:
        package: Import name of the folder, such as `mylab_nets.recipes`.

    Raises:
        PluginError: There is no such package.
    """
    for file in sorted(_folder(package).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        summary, fault = "", ""
        try:
            summary = _summary(file)
        except PluginError as error:
            fault = str(error)
        yield Heading(file.name.removesuffix(".toml"), summary, fault)


def _summary(file: Traversable) -> str:
    if not re.fullmatch(rf"{_NAME}\.toml", file.name):
        raise PluginError(
            f"{file.name}: a recipe's file is named in lower-case letters, digits and _"
        )
    summary = _content(file).get("summary")
    if not (isinstance(summary, str) and summary):
        raise PluginError(f"{file.name}: summary: must be given, one sentence")
    return summary


def read_recipe(package: str, name: str) -> Recipe:
    """Read a recipe.

    Args:
        package: Import name of the folder.
        name: Name of the file, without its suffix.

    Raises:
        PluginError: The file is missing, no TOML, or holds something else than a
            recipe: one line per mistake, with key and expectation.
    """
    return parse_recipe(_content(recipe_file(package, name)), f"{name}.toml")


def parse_recipe(values: Mapping[str, Any], file: str) -> Recipe:
    """Make a recipe from the content of a TOML file.

    Raises:
        PluginError: A key is unknown or missing, or a value is impossible.
    """
    try:
        return validated(Recipe, values)
    except (InvalidOptionsError, InvalidChoiceError) as error:
        mistakes = (replace(mistake, source=file) for mistake in error.mistakes)
        raise PluginError("\n".join(map(str, mistakes))) from None


def recipe_file(package: str, name: str) -> Traversable:
    """The file of a recipe, which may not exist."""
    return _folder(package).joinpath(f"{name}.toml")


def _folder(package: str) -> Traversable:
    try:
        return resources.files(package)
    except (ImportError, TypeError) as error:
        raise PluginError(
            f"recipes: there is no package {package!r} ({error_line(error)})"
        ) from error


def _content(file: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"{file.name} cannot be read: {error_line(error)}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PluginError(f"{file.name} is not valid TOML: {clipped(str(error), 200)}") from error
