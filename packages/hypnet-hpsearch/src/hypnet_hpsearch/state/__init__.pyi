from .attempts import Attempt, AttemptRecord, ResultRecord
from .events import Event, claim_event, end_event, job_event
from .ledger import Ledger, TrialRecord, TrialState
from .store import Store

__all__ = [
    "Attempt",
    "AttemptRecord",
    "Event",
    "Ledger",
    "ResultRecord",
    "Store",
    "TrialRecord",
    "TrialState",
    "claim_event",
    "end_event",
    "job_event",
]
