"""Leftovers of a call: tensors that a module keeps in plain attributes.

A cache of something derived from one set of weights must not be used with the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import is_
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from torch import Tensor, nn

_CONTAINERS = (dict, list, set, deque)
# Nothing is kept in these; modules are watched by themselves.
_SIMPLE = (bool, int, float, str, type(None), Tensor, nn.Module, type, FunctionType, MethodType)
_ABSENT = object()
_FRAMEWORK = frozenset(vars(nn.Module()))


class Image(NamedTuple):
    """One module's attributes, buffers and containers at one time."""

    place: str
    module: nn.Module
    attributes: dict[str, Any]
    buffers: dict[str, Any]
    containers: list[tuple[str, Any, Any]]
    """Names, containers, and copies of their content."""
    objects: list[tuple[str, dict[str, Any], dict[str, Any]]]
    """Names of plain objects, their attributes, and copies of these."""


@dataclass(frozen=True)
class _Assigned:
    """An attribute or a buffer that a call set."""

    place: str
    store: dict[str, Any]
    key: str
    before: Any
    now: Any

    @property
    def is_cache(self) -> bool:
        empty = self.before is _ABSENT or self.before is None
        empty = empty or (isinstance(self.before, _CONTAINERS) and not self.before)
        return empty and _holds_tensors(self.now)

    @property
    def untouched(self) -> bool:
        return self.store.get(self.key, _ABSENT) is self.now

    def put_back(self) -> None:
        if self.before is _ABSENT:
            self.store.pop(self.key, None)
        else:
            self.store[self.key] = self.before


@dataclass(frozen=True)
class _Filled:
    """A container whose content a call changed."""

    place: str
    container: Any
    before: Any
    now: Any

    @property
    def is_cache(self) -> bool:
        return _holds_tensors(self.now)

    @property
    def untouched(self) -> bool:
        return _equal(self.container, self.now)

    def put_back(self) -> None:
        self.container.clear()
        if isinstance(self.container, (dict, set)):
            self.container.update(self.before)
        else:
            self.container.extend(self.before)


class Leftovers:
    """Watches the attributes of a module over its calls.

    - A tensor in an attribute that was empty (absent, `None` or an empty container), or
      added to a container: it can be read after the call, and is forgotten when the
      next begins.
    - Any other change is state that the module carries on, as without `MainNetwork`;
      but flags (booleans) that the same module set go back with its tensors.

    Containers in containers and the attributes of plain objects count too.

    Args:
        module: The module. Torch's own layers keep no such state and cost nothing.
    """

    def __init__(self, module: nn.Module) -> None:
        self._all = list(module.named_modules())
        self._custom = [(name, part) for name, part in self._all if not _is_torchs(part)]
        self._left: list[_Assigned | _Filled] = []

    def begin(self, *, everything: bool = False) -> list[Image]:
        """Forget what the last call left, and remember the state before the next.

        Args:
            everything: Whether to watch torch's own layers too, which hooks may change.
        """
        if self._left:
            left, self._left = self._left, []
            for found in left:
                # Else somebody set it since.
                if found.untouched:
                    found.put_back()
        return [_image(*part) for part in (self._all if everything else self._custom)]

    def end(self, images: Iterable[Image]) -> None:
        """Note what the call left."""
        changes = _changes(images)
        caches = [found for found in changes if found.is_cache]
        owners = {found.place.rpartition(".")[0] for found in caches}
        # A flag without its tensor would be believed.
        flags = [
            found
            for found in changes
            if isinstance(found, _Assigned)
            and isinstance(found.before, bool)
            and found.place.rpartition(".")[0] in owners
        ]
        self._left = [*caches, *flags]

    def undo(self, images: Iterable[Image]) -> list[str]:
        """Put everything back, and name what had changed."""
        changes = _changes(images)
        for found in changes:
            found.put_back()
        return [found.place for found in changes]


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _image(place: str, module: nn.Module) -> Image:
    attributes = module.__dict__.copy()
    containers: list[tuple[str, Any, Any]] = []
    objects: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for key, value in attributes.items():
        if key in _FRAMEWORK or isinstance(value, _SIMPLE):
            continue
        if isinstance(value, _CONTAINERS):
            containers += [(key, found, _content(found)) for found in _nested(value, 3)]
        elif type(value).__module__ != "torch" and isinstance(
            own := getattr(value, "__dict__", None), dict
        ):
            objects.append((key, own, own.copy()))
            containers += [
                (f"{key}.{name}", found, _content(found))
                for name, item in own.items()
                if isinstance(item, _CONTAINERS)
                for found in _nested(item, 2)
            ]
    return Image(place, module, attributes, attributes["_buffers"].copy(), containers, objects)


def _nested(container: Any, depth: int) -> Iterator[Any]:
    """A container and those in it."""
    yield container
    if depth > 1:
        for item in _values(container):
            if isinstance(item, _CONTAINERS):
                yield from _nested(item, depth - 1)


def _changes(images: Iterable[Image]) -> list[_Assigned | _Filled]:
    found: list[_Assigned | _Filled] = []
    for place, module, attributes, buffers, containers, objects in images:
        # The fast way first: the same objects in the same order.
        own = vars(module)
        for now, before in ((own, attributes), (own["_buffers"], buffers)):
            if not _same(now, before):
                found += _assigned(place, now, before)
        for key, now, before in objects:
            if not _same(now, before):
                found += _assigned(_joined(place, key), now, before)
        found += [
            _Filled(_joined(place, key), container, content, _content(container))
            for key, container, content in containers
            if not _equal(container, content)
        ]
    return found


def _assigned(place: str, now: dict[str, Any], before: dict[str, Any]) -> list[_Assigned]:
    return [
        _Assigned(_joined(place, key), now, key, old, new)
        for key in {**before, **now}
        if key not in _FRAMEWORK
        and (new := now.get(key, _ABSENT)) is not (old := before.get(key, _ABSENT))
    ]


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}".lstrip(".")


def _same(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return len(now) == len(before) and all(map(is_, now.values(), before.values()))


def _content(container: Any) -> Any:
    # Plain copies: subclasses may be costly to copy, or impossible.
    for kind in (dict, set):
        if isinstance(container, kind):
            return kind(container)
    return list(container)


def _equal(container: Any, content: Any) -> bool:
    if isinstance(container, set):
        return bool(container == content)
    return len(container) == len(content) and all(map(is_, _values(container), _values(content)))


def _values(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _holds_tensors(value: Any, depth: int = 2) -> bool:
    if isinstance(value, Tensor):
        return True
    if depth and isinstance(value, (*_CONTAINERS, tuple)):
        return any(_holds_tensors(item, depth - 1) for item in _values(value))
    return False
