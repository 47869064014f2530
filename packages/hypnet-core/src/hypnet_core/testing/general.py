"""Checks for every kind: imports, and typed, described and validated options."""

from __future__ import annotations

import json

from hypnet_core.errors import ConfigError, listed
from hypnet_core.plugins.describe import describe, json_schema
from hypnet_core.plugins.validation import validated
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

_NO_OPTION = "no_such_option"


def it_can_be_imported(subject: Subject) -> None:
    """The registered import string leads to something that can be called."""
    subject.entry.load()


def its_summary_is_one_sentence(subject: Subject) -> None:
    """The summary is one line that ends with a full stop."""
    summary = subject.entry.component.summary
    expect("\n" not in summary and summary.endswith("."), f"the summary is {summary!r}")


def its_options_are_typed(subject: Subject) -> None:
    """Arguments of the caller are positional; options are keyword-only and typed."""
    subject.entry.options()


def its_options_are_described(subject: Subject) -> None:
    """The docstring says something about every option."""
    silent = [option.key for option in describe(subject.entry.options()) if not option.description]
    expect(not silent, f"the docstring does not describe {listed(silent)}")


def its_options_have_a_json_schema(subject: Subject) -> None:
    """JSON Schema of the options can be made, and is JSON."""
    json.dumps(json_schema(subject.entry.options()))


def options_survive_json(subject: Subject) -> None:
    """Options that are written to JSON and read back are the same."""
    model = subject.entry.options()
    options = validated(model, subject.options)
    written = options.model_dump_json()
    # Configurations are stored as JSON, so options must survive it.
    again = validated(model, json.loads(written))
    expect(again.model_dump_json() == written, f"{written} became {again.model_dump_json()}")


def an_unknown_option_is_named(subject: Subject) -> None:
    """An option that does not exist is refused by its name."""
    model = subject.entry.options()
    if model.model_config.get("extra") == "allow":
        raise NotApplicableError("it accepts any option")
    try:
        validated(model, {**subject.options, _NO_OPTION: 1})
    except ConfigError as error:
        expect(_NO_OPTION in str(error), f"the error does not name it: {error}")
    else:
        raise AssertionError(f"the option {_NO_OPTION!r} was accepted")


CHECKS: tuple[Check, ...] = (
    it_can_be_imported,
    its_summary_is_one_sentence,
    its_options_are_typed,
    its_options_are_described,
    its_options_have_a_json_schema,
    options_survive_json,
    an_unknown_option_is_named,
)
