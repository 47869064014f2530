"""One thread for torch: on a busy machine two threads stall small operations, and the suite runs in several processes anyway."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
