"""Action spaces: which ends count, and how numbers become actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

OPEN = 1e15
"""An end of a Box that is as far from 0, or farther, counts as none: so people write that there is no end."""
_EXACT = 2**53  # whole numbers up to here are exact in float64


def bounded(space: gymnasium.spaces.Box) -> np.ndarray:
    """Which entries of a Box have an end on both sides: boolean, of the Box's shape."""
    return (np.abs(space.low.astype(np.float64)) < OPEN) & (np.abs(space.high.astype(np.float64)) < OPEN)


def whole(space: gymnasium.Space[Any]) -> bool:
    """Whether a Box is of whole numbers."""
    return isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.integer)


def first(space: gymnasium.Space[Any]) -> int:
    """The number of a Discrete space's first action; 0 for a Box."""
    return int(space.start) if isinstance(space, gymnasium.spaces.Discrete) else 0


def ends(space: gymnasium.spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends of a Box in float64, or in float32 where the Box is; each exact in the Box's dtype."""
    if space.dtype == np.float32:
        return space.low, space.high
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return (low.clip(-_EXACT, _EXACT), high.clip(-_EXACT, _EXACT)) if whole(space) else (low, high)


def fitting(space: gymnasium.Space[Any], actions: np.ndarray) -> np.ndarray:
    """A copy of actions (...) or (..., A) in the dtype of their space, and within a Box; whole numbers are rounded."""
    if not isinstance(space, gymnasium.spaces.Box):
        return np.array(actions, dtype=space.dtype)
    clipped = np.clip(actions, *ends(space))
    return (np.rint(clipped) if whole(space) else clipped).astype(space.dtype)
