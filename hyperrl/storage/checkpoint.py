"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hyperrl.envs import InputError
from hyperrl.storage.files import write_atomically

FILE = "checkpoint.pt"
"""Its name in a run's folder."""
FORMAT = 5
"""Raised whenever an older checkpoint can no longer be read."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values into a run's folder.

    Raises:
        InputError: the folder is there no longer, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: the run's folder is there no longer; train again, and leave it in its place")
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load(path: Path, remedy: str = "restore it, or train again into another folder") -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: the file is missing, truncated, not a checkpoint of hyperrl's, or of another format.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint there; {remedy}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # torch.load answers a damaged file with whatever its parts raise; none of them names the file
        raise InputError(f"{path}: truncated or not a checkpoint of hyperrl's; {remedy}") from None
    if not isinstance(state, dict) or "format" not in state:
        raise InputError(f"{path}: not a checkpoint of hyperrl's; {remedy}")
    if state["format"] != FORMAT:
        raise InputError(f"{path}: format {state['format']}, this version reads {FORMAT}; {remedy}")
    return state


def load_run(path: Path) -> dict[str, Any]:
    """Read a run's checkpoint: ``steps``, ``trainer``, ``best`` and ``curves``.

    Raises:
        InputError: as ``load``, or one of these is not there.
    """
    state = load(path)
    if not {"steps", "trainer", "best", "curves"} <= state.keys():
        raise InputError(f"{path}: not a checkpoint of hyperrl's; restore it, or train again into another folder")
    return state
