"""The scheduler `slurm` passes the conformance suite on a real Slurm."""

from __future__ import annotations

import pytest

from hypnet_core.testing import conformance

pytestmark = pytest.mark.usefixtures("slurm")

test_conformance = conformance(
    "hpsearch", "slurm", options={"slurm": {"array_size": 3, "constraint": "fast"}}
)
