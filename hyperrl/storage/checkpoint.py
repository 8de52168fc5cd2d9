"""Checkpoints: written whole or not at all, read without executing anything, and only as they were written."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from hyperrl.envs import InputError
from hyperrl.storage.files import temporary, write_atomically

FILE, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
"""Names in a run's folder: the last checkpoint, and the one before it."""
FORMAT = 8
"""Raised whenever an older checkpoint can no longer be read."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values into a run's folder.

    Raises:
        InputError: a tensor of it holds NaN or an infinity, the environment's own state aside; or the file cannot be
            written. What was there before stays.
    """
    for name in _not_finite(state):
        raise InputError(
            f"{path}: not written, because {name} is not finite: the training has diverged; choose a lower "
            "learning_rate, or mend the family's physics and rewards"
        )
    content = {"format": FORMAT, **state}
    content["digest"] = digest(content)
    write_atomically(path, lambda file: _write(file, content))


def _write(file: Path, content: dict[str, Any]) -> None:
    with file.open("wb") as opened:  # given a path, torch.save writes its name into the archive
        try:
            torch.save(content, opened)
        except RuntimeError:  # its answer to a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


def save_run(path: Path, state: Mapping[str, Any]) -> None:
    """As ``save``, and keep what was at ``path`` beside it: whenever this is killed, one of the two files is whole."""
    with suppress(InputError):  # a damaged or foreign one must not take the place of the whole one before
        _of_run(path, state["run"])
        _keep(path, path.with_name(PREVIOUS))
    save(path, state)


def _keep(path: Path, beside: Path) -> None:
    """The same file by another name, or a copy of it where the file system has no links."""
    new = beside.with_name(temporary(beside.name))
    try:
        try:
            os.link(path, new)
        except OSError:
            shutil.copy(path, new)
        new.replace(beside)
    except OSError as error:
        raise InputError(f"{beside}: cannot be written ({error.strerror}); choose a folder that can") from None
    finally:
        new.unlink(missing_ok=True)


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the tensors that are not finite."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and not value.isfinite().all():
            yield name
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            if key != "env":
                yield from _not_finite(entry, f"{name}.{key}" if name else str(key))


def digest(content: Any) -> str:
    """SHA-256 of tensors and plain values, in dictionaries and lists: of types, shapes and bytes."""
    found = hashlib.sha256()
    for part in _parts(content):
        found.update(part)
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {tuple(value.shape)}\n".encode()
        yield value.detach().cpu().numpy().tobytes()
    elif isinstance(value, Mapping):
        yield f"{len(value)} entries\n".encode()
        for key, entry in value.items():
            yield from _parts(key)
            yield from _parts(entry)
    elif isinstance(value, list | tuple):
        yield f"{len(value)} in turn\n".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield f"{type(value).__name__} {value!r}\n".encode()


def load(path: Path, remedy: str = "restore it, or train again into another folder") -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``, if it holds what was written.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: the file is missing, cannot be read, is damaged or edited, or of another format.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint there; {remedy}")
    damaged = InputError(f"{path}: damaged or not a checkpoint of hyperrl's; {remedy}")
    try:
        content = io.BytesIO(path.read_bytes())
        state = torch.load(content, map_location="cpu", weights_only=True) if _whole(content) else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); see that it can") from None
    except MemoryError:
        raise
    except Exception:
        # a damaged file is answered with whatever its parts raise; none of them names the file
        raise damaged from None
    if not isinstance(state, dict) or "format" not in state:
        raise damaged
    if state["format"] != FORMAT:
        raise InputError(f"{path}: format {state['format']}, this version reads {FORMAT}; {remedy}")
    if state.pop("digest", None) != digest(state):
        raise damaged
    return state


def _whole(content: io.BytesIO) -> bool:
    """Whether every part of an archive has the checksum that it was written with, which torch.load does not check."""
    with zipfile.ZipFile(content) as archive:
        stored = all(part.compress_type == zipfile.ZIP_STORED for part in archive.infolist())
        found = stored and archive.testzip() is None
    content.seek(0)
    return found


def has_run(folder: Path) -> bool:
    """Whether a run's folder holds a checkpoint."""
    return any((folder / name).exists() for name in (FILE, PREVIOUS))


def load_run(folder: Path, run: str) -> dict[str, Any]:
    """Read a run's last checkpoint, or with a warning the one before, where the last cannot be read.

    Args:
        folder: of the run.
        run: its identity, which its checkpoints carry.

    Raises:
        InputError: as ``load``, for the last one; or it is of another run.
    """
    try:
        return _of_run(folder / FILE, run)
    except InputError as error:
        with suppress(InputError):
            state = _of_run(folder / PREVIOUS, run)
            warnings.warn(f"{str(error).partition(';')[0]}; {PREVIOUS}, the one before, is used", stacklevel=2)
            return state
        raise


def _of_run(path: Path, run: str) -> dict[str, Any]:
    state = load(path)
    if state.get("run") != run:
        raise InputError(f"{path}: belongs to another run than config.json, or one of them was edited; restore it")
    return state
