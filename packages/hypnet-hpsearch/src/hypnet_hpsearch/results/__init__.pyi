from .seeds_summary import KeySummary, SeedsSummary
from .table import SearchStatus, TrialResult

__all__ = [
    "KeySummary",
    "SearchStatus",
    "SeedsSummary",
    "TrialResult",
]
