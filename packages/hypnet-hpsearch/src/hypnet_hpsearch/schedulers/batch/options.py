"""Options that the schedulers of all batch systems share."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pydantic import Field

from hypnet_core.jobs import Option

__all__ = ["BatchOptions"]


class BatchOptions(TypedDict, total=False):
    """How jobs are submitted to a batch system, and how often it is polled."""

    options: Annotated[
        tuple[Option, ...],
        Field(
            default=(),
            description=(
                "Extra options for the command that submits a job, one each, with their values,"
                ' such as `"--exclude=n7"` for `sbatch` or `"-U reservation"` for `bsub`.'
            ),
        ),
    ]
    setup: Annotated[
        tuple[Option, ...],
        Field(
            default=(),
            description=(
                "Lines of bash that every job runs before its command, such as `module load cuda`."
                " They are written into the script unchanged."
            ),
        ),
    ]
    max_jobs: Annotated[
        int,
        Field(
            default=50,
            gt=0,
            description="Number of jobs that a search keeps queued or running at once.",
        ),
    ]
    array_size: Annotated[
        int,
        Field(
            default=50,
            ge=1,
            le=50,
            description="Maximum number of jobs in one array; 1 submits each job by itself.",
        ),
    ]
    poll_interval: Annotated[
        float, Field(default=5.0, gt=0, description="Seconds between two looks at the queue.")
    ]
    timeout: Annotated[
        float,
        Field(default=20.0, gt=0, description="Seconds to wait for an answer of the batch system."),
    ]
