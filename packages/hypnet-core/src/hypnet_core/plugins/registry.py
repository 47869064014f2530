"""The registry of components, by kind and name."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from hypnet_core.errors import (
    ComponentError,
    HypnetError,
    PluginError,
    did_you_mean,
    error_line,
    listed,
    nearest,
)
from hypnet_core.import_strings import PATTERN
from hypnet_core.plugins.component import Component, Kind
from hypnet_core.plugins.containment import marked, output_to_stderr
from hypnet_core.plugins.discovery import VARIABLE, Found, Plugin, Status, discover
from hypnet_core.plugins.recipe import recipe_file

if TYPE_CHECKING:
    from pydantic import BaseModel

_CORE = "hypnet-core"


@dataclass(frozen=True)
class Entry:
    """A component and the plugin that provides it.

    Attributes:
        component: The registered component.
        plugin: The plugin's name.
        distribution: The distribution that the plugin belongs to.
        version: That distribution's version.
    """

    component: Component
    plugin: str
    distribution: str
    version: str

    @property
    def kind(self) -> Kind:
        """The component's kind."""
        return self.component.kind

    @property
    def name(self) -> str:
        """The component's bare name."""
        return self.component.name

    @property
    def full_name(self) -> str:
        """The name that is never ambiguous: `plugin:name`."""
        return f"{self.plugin}:{self.name}"

    @property
    def label(self) -> str:
        """The name for messages."""
        return f"{self.kind} {self.full_name!r}"

    def load(self) -> Any:
        """Import the component's object; of a recipe, read it.

        Raises:
            PluginError: It cannot be imported, or cannot be called.
        """
        with output_to_stderr(), marked(self.plugin, self.label):
            found = self.component.load()
        if self.kind is not Kind.RECIPE and not callable(found):
            raise PluginError(
                f"{self.label}: {self.component.target} is not a class or function, but a"
                f" {type(found).__name__}"
            )
        return found

    def options(self) -> type[BaseModel]:
        """The model of its options, from keyword-only parameters or `Config`.

        A recipe takes those of its experiment.

        Raises:
            ComponentError: There is no such experiment.
            PluginError: The object cannot be imported, or its signature is not that of
                its kind.
        """
        # Lazily, since pydantic's models are only needed for some commands.
        from hypnet_core.plugins.options import options_of

        found = self.load()
        if self.kind is Kind.RECIPE:
            return registry().get(Kind.EXPERIMENT, found.experiment).options()
        try:
            return options_of(self.kind, found, self.label)
        except HypnetError:
            raise
        except Exception as error:  # annotations and docstrings may be any object
            raise PluginError(
                f"{self.label}: its options cannot be read: {error_line(error)}"
            ) from error

    def build(self, *positional: Any, **options: Any) -> Any:
        """Validate the options, add the defaults, and call the component.

        An experiment takes no options here: its `Config` is validated when it is run. A
        recipe is only read.

        Args:
            *positional: What the caller supplies to a component of this kind.
            **options: What the user configures.

        Raises:
            ConfigError: An option is unknown, missing or impossible.
            PluginError: The object cannot be imported, or its signature is not that of
                its kind.
        """
        from hypnet_core.plugins.options import validated, values_of

        made = self.load()
        if self.kind is Kind.RECIPE:
            return made
        values = {}
        if self.kind is not Kind.EXPERIMENT:
            values = values_of(validated(self.options(), options))
        try:
            with output_to_stderr():
                return made(*positional, **values)
        except (Exception, KeyboardInterrupt):
            raise
        # SystemExit would end the command without a word.
        except BaseException as error:
            raise PluginError(f"{self.label}: {error_line(error)}") from error

    def source(self) -> str | None:
        """`file:line` of the object's definition; `None` if unknown.

        Raises:
            PluginError: The object cannot be imported.
        """
        if self.kind is Kind.RECIPE:
            return f"{recipe_file(*self.component.target.split(':'))}:1"
        # Decorated functions are defined where the inner one is.
        found = inspect.unwrap(self.load())
        try:
            return f"{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}"
        except (OSError, TypeError):
            return None


class Registry:
    """The components of a set of plugins.

    A component is looked up by its bare name, or as `plugin:name`, which is needed
    where two plugins use one name.

    Args:
        found: The plugins.
    """

    def __init__(self, found: Found) -> None:
        self.plugins: tuple[Plugin, ...] = found.plugins
        self._selection_notes = found.notes
        self._entries = tuple(
            sorted(
                (
                    Entry(component, plugin.name, plugin.distribution, plugin.version)
                    for plugin in found.plugins
                    for component in plugin.components
                ),
                # A fixed order, so that listings do not depend on the installation.
                key=lambda entry: (list(Kind).index(entry.kind), entry.name, entry.plugin),
            )
        )
        # Kinds have separate namespaces: a dataset and a mainnet may share a name.
        self._by_name: dict[tuple[Kind, str], list[Entry]] = {}
        for entry in self._entries:
            self._by_name.setdefault((entry.kind, entry.name), []).append(entry)

    def entries(self, kind: Kind | str | None = None, pattern: str = "*") -> tuple[Entry, ...]:
        """All components, by kind, then by name.

        Args:
            kind: Only those of this kind.
            pattern: Only those whose bare or full name matches this glob.

        Raises:
            ComponentError: There is no such kind.
        """
        wanted = None if kind is None else as_kind(kind)
        return tuple(
            entry
            for entry in self._entries
            if (wanted is None or entry.kind is wanted)
            and (fnmatchcase(entry.name, pattern) or fnmatchcase(entry.full_name, pattern))
        )

    def get(self, kind: Kind | str, name: str) -> Entry:
        """Look up a component by kind and name, or by import string.

        Args:
            kind: The kind.
            name: `name`, `plugin:name`, or `package.module:attribute` of an object that
                no plugin registers.

        Raises:
            ComponentError: There is none, or several plugins offer one.
        """
        return self.find(name, as_kind(kind))

    def find(self, name: str, *kinds: Kind) -> Entry:
        """Look up a component by name.

        Args:
            name: `name` or `plugin:name`; an import string is of the first kind.
            *kinds: The kinds that may be meant; any by default.

        Raises:
            ComponentError: There is none, or several.
        """
        if kinds and not self._named(name) and self._is_import_string(name):
            return Entry(Component.imported(kinds[0], name), name.partition(":")[0], "", "")
        what = f"{' or '.join(kinds)} {name!r}" if kinds else repr(name)
        return self._only(name, self._named(name, *kinds), what, *kinds)

    def is_ambiguous(self, entry: Entry) -> bool:
        """Whether the bare name does not lead to it alone."""
        return self._by_name.get((entry.kind, entry.name)) != [entry]

    def shortest_name(self, entry: Entry) -> str:
        """The bare name, or the full one where the bare one is ambiguous."""
        return entry.full_name if self.is_ambiguous(entry) else entry.name

    @property
    def versions(self) -> dict[str, str]:
        """The version of each plugin that was loaded, by name."""
        return {
            plugin.name: plugin.version for plugin in self.plugins if plugin.status is Status.OK
        }

    def faults(self) -> tuple[str, ...]:
        """The faults of the plugins, one line each."""
        lines = [fault for plugin in self.plugins for fault in plugin.faults]
        for (kind, name), entries in self._by_name.items():
            if len(entries) > 1:
                plugins = listed(repr(entry.plugin) for entry in entries)
                names = " or ".join(entry.full_name for entry in entries)
                lines.append(
                    f"several plugins ({plugins}) offer {with_article(kind)} {name!r}: write"
                    f" {names}"
                )
        return (*self._selection_notes, *lines)

    def _is_import_string(self, name: str) -> bool:
        """Whether a name is an import string of a module that is there."""
        plugins = {found.name for found in self.plugins}
        if not re.match(PATTERN, name) or name.partition(":")[0] in plugins:
            return False
        # The top-level package alone: finding a module inside would import it.
        try:
            return importlib.util.find_spec(re.split("[.:]", name)[0]) is not None
        except (ImportError, ValueError):
            return False

    def _named(self, name: str, *kinds: Kind) -> list[Entry]:
        # Without a colon the plugin is empty.
        plugin, _, bare = name.rpartition(":")
        return [
            entry
            for entry in self._entries
            if entry.name == bare
            and (not plugin or entry.plugin == plugin)
            and (not kinds or entry.kind in kinds)
        ]

    def _only(self, name: str, entries: list[Entry], what: str, *kinds: Kind) -> Entry:
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise ComponentError(self._unknown(name, what, *kinds))
        choices = " or ".join(sorted({entry.full_name for entry in entries}))
        if len({entry.kind for entry in entries}) > 1:
            found = " and ".join(sorted({with_article(entry.kind) for entry in entries}))
            raise ComponentError(
                f"{name!r} is ambiguous: there is {found} of that name, give the kind (--kind)"
            )
        raise ComponentError(f"{what} is ambiguous: write {choices}")

    def _unknown(self, name: str, what: str, *kinds: Kind) -> str:
        """The message about an unknown component, with nearest names and sources."""
        plugin, _, bare = name.rpartition(":")
        if not kinds and self._is_import_string(name):
            return f"{name!r} is an import string: say of which kind it is (--kind)"
        message = f"there is no {what}" if kinds else f"there is no component {what}"
        known = {
            self.shortest_name(entry) for entry in self._entries if not kinds or entry.kind in kinds
        }
        elsewhere = [entry for entry in self._named(name) if entry.kind not in kinds]
        if elsewhere:
            message += f"; {name!r} is {with_article(elsewhere[0].kind)}"
        elif plugin and plugin not in {found.name for found in self.plugins}:
            message += (
                ": there is no plugin or module"
                f" {plugin!r}{did_you_mean(plugin, [found.name for found in self.plugins])}"
            )
        elif known:
            # Compared without the plugin first, because known names are usually bare.
            message += did_you_mean(bare if nearest(bare, known) else name, known)
        reasons = [*self._left_out(plugin), *self._not_installed(*kinds[:1])]
        return message + "".join(f" ({reason})" for reason in reasons)

    def _left_out(self, plugin: str) -> Iterable[str]:
        """Plugins that were not loaded and might provide it."""
        for status, why in (
            (Status.BROKEN, "broken"),
            (Status.SKIPPED, f"not named in {VARIABLE}"),
        ):
            names = [
                found.name
                for found in self.plugins
                if found.status is status and plugin in {"", found.name}
            ]
            if names:
                yield (
                    f"it might come from a plugin that is {why}: {listed(names)}; see `hypnet"
                    " plugins`"
                )

    def _not_installed(self, *kinds: Kind) -> Iterable[str]:
        installed = {plugin.distribution for plugin in self.plugins}
        for kind in kinds:
            provider = usual_provider(kind)
            if provider and provider not in installed:
                yield (
                    f"many {kind}s come with the package {provider}, which is not installed: pip"
                    f' install "{_CORE}[{kind}]"'
                )


def usual_provider(kind: Kind) -> str | None:
    """The distribution with the usual components of a kind, from the core's extras."""
    try:
        lines = importlib.metadata.requires(_CORE) or []
    except importlib.metadata.PackageNotFoundError:  # imported from a bare source tree
        return None
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker and "extra" in str(marker) and marker.evaluate({"extra": kind.value}):
            return requirement.name
    return None


def with_article(kind: Kind) -> str:
    """A kind in a sentence: `a mainnet`, `an experiment`."""
    return f"an {kind}" if kind is Kind.EXPERIMENT else f"a {kind}"


def as_kind(kind: Kind | str) -> Kind:
    """A kind from its name, singular or plural.

    Raises:
        ComponentError: There is no such kind.

    Example:
        >>> as_kind("mainnets").value
        'mainnet'
    """
    try:
        return Kind(kind.removesuffix("s"))
    except ValueError:
        raise ComponentError(
            f"there is no kind {str(kind)!r}{did_you_mean(kind, [k.value for k in Kind])}"
        ) from None


@functools.cache
def registry() -> Registry:
    """The components of all installed plugins, discovered once per process."""
    return Registry(discover(os.environ))
