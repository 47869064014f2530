"""Names of metrics: which are measured on test data, and which on validation."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["counterparts", "is_test_name", "validation_of"]

_VALIDATION = ("validation_", "val_", "valid_")
_TEST = "test_"


def counterparts(metric: str) -> tuple[str, ...]:
    """Names that the same quantity may have on the other data.

    Validation scores are told from test scores by their prefix, in the last part of a
    dotted name.

    Example:
        >>> counterparts("validation_accuracy")
        ('accuracy', 'test_accuracy')
        >>> counterparts("final.test_loss")[0]
        'final.validation_loss'
    """
    table, dot, name = metric.rpartition(".")
    for prefix in _VALIDATION:
        if name.startswith(prefix) and name != prefix:
            plain = name.removeprefix(prefix)
            return tuple(f"{table}{dot}{other}" for other in (plain, f"{_TEST}{plain}"))
    plain = name.removeprefix(_TEST)
    return tuple(f"{table}{dot}{prefix}{plain}" for prefix in _VALIDATION)


def is_test_name(metric: str) -> bool:
    """Whether a metric's name says that it is measured on test data.

    Example:
        >>> is_test_name("final.test_loss"), is_test_name("loss")
        (True, False)
    """
    return metric.rpartition(".")[2].startswith(_TEST)


def validation_of(metric: str, names: Collection[str]) -> str | None:
    """The validation score that belongs to a score on test data.

    Args:
        metric: A metric.
        names: The numbers that trials report.

    Returns:
        Its name; `None` if `metric` is not known to be measured on test data.

    Example:
        >>> validation_of("accuracy", ["accuracy", "validation_accuracy"])
        'validation_accuracy'
        >>> validation_of("loss", ["loss"])
    """
    if metric.rpartition(".")[2].startswith(_VALIDATION):
        return None
    return next((name for name in counterparts(metric) if name in names), None)
