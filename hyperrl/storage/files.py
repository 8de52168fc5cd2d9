"""Files written whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hyperrl.envs import InputError


def require_writable(folder: Path) -> None:
    """Make the folder, and check that files can be written there.

    Raises:
        InputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose a folder that can") from None


def temporary(name: str) -> str:
    """A name beside ``name`` that cannot be guessed."""
    return f".{name}.{secrets.token_hex(4)}.tmp"


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a new file beside ``path``, then move it there in one step.

    The new file's name cannot be guessed, and no link is followed, neither there nor at ``path``. A file that was there
    hands down its permissions.

    Raises:
        InputError: the path is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    beside = path.with_name(temporary(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replaces = path.is_file() and not path.is_symlink()
        # O_EXCL follows no link either; where there was a file, the new one is private until it has the old permissions
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if replaces else 0o666))
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        if replaces:
            shutil.copymode(path, beside)
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder that can") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Write the folder's entries to disk, where the system can, so that a move survives a power cut."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


_TEMPORARY = re.compile(r"\.(config\.json|(checkpoint|encoder)[\w-]*\.pt)\.[0-9a-f]{8}\.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed writers left in a run's folder; call it while holding the run's lock."""
    for file in folder.iterdir():
        if _TEMPORARY.fullmatch(file.name):
            with suppress(OSError):
                file.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically. A number that is not finite becomes null, since JSON has none such."""
    text = json.dumps(_with_nulls(content), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def _with_nulls(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _with_nulls(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_nulls(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a folder that hyperrl train wrote") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: damaged; restore it, or train again into another folder") from None


_NAME_BYTES = 240
"""Of a file's name at the most: file systems take 255, and the temporary name beside it is a little longer."""
_RUN = ("config.json", "checkpoint.pt", "checkpoint-previous.pt")
"""One of which the folder of a run holds."""
_OWN = re.compile(r"config\.json|lock|(checkpoint|encoder)\b.*|events\.out\.tfevents\..*", re.IGNORECASE)


def require_output(path: Path, suffixes: Sequence[str], force: bool = False) -> None:
    """Check that a file named by a user can be written, before anything is loaded, played or trained for it.

    Args:
        path: the file.
        suffixes: what its name may end in, ``(".json",)``; what is written has one format, and the name says it.
        force: overwrite a file that is there.

    Raises:
        InputError: the suffix is another; the path is a folder, a link or a device, a file that is there without
            ``force``, or a run's own file, which is never overwritten; or its folder cannot be written to.
    """
    require_printable(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        if _OWN.fullmatch(path.name) and any((path.parent / name).exists() for name in _RUN):
            raise InputError(f"{path}: is a file of the run in {path.parent}, which is never overwritten; name another")
        if path.suffix.lower() not in suffixes:
            raise InputError(f"{path}: must end in {' or '.join(suffixes)}, which is what is written; name it so")
        if path.is_symlink():
            raise InputError(f"{path}: is a link; name the file itself, or another")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file; name one")
        if path.exists() and not force:
            raise InputError(f"{path}: is there already; overwrite it with --force, or choose another name")
        if len(os.fsencode(path.name)) > _NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder that can") from None


def require_printable(path: Path) -> None:
    """Refuse what a terminal would not show as it is: control characters, line ends, bytes that are no text.

    Raises:
        InputError: the path has such a character.
    """
    if not str(path).isprintable():
        raise InputError(f"{str(path)!r}: has characters that cannot be printed; choose another name")
