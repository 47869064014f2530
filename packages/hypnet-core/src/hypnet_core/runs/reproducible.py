"""Deterministic computation: the same numbers at every run on one machine."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import torch

from hypnet_core.errors import RunError

_REFUSAL = re.compile(r"(\S.*?) does not have a deterministic implementation")


@contextlib.contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Use deterministic algorithms alone in a block, those of cuDNN too, without TF32.

    Settings of torch are restored afterwards. Numbers still differ between devices and
    versions of torch.

    Args:
        enabled: Whether to change anything.

    Raises:
        RunError: An operation has no deterministic form; the message names it.

    References:
        https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if not enabled:
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.allow_tf32,
        matmul.allow_tf32,
    )
    # Read when cuBLAS starts, which is at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic, cudnn.benchmark = True, False
        cudnn.allow_tf32 = matmul.allow_tf32 = False
        yield
    except RuntimeError as error:
        found = _REFUSAL.search(str(error))
        if found is None:
            raise
        raise RunError(
            f"deterministic: {found[1]} has no deterministic form here; avoid it, or give up"
            " deterministic=true"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before[2:5]
        matmul.allow_tf32 = before[5]
