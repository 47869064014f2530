"""The scheduler `local` passes the suite that every scheduler must pass."""

from __future__ import annotations

from hypnet_core.testing import conformance

test_conformance = conformance(
    "hpsearch", "local", options={"local": [{}, {"slots": 1, "grace": 0.5}]}
)
