"""The conformance kit: what every component of a kind must fulfil.

Whoever writes a plugin runs it over all of its components with three lines in a test
file:

```python
from hypnet_core.testing import conformance

test_conformance = conformance("mylab")
```

and anybody from the shell with `hypnet check NAME`.
"""

from __future__ import annotations

from hypnet_core.testing.kit import (
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
from hypnet_core.testing.with_pytest import conformance

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
