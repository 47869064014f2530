"""From an attempt at a trial to the job that makes it."""

from __future__ import annotations

from hashlib import blake2b

from hypnet_core.runs import JobSpec
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import Attempt

__all__ = ["job_of", "key_of"]


def job_of(attempt: Attempt, spec: SearchSpec) -> JobSpec:
    """The job that makes an attempt, with what the search asks for."""
    return JobSpec(
        argv=attempt.command,
        name=f"{spec.name}-{attempt.trial}",
        stdout=attempt.output,
        stderr=attempt.errors,
        key=key_of(attempt),
        **spec.resources.model_dump(),
    )


def key_of(attempt: Attempt) -> str:
    """What a batch system may find the attempt's job by: a hash of its directory, which no other attempt has."""
    return blake2b(str(attempt.path).encode(errors="surrogateescape"), digest_size=8).hexdigest()
