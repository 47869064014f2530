"""Jobs, as data."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from hypnet_core.jobs import JobSpec, JobState


def test_a_job_has_ended_unless_it_waits_or_runs() -> None:
    ended = {state.value for state in JobState if state.ended}
    assert ended == {"finished", "failed", "cancelled", "lost"}


def test_a_job_needs_nothing_but_a_command() -> None:
    job = JobSpec(argv=("true",))
    assert (job.cpus, job.gpus, job.memory, job.time_limit, job.env, job.options) == (
        1,
        0,
        None,
        None,
        {},
        (),
    )


def test_memory_and_time_are_understood_as_text_and_as_numbers() -> None:
    job = JobSpec.model_validate({"argv": ["x"], "memory": "1.5GiB", "time_limit": "01:30:00"})
    assert job.memory == 1.5 * 2**30
    assert job.time_limit == timedelta(minutes=90)
    assert JobSpec.model_validate({"argv": ["x"], "time_limit": 90}).time_limit == timedelta(
        seconds=90
    )


def test_a_job_round_trips_through_json() -> None:
    job = JobSpec.model_validate(
        {
            "argv": ["a b", "$(x)\n"],
            "name": "n",
            "cwd": "/tmp",
            "env": {"A": "1"},
            "memory": 5,
            "time_limit": 7,
            "gpus": 1,
        }
    )
    assert JobSpec.model_validate_json(job.model_dump_json()) == job


def test_a_job_is_frozen() -> None:
    job = JobSpec(argv=("true",))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(job, "cpus", 2)  # noqa: B010  # the type checker knows it


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argv": []}, "at least 1 item"),
        ({"argv": [""]}, "the program, is empty"),
        ({"argv": ["a\0b"]}, "NUL"),
        ({"argv": "ls -l"}, "tuple"),
        ({"name": "two\nlines"}, "one line"),
        ({"options": ["--qos=long\nrm -rf"]}, "one line"),
        ({"options": [" "]}, "one line"),
        ({"env": {"A=B": "1"}}, "cannot be the name of an environment variable"),
        ({"env": {"": "1"}}, "cannot be the name of an environment variable"),
        ({"env": {"A": "\0"}}, "NUL"),
        ({"cpus": 0}, "greater than 0"),
        ({"gpus": -1}, "greater than or equal to 0"),
        ({"memory": 0}, "greater than 0"),
        ({"memory": "8 gigs"}, "byte unit"),
        ({"time_limit": 0}, "greater than 0"),
        ({"shell": True}, "Extra inputs"),
    ],
)
def test_impossible_jobs_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JobSpec.model_validate({"argv": ["true"], **fields})


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ä", "x" * 33, "a\n"])
def test_a_key_is_a_short_plain_word(key: str) -> None:
    assert JobSpec(argv=("x",), key="0aF").key == "0aF"
    with pytest.raises(ValidationError, match="key"):
        JobSpec(argv=("x",), key=key)
