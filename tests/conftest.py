"""What holds for all tests.

One thread for torch: on a busy machine two threads stall small operations, and the
suite runs in several processes anyway. And no test fails because the machine was slow
while hypothesis drew its examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

settings.register_profile("hypnet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hypnet")
