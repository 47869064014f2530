"""The optional protocols of schedulers: ours fulfil them, and the kit checks them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from hypnet_core.protocols import (
    BatchScheduler,
    ChecksAvailability,
    Closable,
    HasPollInterval,
    HasSlots,
    Scheduler,
)
from hypnet_core.testing import NotApplicableError
from hypnet_core.testing.scheduler import (
    closing_twice_does_no_harm,
    optional_members_are_as_documented,
)
from hypnet_hpsearch.schedulers import Local, Lsf, Ray, Slurm


def subject(scheduler: object) -> Any:
    return SimpleNamespace(build=lambda: scheduler)


@pytest.mark.parametrize(
    ("scheduler", "fulfils"),
    [
        (Local(slots=1), {HasSlots, HasPollInterval, Closable}),
        (Slurm(), {BatchScheduler, HasPollInterval, ChecksAvailability}),
        (Lsf(), {BatchScheduler, HasPollInterval, ChecksAvailability}),
        (Ray(), {HasPollInterval, Closable, ChecksAvailability}),
    ],
)
def test_our_schedulers_fulfil_their_protocols(scheduler: object, fulfils: set[Any]) -> None:
    optional: set[Any] = {BatchScheduler, ChecksAvailability, Closable, HasPollInterval, HasSlots}
    assert isinstance(scheduler, Scheduler)
    assert set(filter(partial(isinstance, scheduler), optional)) == fulfils
    optional_members_are_as_documented(subject(scheduler))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"slots": 0}, "slots is 0, not a positive integer"),
        ({"slots": None}, "slots is None"),
        ({"slots": True}, "slots is True"),
        ({"poll_interval": "1"}, "poll_interval is '1'"),
        ({"poll_interval": 0.0}, "poll_interval is 0.0"),
        ({"unavailable": lambda: ""}, "unavailable\\(\\) returned ''"),
        ({"unavailable": lambda: "a\nb"}, "neither None nor one line"),
    ],
)
def test_optional_members_of_the_wrong_kind_are_reported(
    members: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        optional_members_are_as_documented(subject(SimpleNamespace(**members)))


def test_a_scheduler_need_not_be_closable_but_must_bear_to_be_closed_twice() -> None:
    closing_twice_does_no_harm(subject(Local(slots=1)))
    with pytest.raises(NotApplicableError):
        closing_twice_does_no_harm(subject(SimpleNamespace()))
    closed = iter([None])
    with pytest.raises(StopIteration):
        closing_twice_does_no_harm(subject(SimpleNamespace(close=lambda: next(closed))))
