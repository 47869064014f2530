"""Models that nobody here wrote are right, or refused by name.

`nox -s foreign` runs this. `python -m tests.foreign.test_models > docs/models.md`
writes the table; the tests fail if it does not say what they find.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.foreign.models import models

from hypnet_core.errors import HypnetError, error_line
from hypnet_core.testing import equals_fresh_copies

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
RIGHT = "right"
HEAD = """\
# Models that were tried

Any module is a main network: that was tried with the models below, built small and with
random parameters. Two different sets of weights from outside are used one after the other,
and as a batch, in evaluation and in training. Outputs and gradients must equal those of a
fresh copy of the module that owns the weights. `nox -s foreign` repeats it, and fails where
this table is wrong. Your own network is checked in the same way:

    hypnet check module factory=timm:create_model --in-shape 3,224,224 \\
        'arguments={model_name: levit_128s, num_classes: $out_features}'

| model | one set of weights | a batch in evaluation | a batch in training |
| --- | --- | --- | --- |
"""


def outcome(name: str, *, training: bool, batches: bool) -> str:
    """`right`, or the reason of a refusal; anything else is raised."""
    model = next(model for model in models() if model.name == name)
    torch.manual_seed(0)
    module = model.make()
    args, kwargs = model.inputs()
    try:
        equals_fresh_copies(module, args, kwargs, training=training, batches=batches)
    except HypnetError as error:
        # Without the numbers, which depend on what was drawn.
        reason = error_line(error, HypnetError).partition(",")[0].partition(" (")[0]
        return f"refused: {reason}"
    return RIGHT


def row(name: str) -> str:
    """One row of the table."""
    model = next(model for model in models() if model.name == name)
    single = {outcome(name, training=mode, batches=False) for mode in (False, True)}
    drawn = "right, one by one (it draws samples)"
    batches = [
        drawn if mode and model.random else outcome(name, training=mode, batches=True)
        for mode in (False, True)
    ]
    return f"| {name} | {', '.join(sorted(single))} | {' | '.join(batches)} |"


def _names() -> list[str]:
    """The names in the page: collecting tests must not import the libraries."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return [line.split("|")[1].strip() for line in lines if line.startswith("| ")][2:]


@pytest.mark.foreign
@pytest.mark.parametrize("name", _names())
def test_the_table_says_what_happens(name: str) -> None:
    assert row(name) in PAGE.read_text(encoding="utf-8")


@pytest.mark.foreign
def test_the_table_is_complete() -> None:
    names = [model.name for model in models()]
    assert names == _names()
    assert len(names) >= 90


if __name__ == "__main__":
    print(HEAD, end="")  # noqa: T201  a program
    for model in models():
        print(row(model.name), flush=True)  # noqa: T201
