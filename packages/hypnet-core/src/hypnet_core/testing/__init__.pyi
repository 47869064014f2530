from .copies import equals_fresh_copies, without_dropout
from .kit import (
    Check,
    CheckResult,
    NotApplicableError,
    Outcome,
    Subject,
    expect,
    run_check,
    run_checks,
    suite_for,
)
from .with_pytest import conformance

__all__ = [
    "Check",
    "CheckResult",
    "NotApplicableError",
    "Outcome",
    "Subject",
    "conformance",
    "equals_fresh_copies",
    "expect",
    "run_check",
    "run_checks",
    "suite_for",
    "without_dropout",
]
