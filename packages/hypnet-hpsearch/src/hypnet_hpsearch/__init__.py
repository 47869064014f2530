"""hypnet-hpsearch: searches over the options of experiments and of other programs, and the schedulers that run them.

Nothing is imported before it is used: every trial imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypnet_hpsearch.search import Search
    from hypnet_hpsearch.spec.spec import SearchSpec
    from hypnet_hpsearch.trial.reports import report

__version__ = "0.1.0"

__all__ = ["Search", "SearchSpec", "report"]

_LAZY = {
    "Search": "hypnet_hpsearch.search",
    "SearchSpec": "hypnet_hpsearch.spec.spec",
    "report": "hypnet_hpsearch.trial.reports",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
