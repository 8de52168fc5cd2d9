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


def one_line(error: BaseException) -> str:
    """Kind and message of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
