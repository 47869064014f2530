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
    "expect",
    "run_check",
    "run_checks",
    "suite_for",
]
