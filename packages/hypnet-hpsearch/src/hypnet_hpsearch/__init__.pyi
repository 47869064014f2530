from .execution.observers import Inventory, SearchObserver, SearchProgress, Watcher
from .functions import SearchResults, search
from .results.table import SearchStatus, TrialResult
from .searches import Search
from .spec.fields import GridCondition, Resources
from .spec.load import load_spec
from .spec.ranges import RangeSpec
from .spec.spec import SearchSpec
from .state.ledger import TrialRecord, TrialState
from .trial.reports import report

__version__: str

__all__ = [
    "GridCondition",
    "Inventory",
    "RangeSpec",
    "Resources",
    "Search",
    "SearchObserver",
    "SearchProgress",
    "SearchResults",
    "SearchSpec",
    "SearchStatus",
    "TrialRecord",
    "TrialResult",
    "TrialState",
    "Watcher",
    "load_spec",
    "report",
    "search",
]
