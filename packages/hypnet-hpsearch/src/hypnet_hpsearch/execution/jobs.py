"""Jobs of attempts."""

from __future__ import annotations

from hashlib import blake2b

from hypnet_core.jobs import JobSpec
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.trial.wrapper import command

__all__ = ["job_of", "key_of"]


def job_of(attempt: Attempt, spec: SearchSpec) -> JobSpec:
    """The job that runs an attempt, with the resources that the search asks for."""
    return JobSpec(
        # Every scheduler runs the same wrapper around the command.
        argv=command(attempt.path),
        name=f"{spec.name}-{attempt.trial}",
        stdout=attempt.output,
        stderr=attempt.errors,
        key=key_of(attempt),
        **spec.resources.model_dump(),
    )


def key_of(attempt: Attempt) -> str:
    """The key by which a batch system finds the job: a hash of its directory."""
    return blake2b(str(attempt.path).encode(errors="surrogateescape"), digest_size=8).hexdigest()
