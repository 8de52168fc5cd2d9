"""The error of a user's mistake."""

from typing import Any


class InputError(ValueError):
    """A user's mistake; its message of one line names the value, the bound and the remedy."""


def number(what: str, value: Any) -> float:
    """A value as a float.

    Raises:
        InputError: it is not a number.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what}={value!r}: must be a number") from None


def printable(what: str, value: Any, most: int) -> None:
    """See that a text can be shown on one line of a terminal and of a table.

    Raises:
        InputError: it is no text of printable characters, or longer than ``most``.
    """
    if not (isinstance(value, str) and value.isprintable() and len(value) <= most):
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."
        raise InputError(f"{what}={shown}: must be one line of printable characters, at most {most}; choose another")


def one_line(error: BaseException) -> str:
    """Kind and message of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
