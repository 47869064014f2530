"""Discovery of installed plugins through entry points of the group `hypnet`.

Entry points are loaded one by one, since pluggy's own loader stops at the first broken
one. `hypnet_core.plugins.hooks` describes the hooks that a plugin may implement. All
faults of a plugin become part of its record; nothing is raised.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from hypnet_core.errors import PluginError, did_you_mean, error_line, listed, nearest
from hypnet_core.plugins import hooks
from hypnet_core.plugins.component import Component
from hypnet_core.plugins.containment import marked, output_to_stderr, shown_briefly, story_of

VARIABLE = "HYPNET_PLUGINS"
"""Environment variable with the names of the plugins to load, separated by commas.

All are loaded if it is not set, none if it is empty. A name with a minus before it is
left out; if all names are such, the others are loaded."""

SLOW_SECONDS = 0.5
"""Seconds that the import of a plugin may take without a remark."""

_HOOKS = tuple(name for name in vars(hooks) if name.startswith("hypnet_"))


_MAX_COMPONENTS = 10_000
"""More than this is a generator without an end."""


class Status(StrEnum):
    """Whether a plugin was loaded."""

    OK = "ok"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `hypnet` and the result of loading it.

    Attributes:
        name: The name of its entry point, or `name@distribution` if several
            distributions use that name.
        distribution: The distribution that declares it.
        version: That distribution's version.
        module: The module that the entry point names.
        status: Whether it was loaded, is broken, or was left out because
            `HYPNET_PLUGINS` does not name it.
        error: Why it is broken, in one line.
        traceback: The same, in full; empty if nothing was raised.
        seconds: How long importing it and asking for its components took.
        components: The components that it registers; none if it is broken.
        unknown_hooks: Functions that are marked or named as hooks, but are never
            called.
        notes: Further remarks for its author, one line each.
        hooks: A pluggy manager for its hooks alone.
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
        """The name for messages."""
        return f"plugin {self.name!r} ({self.distribution} {self.version})"

    @property
    def faults(self) -> tuple[str, ...]:
        """Its faults, one line each, with the name of the plugin."""
        if self.status is Status.BROKEN:
            return (f"{self.label} is skipped: {self.error}",)
        return tuple(f"{self.label}: {note}" for note in self.notes)


@dataclass(frozen=True)
class Found:
    """All plugins, and faults of the selection itself.

    Attributes:
        plugins: In alphabetical order of their names.
        notes: Names in `HYPNET_PLUGINS` that no plugin has, one line each.
    """

    plugins: tuple[Plugin, ...]
    notes: tuple[str, ...] = ()


def discover(environ: Mapping[str, str]) -> Found:
    """Load all installed plugins that the environment selects.

    Args:
        environ: Environment variables, of which `HYPNET_PLUGINS` is read.
    """
    # Names are made unique before any plugin is loaded, so that all faults have one.
    named = _with_unique_names(_entry_points())
    wanted, unwanted = _selection(environ)
    plugins, matched = [], set()
    for name, point in sorted(named, key=lambda pair: pair[0]):
        # A plugin may be chosen by its own name or that of its distribution.
        names = {name, point.name, _distribution(point)[0]}
        chosen = (wanted is None or bool(names & wanted)) and not names & unwanted
        matched |= names
        plugins.append(_load(name, point) if chosen else _record(name, point, Status.SKIPPED))
    known = [name for name, _ in named]
    notes = tuple(
        f"{VARIABLE} names {name!r}, which is not installed{did_you_mean(name, known)}"
        for name in sorted(((wanted or set()) | unwanted) - matched)
    )
    return Found(tuple(plugins), notes)


def _selection(environ: Mapping[str, str]) -> tuple[set[str] | None, set[str]]:
    """The plugins to load, `None` for all, and those to leave out."""
    value = environ.get(VARIABLE)
    if value is None:
        return None, set()
    names = {name.strip() for name in value.split(",")} - {""}
    unwanted = {name.removeprefix("-") for name in names if name.startswith("-")}
    wanted = {name for name in names if not name.startswith("-")}
    return (None if unwanted and not wanted else wanted), unwanted


def _entry_points() -> Iterator[metadata.EntryPoint]:
    """Entry points of our group, each once.

    Distributions with unreadable metadata are skipped;
    `importlib.metadata.entry_points` would raise at the first of them.
    """
    # Editable installations may list a distribution twice.
    seen: set[tuple[str, str, str]] = set()
    for distribution in metadata.distributions():
        for point in _points_of(distribution):
            key = (_distribution(point)[0], point.name, point.value)
            if key not in seen:
                seen.add(key)
                yield point


def _points_of(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    # Metadata written by others may be damaged in any way; such a plugin is not
    # properly installed.
    with contextlib.suppress(Exception):
        # Reading the raw file is much cheaper than parsing it.
        text = distribution.read_text("entry_points.txt") or ""
        if hooks.PROJECT not in text:  # most distributions: do not parse them
            return []
        points = list(distribution.entry_points.select(group=hooks.PROJECT))
        # A distribution may be on the path twice; Python imports the first.
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
    """Import one plugin and collect its components."""
    # CPU time: on a busy machine a plugin must not look slower than it is.
    started = time.process_time()
    try:
        with output_to_stderr(), marked(name):
            module = point.load()
            imported = time.process_time() - started
            manager = _register(module)
            offered = _components(manager)
    except KeyboardInterrupt:
        raise
    # Contain any exception of a plugin, even SystemExit.
    except BaseException as error:  # noqa: BLE001
        story = "" if isinstance(error, PluginError) else story_of(error)
        seconds = time.process_time() - started
        return _record(
            name,
            point,
            Status.BROKEN,
            error=error_line(error, PluginError),
            traceback=story,
            seconds=seconds,
        )
    unknown = _unknown_hooks(module, manager)
    return _record(
        name,
        point,
        Status.OK,
        seconds=time.process_time() - started,
        components=tuple(component for component in offered if not component.fault),
        unknown_hooks=unknown,
        notes=tuple(_notes(manager, unknown, imported, offered)),
        hooks=manager,
    )


def _register(module: Any) -> pluggy.PluginManager:
    """A pluggy manager for this plugin alone, so that results have a known source."""
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
        # A hook that returns None is left out of pluggy's answers.
        raise PluginError("hypnet_components returned None, expected a list of Component")
    answer = answers[0]
    # Text is iterable too, but a list of characters is never meant.
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Iterable):
        raise PluginError(
            f"hypnet_components returned {shown_briefly(answer)}, expected a list of Component"
        )
    # A generator may raise while it is consumed; the caller catches it.
    components = tuple(itertools.islice(answer, _MAX_COMPONENTS + 1))
    if len(components) > _MAX_COMPONENTS:
        raise PluginError(f"hypnet_components returned more than {_MAX_COMPONENTS:,} components")
    for component in components:
        if not isinstance(component, Component):
            raise PluginError(
                f"hypnet_components returned {shown_briefly(component)} in its list, expected a"
                " Component"
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
    """Hooks that are never called: misspelt ones, and those without the marker."""
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


def _notes(
    manager: pluggy.PluginManager,
    unknown: Iterable[str],
    imported: float,
    components: Iterable[Component],
) -> Iterator[str]:
    for hook in unknown:
        # A right name without the marker is a different mistake from a wrong name.
        if hook in _HOOKS:
            yield f"{hook} is not marked with @hookimpl and is ignored"
        else:
            likely = nearest(hook, _HOOKS, limit=1)
            yield f"there is no hook {hook!r}" + (
                f"; did you mean {likely[0]!r}?" if likely else did_you_mean(hook, _HOOKS)
            )
    if not any(_implements(manager, hook) for hook in _HOOKS) and not unknown:
        yield f"it implements no hook; hooks are: {listed(_HOOKS)}"
    for component in components:
        if component.fault:
            yield f"{component.kind} {component.name!r} is left out: {component.fault}"
    if imported > SLOW_SECONDS:
        yield f"it took {imported:.1f} s to import; a plugin module should import nothing heavy"
