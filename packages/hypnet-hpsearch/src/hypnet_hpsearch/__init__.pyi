from .execution.observers import Inventory, SearchObserver, SearchProgress
from .results.table import SearchStatus, TrialResult
from .search import Search
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
    "SearchSpec",
    "SearchStatus",
    "TrialRecord",
    "TrialResult",
    "TrialState",
    "load_spec",
    "report",
]
