"""Standard output and standard error that never end a run: what cannot be written is left out."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

from hyperrl.envs.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console


class Stream:
    """A text stream that may be ``None``, closed, an object with ``write`` only, or a pipe without a reader.

    What cannot be written is left out; ``error`` is the first reason, ``None`` where there was none or only a reader
    that stopped reading.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write what can be written; the length of the text."""
        self._call("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        self._call("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal; false where it cannot say."""
        try:
            return bool(self.stream.isatty())
        except Exception:
            return False

    @property
    def encoding(self) -> str:
        """Of the stream, UTF-8 where it has none."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _call(self, name: str, *text: str) -> None:
        method = getattr(self.stream, name, None)
        if method is None:
            return
        try:
            method(*text)
        except UnicodeEncodeError:
            self._call(name, *(part.encode("ascii", "backslashreplace").decode() for part in text))
        except Exception as error:
            if isinstance(error, OSError):
                self.error = self.error or (None if error.errno == errno.EPIPE else error)
                with suppress(Exception):  # so that nothing is left that Python would flush at its end
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, self.stream.fileno())
                    os.close(nowhere)


def stderr() -> Stream:
    """The standard error of this moment, which a progress bar may have replaced for a while."""
    return Stream(getattr(sys.stderr, "rich_proxied_file", sys.stderr))


def console() -> Console:
    """A console on stderr."""
    from rich.console import Console

    return Console(file=cast("IO[str]", stderr()))  # which passes on what it does not have itself


@contextmanager
def only_shown(what: str) -> Iterator[None]:
    """Turn an error in drawing or logging ``what`` into a warning of one line."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"{what}: left out, {one_line(error)}", stacklevel=3)


def occupy() -> None:
    """Open whichever of stdin, stdout and stderr is closed, so that no other file gets its number and its text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
