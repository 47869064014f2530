"""Messages in one line."""

from __future__ import annotations

from hypnet_core.errors import message_of

__all__ = ["error_in_one_line", "in_one_line"]


def in_one_line(text: str, longest: int = 300) -> str:
    r"""A text without line breaks, shortened if it is long.

    Example:
        >>> in_one_line("sbatch: error:\n  no such partition\n")
        'sbatch: error: no such partition'
    """
    return " ".join(text.split())[:longest]


def error_in_one_line(error: BaseException) -> str:
    """The message of an error; its type if the message is empty."""
    return message_of(error) or type(error).__name__
