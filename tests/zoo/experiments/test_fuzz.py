"""Whatever is typed behind `hypnet run hypercl` is a configuration or a short line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hypnet_core.errors import UsageError
from hypnet_core.plugins import describe
from hypnet_core.runs import dump_config, load_config
from hypnet_zoo.experiments import HyperCLConfig

KEYS = [
    *(option.key for option in describe(HyperCLConfig)),
    *("data.name", "mnet.hidden", "hnet.hidden", "hnet.init.fan", "log.0", "x", "train.", ""),
]
SIGNS = [*"[]{}:,&*!?|>'\"%@`#-=. \n\t\\", "!!int ", "!!map ", "!!float ", "&a ", "*a", "<<: "]
WORDS = [
    "mlp",
    "split_digits",
    "csv",
    "name: ",
    "adam",
    "true",
    "null",
    "1e-3",
    "7",
    "best:2",
    "1h",
]
ODD = ["0x", "0o8", "1e999", ".inf", "-.nan", "~", "\ud800", "\x00", "9" * 400, "math:sqrt"]
PIECES = st.one_of(st.sampled_from(SIGNS), st.sampled_from(WORDS + ODD), st.text(max_size=3))
OVERRIDES = st.tuples(st.sampled_from(KEYS), st.lists(PIECES, max_size=6).map("".join))


def check(overrides: list[tuple[str, str]]) -> None:
    lines = [line for override in overrides for line in answer(*override)]
    assert all(len(line) < 600 for line in lines)


def answer(key: str, value: str) -> list[str]:
    """The lines of the error, if there is one."""
    try:
        dump_config(load_config(HyperCLConfig, overrides=[f"{key}={value}"]))
    except UsageError as error:
        return str(error).splitlines()
    return []


def quick(count: int) -> settings:
    """Without shrinking, which would take longer than the search."""
    phases = [Phase.explicit, Phase.generate]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, phases=phases, suppress_health_check=checks)


@quick(20)
@given(st.lists(OVERRIDES, min_size=20, max_size=20))
def test_four_hundred_overrides(overrides: list[tuple[str, str]]) -> None:
    check(overrides)


@pytest.mark.slow
@quick(500)
@given(st.lists(OVERRIDES, min_size=20, max_size=20))
def test_ten_thousand_overrides(overrides: list[tuple[str, str]]) -> None:
    check(overrides)
