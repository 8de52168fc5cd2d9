"""One writer of a run's folder at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperrl.envs import InputError
from hyperrl.storage.files import remove_leftovers, require_writable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = "lock"
"""Its name in a run's folder. It is empty and stays there: what counts is who holds it."""


@contextmanager
def writing(folder: Path, remedy: str = "wait until it has ended") -> Iterator[None]:
    """Hold a run's folder for writing. A process that dies, however it does, lets go of it.

    Where the file system has no locks, a warning says so, and the folder is not held.

    Raises:
        InputError: another writer holds it, or it cannot be written to.
    """
    require_writable(folder)
    path = folder / FILE
    try:
        opened = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder that can") from None
    _held.add(opened)
    try:
        if _lock(opened, folder, remedy):
            remove_leftovers(folder)
        yield
    finally:
        if opened in _held:
            _held.remove(opened)
            os.close(opened)


def _lock(opened: int, folder: Path, remedy: str) -> bool:
    """Whether the open file is held from now on."""
    try:
        if fcntl is None:
            raise OSError(0, "not on this system")
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{folder}: another process or thread is writing this run; {remedy}") from None
    except OSError as error:
        warnings.warn(
            f"{folder}: cannot be locked ({error.strerror}); see to it that only one process writes into it",
            stacklevel=4,
        )
        return False
    return True


_held: set[int] = set()
"""Open lock files of this process."""


def _let_go() -> None:
    """In a forked child, which shares its parent's lock and may outlive it."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
