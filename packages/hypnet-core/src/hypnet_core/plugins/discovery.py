"""Finding the installed plugins: entry points of the group `hypnet`, loaded one by one, so that a broken one harms no other.

A plugin is an installed distribution with such an entry point; the hooks that its
module may implement are described in `hypnet_core.plugins.hooks`. Whatever a plugin
does wrong becomes part of its record, and nothing is raised.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from hypnet_core.errors import PluginError, did_you_mean, listed, nearest
from hypnet_core.plugins import hooks
from hypnet_core.plugins.component import Component

VARIABLE = "HYPNET_PLUGINS"
"""Environment variable that names the plugins to load, separated by commas; all if it is not set, none if it is empty."""

SLOW_SECONDS = 0.5
"""A plugin that takes longer than this to import is told so."""

_HOOKS = tuple(name for name in vars(hooks) if name.startswith("hypnet_"))


class Status(StrEnum):
    """What became of a plugin."""

    OK = "ok"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `hypnet`, and what loading it led to.

    Attributes:
        name: What users call it: the name of its entry point, or `name@distribution` if
            several distributions have one of that name.
        distribution: The distribution that declares it.
        version: That distribution's version.
        module: What the entry point refers to.
        status: Whether it was loaded, is broken, or was left out because
            `HYPNET_PLUGINS` does not name it.
        error: Why it is broken, in one line.
        traceback: The same, in full; empty if nothing was raised.
        seconds: How long importing it and asking for its components took.
        components: What it registers; nothing if it is broken.
        unknown_hooks: Functions that are marked or named like a hook, but are none that
            hypnet calls.
        notes: Whatever else its author should know, one line each.
        hooks: Its own pluggy manager, to call its hooks and no other plugin's.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    components: tuple[Component, ...] = ()
    unknown_hooks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hooks: pluggy.PluginManager | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"plugin {self.name!r} ({self.distribution} {self.version})"

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, one line each, the plugin named in each."""
        if self.status is Status.BROKEN:
            return (f"{self.label} is skipped: {self.error}",)
        return tuple(f"{self.label}: {note}" for note in self.notes)


@dataclass(frozen=True)
class Found:
    """All plugins, and what is wrong with the selection itself.

    Attributes:
        plugins: In alphabetical order of their names.
        notes: Names in `HYPNET_PLUGINS` that no plugin has, one line each.
    """

    plugins: tuple[Plugin, ...]
    notes: tuple[str, ...] = ()


def discover(environ: Mapping[str, str]) -> Found:
    """Load every installed plugin that the environment lets through.

    Args:
        environ: Environment variables; `HYPNET_PLUGINS` counts.
    """
    named = _with_unique_names(_entry_points())
    wanted = _wanted(environ)
    plugins, matched = [], set()
    for name, point in sorted(named, key=lambda pair: pair[0]):
        names = {name, point.name, _distribution(point)[0]} & (wanted or set())
        matched |= names
        plugins.append(
            _load(name, point) if wanted is None or names else _record(name, point, Status.SKIPPED)
        )
    known = [name for name, _ in named]
    notes = tuple(
        f"{VARIABLE} names {name!r}, which is not installed{did_you_mean(name, known)}"
        for name in sorted((wanted or set()) - matched)
    )
    return Found(tuple(plugins), notes)


def _wanted(environ: Mapping[str, str]) -> set[str] | None:
    value = environ.get(VARIABLE)
    return None if value is None else {name.strip() for name in value.split(",")} - {""}


def _entry_points() -> Iterator[metadata.EntryPoint]:
    """Entry points of our group, each once; a distribution whose metadata cannot be read is passed over.

    `importlib.metadata.entry_points` would parse all distributions at once and raise at
    the first that is damaged.
    """
    seen: set[tuple[str, str, str]] = set()
    for distribution in metadata.distributions():
        for point in _points_of(distribution):
            key = (_distribution(point)[0], point.name, point.value)
            if key not in seen:
                seen.add(key)
                yield point


def _points_of(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    # Metadata is a stranger's file, and anything may be wrong with it; the plugin is
    # then simply not installed properly.
    with contextlib.suppress(Exception):
        text = distribution.read_text("entry_points.txt") or ""
        if hooks.PROJECT not in text:  # most distributions by far: do not parse them
            return []
        points = list(distribution.entry_points.select(group=hooks.PROJECT))
        # The same distribution may lie on the path twice; Python imports the first.
        first = metadata.distribution(distribution.name) if points else distribution
        return points if first.read_text("entry_points.txt") == text else []
    return []


def _distribution(point: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that declares an entry point."""
    distribution = point.dist
    if distribution is None:
        return "unknown", "unknown"
    found = distribution.metadata
    return str(found["Name"] or "unknown"), str(found["Version"] or "unknown")


def _with_unique_names(
    points: Iterable[metadata.EntryPoint],
) -> list[tuple[str, metadata.EntryPoint]]:
    points = list(points)
    plain = Counter(point.name for point in points)
    full = [
        point.name if plain[point.name] == 1 else f"{point.name}@{_distribution(point)[0]}"
        for point in points
    ]
    # One distribution may even declare a name twice: number them.
    return [
        (name if full.count(name) == 1 else f"{name}-{1 + full[:i].count(name)}", points[i])
        for i, name in enumerate(full)
    ]


def _record(name: str, point: metadata.EntryPoint, status: Status, **facts: Any) -> Plugin:
    distribution, version = _distribution(point)
    return Plugin(
        name=name,
        distribution=distribution,
        version=version,
        module=point.value,
        status=status,
        **facts,
    )


def _load(name: str, point: metadata.EntryPoint) -> Plugin:
    """Import one plugin and ask it what it offers."""
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's data
            module = point.load()
            imported = time.perf_counter() - started
            manager = _register(module)
            components = _components(manager)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything, SystemExit too, and must harm nobody
        story = "" if isinstance(error, PluginError) else "".join(traceback.format_exception(error))
        seconds = time.perf_counter() - started
        return _record(
            name, point, Status.BROKEN, error=in_one_line(error), traceback=story, seconds=seconds
        )
    unknown = _unknown_hooks(module, manager)
    return _record(
        name,
        point,
        Status.OK,
        seconds=time.perf_counter() - started,
        components=components,
        unknown_hooks=unknown,
        notes=tuple(_notes(manager, unknown, imported)),
        hooks=manager,
    )


def _register(module: Any) -> pluggy.PluginManager:
    """A manager for this plugin alone, so that one always knows who gave what."""
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    try:
        manager.register(module, name="plugin")
    except pluggy.PluginValidationError as error:
        raise PluginError(" ".join(str(error).split())) from error
    return manager


def _implements(manager: pluggy.PluginManager, hook: str) -> bool:
    return bool(getattr(manager.hook, hook).get_hookimpls())


def _components(manager: pluggy.PluginManager) -> tuple[Component, ...]:
    if not _implements(manager, "hypnet_components"):
        return ()
    answers = manager.hook.hypnet_components()
    if not answers:
        raise PluginError("hypnet_components returned None, expected a list of Component")
    answer = answers[0]
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Iterable):
        raise PluginError(
            f"hypnet_components returned {_brief(answer)}, expected a list of Component"
        )
    components = tuple(answer)
    for component in components:
        if not isinstance(component, Component):
            raise PluginError(
                f"hypnet_components returned {_brief(component)} in its list, expected a Component"
            )
    twice = [
        f"{kind} {name!r}"
        for (kind, name), n in Counter((c.kind, c.name) for c in components).items()
        if n > 1
    ]
    if twice:
        raise PluginError(f"it registers {listed(twice)} more than once")
    return components


def _unknown_hooks(module: Any, manager: pluggy.PluginManager) -> tuple[str, ...]:
    """Hooks that nobody calls: misspelt ones, and functions with a hook's name that lack the marker."""
    callers = manager.get_hookcallers(module) or []
    unknown = {
        caller.name
        for caller in callers
        if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls())
    }
    if isinstance(module, ModuleType):
        marked = {caller.name for caller in callers}
        own = {
            name
            for name, value in vars(module).items()
            if name.startswith("hypnet_") and inspect.isfunction(value)
        }
        unknown |= own - marked
    return tuple(sorted(unknown))


def _notes(manager: pluggy.PluginManager, unknown: Iterable[str], imported: float) -> Iterator[str]:
    for hook in unknown:
        if hook in _HOOKS:
            yield f"{hook} is not marked with @hookimpl and is ignored"
        else:
            likely = nearest(hook, _HOOKS, limit=1)
            yield f"there is no hook {hook!r}" + (
                f"; did you mean {likely[0]!r}?" if likely else did_you_mean(hook, _HOOKS)
            )
    if not any(_implements(manager, hook) for hook in _HOOKS) and not unknown:
        yield f"it implements no hook; there is: {listed(_HOOKS)}"
    if imported > SLOW_SECONDS:
        yield f"it took {imported:.1f} s to import; a plugin module should import nothing heavy"


def in_one_line(error: BaseException) -> str:
    """An exception as one line: its type, unless it is one of ours, and its message."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:297]}..."
    if isinstance(error, PluginError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _brief(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
