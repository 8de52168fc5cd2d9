"""The error of a user's mistake, and where other errors come from."""

import sysconfig
import traceback
from types import FrameType
from typing import Any, NamedTuple


class InputError(ValueError):
    """A user's mistake; its message of one line names the value, the bound and the remedy."""


OTHERS_ERRORS = (Exception, SystemExit)
"""What code of others may raise as its error: ``sys.exit`` within an environment ends no training."""


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


def blamed(error: Exception) -> str:
    """An error of a user's own code in one line, with the place to mend.

    Raises:
        Exception: the error itself, where it is this package's, or memory is full.
    """
    where = origin(error)
    if where.ours or isinstance(error, MemoryError):
        raise error
    return f"{one_line(error)} ({where.place}); mend it there"


class Origin(NamedTuple):
    """The innermost frame that raised an error, the standard library and installed packages but this one left out."""

    place: str
    """``FILE:LINE, in FUNCTION``."""
    ours: bool
    """Whether the frame is of this package."""
    last: bool
    """Whether it called nothing but the standard library."""


def origin(error: BaseException) -> Origin:
    """Where an error was raised that has been caught in this package."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not _pythons(frame)]
    frame, line = [(frame, line) for frame, line in frames if _ours(frame) or not _installed(frame)][-1]
    place = f"{frame.f_code.co_filename}:{line}, in {frame.f_code.co_name}"
    return Origin(place, _ours(frame), frame is frames[-1][0])


def _ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "hyperrl"


def _installed(frame: FrameType) -> bool:
    return any(folder in frame.f_code.co_filename for folder in ("site-packages", "dist-packages"))


def _pythons(frame: FrameType) -> bool:
    places = (sysconfig.get_paths()["stdlib"], "<frozen ")
    return frame.f_code.co_filename.startswith(places) and not _installed(frame)
