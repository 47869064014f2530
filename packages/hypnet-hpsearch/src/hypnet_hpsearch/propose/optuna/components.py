"""Samplers and pruners of Optuna, found by name and built from a search's options.

Needs the extra `optuna`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hypnet_core.errors import ConfigError, RunError, did_you_mean, nearest
from hypnet_hpsearch._text import in_one_line

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

__all__ = ["make_pruner", "make_sampler", "optuna"]

_DEFAULT = "TPESampler"
_OLDEST = 5


def optuna() -> ModuleType:
    """The package `optuna`.

    Raises:
        RunError: It is not installed, or too old.
    """
    try:
        import optuna as package
    except ImportError:
        raise RunError(
            "the sampler is one of Optuna, which is not installed: pip install"
            " 'hypnet-hpsearch[optuna]' (the samplers 'grid' and 'random' do not need it)"
        ) from None
    if int(package.__version__.partition(".")[0]) < _OLDEST:
        raise RunError(
            f"Optuna {package.__version__} is too old: pip install 'hypnet-hpsearch[optuna]'"
        )
    package.logging.set_verbosity(package.logging.ERROR)
    # Many samplers are experimental in Optuna's view; the user has chosen one by name.
    warnings.filterwarnings("ignore", category=package.exceptions.ExperimentalWarning)
    return package


def make_sampler(
    options: Mapping[str, Any], *, seed: int, lists: Mapping[str, Iterable[str]]
) -> BaseSampler:
    """Make a sampler of Optuna.

    Args:
        options: Its `name`, and its options.
        seed: The seed for this process, if the sampler takes one.
        lists: The space, for samplers that need to know it in advance.

    Raises:
        ConfigError: There is no such sampler, or it refuses the options.
        RunError: Optuna, or a package that the sampler needs, is not installed.
    """
    classes = _classes("Sampler")
    name = str(options["name"])
    chosen = classes[_DEFAULT] if name.lower() == "optuna" else _found(name, classes, "Sampler")
    known = inspect.signature(chosen).parameters
    values: dict[str, Any] = {"seed": seed} if "seed" in known else {}
    if "search_space" in known:
        values["search_space"] = {key: list(some) for key, some in lists.items()}
    given = {key: value for key, value in options.items() if key not in {"name", "seed"}}
    if "seed" in options and "seed" not in known:
        raise ConfigError(
            f"sampler: {chosen.__name__} has no option 'seed'{did_you_mean('seed', known)}"
        )
    made: BaseSampler = _build(chosen, {**values, **given}, "sampler", seed)
    return made


def make_pruner(options: Mapping[str, Any] | None) -> BasePruner:
    """Make a pruner of Optuna; one that never prunes if there are no options.

    Raises:
        ConfigError: There is no such pruner, or it refuses the options.
        RunError: Optuna, or a package that the pruner needs, is not installed.
    """
    classes = _classes("Pruner")
    if options is None:
        inactive: BasePruner = classes["NopPruner"]()
        return inactive
    if not isinstance(options.get("name"), str):
        raise ConfigError("'pruner' has no 'name'")
    chosen = _found(options["name"], classes, "Pruner")
    made: BasePruner = _build(
        chosen, {key: value for key, value in options.items() if key != "name"}, "pruner", 0
    )
    return made


def _classes(kind: str) -> dict[str, Any]:
    """All samplers, or all pruners, of Optuna by name."""
    module = getattr(optuna(), f"{kind.lower()}s")
    base = getattr(module, f"Base{kind}")
    found = {name: getattr(module, name) for name in module.__all__ if not name.startswith("Base")}
    return {
        name: one for name, one in found.items() if inspect.isclass(one) and issubclass(one, base)
    }


def _found(name: str, classes: Mapping[str, Any], kind: str) -> Any:
    """Find a class by name, ignoring case, underscores and the name's ending."""

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "").removesuffix(kind.lower())

    short = {plain(one): one for one in classes}
    if plain(name) in short:
        return classes[short[plain(name)]]
    ours = ["grid", "random"] if kind == "Sampler" else []
    meant = did_you_mean(name, [*classes, *ours] if not nearest(name, short) else [*short, *ours])
    raise ConfigError(f"there is no {kind.lower()} {name!r}{meant}")


def _build(chosen: Any, options: Mapping[str, Any], what: str, seed: int) -> Any:
    known = inspect.signature(chosen).parameters
    for key in options:
        if key not in known:
            raise ConfigError(
                f"{what}: {chosen.__name__} has no option {key!r}{did_you_mean(key, known)}"
            )
    values = {key: _inner(key, value, seed) for key, value in options.items()}
    missing = [key for key, one in known.items() if one.default is one.empty and key not in values]
    if missing:
        raise ConfigError(f"{what}: {chosen.__name__} needs the option {missing[0]!r}")
    try:
        return chosen(**values)
    except ImportError as error:
        raise RunError(
            f"{chosen.__name__} needs a package that is not installed: {in_one_line(str(error))}"
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{what}: {chosen.__name__} refuses its options: {in_one_line(str(error))}"
        ) from None


def _inner(key: str, value: Any, seed: int) -> Any:
    """An option's value; a table with a name becomes a sampler or a pruner.

    `PartialFixedSampler` has such an option, its `base_sampler`.
    """
    if isinstance(value, Mapping) and "name" in value:
        if key.endswith("sampler"):
            return make_sampler(value, seed=seed, lists={})
        if key.endswith("pruner"):
            return make_pruner(value)
    return value
