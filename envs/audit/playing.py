"""Playing the same motion under many variants, and comparing motions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from hyperrl.envs.actions import bounded, first, whole
from hyperrl.envs.family import Family
from hyperrl.envs.vector import VariantVectorEnv

TOLERANCE = 1e-12
"""Relative to the largest value: smaller changes count as none, being rounding errors of float64."""


class Budget(NamedTuple):
    """Sizes of the measurements."""

    copies: int
    variants: int
    values: int
    prefixes: tuple[int, ...]
    """Steps with equal parameters before these are changed, one round each."""
    follow: int
    """Steps after that."""
    stretch: int
    """Steps of the round that changes parameters at the start."""


def actions_of(family: Family, steps: int, copies: int, seed: int) -> np.ndarray:
    """Actions (S, E) or (S, E, A) over the whole space: some held for a while, every fourth at the ends."""
    rng, space = np.random.default_rng((1, seed)), family.action_space
    hold_E = np.array([1, 1, 4, 4, 16, 16, 64, 64])[np.arange(copies) % 8]
    drawn_SE = np.arange(steps)[:, None] // hold_E, np.arange(copies)
    if isinstance(space, gymnasium.spaces.Discrete):
        return (rng.integers(int(space.n), size=(steps, copies)) + first(space))[drawn_SE]
    shape = (steps, copies, *space.shape)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    open_ended = ~bounded(space)
    normal = rng.normal(size=shape).clip(low, high)
    low, high = np.where(open_ended, 0.0, low), np.where(open_ended, 0.0, high)
    unit = rng.random(shape)
    unit[:, 3::4] = unit[:, 3::4].round()
    actions = np.where(open_ended, normal, low + (high - low) * unit)
    return (np.rint(actions) if whole(space) else actions)[drawn_SE]


class Step(NamedTuple):
    """Results of one step of all rows."""

    obs_TEO: np.ndarray
    reward_TE: np.ndarray
    terminated_TE: np.ndarray
    ended_TE: np.ndarray


def play(env: VariantVectorEnv[Any], actions: np.ndarray) -> Iterator[Step]:
    """Give every variant the same actions (S, E) or (S, E, A)."""
    shape = (env.num_variants, env.copies)
    for action in actions:
        given = torch.as_tensor(np.broadcast_to(action, (env.num_variants, *action.shape)).copy()).flatten(0, 1)
        _, reward, terminated, truncated, info = env.step(given.to(env.device))
        final = info["final_obs"].cpu().double().numpy().reshape(*shape, -1)
        reward_TE, terminated_TE, ended_TE = (
            x.cpu().numpy().reshape(shape) for x in (reward.double(), terminated, terminated | truncated)
        )
        yield Step(final, reward_TE, terminated_TE, ended_TE)


def put(env: VariantVectorEnv[Any], table_TP: np.ndarray) -> None:
    """Change the parameters to (T, P); each copy continues from its state."""
    env.change(torch.as_tensor(table_TP, dtype=env.variants_TP.dtype, device=env.device))


def begin(env: VariantVectorEnv[Any], seed: int) -> np.ndarray:
    """Start every variant's copies from the same draws; return observations (T, E, O)."""
    obs, _ = env.reset(seed=seed, options={"paired": True})
    return obs.cpu().double().numpy().reshape(env.num_variants, env.copies, -1)


def apart(left: np.ndarray, right: np.ndarray, scale: Any) -> np.ndarray:
    """Where two arrays differ by more than rounding; two NaN count as equal."""
    with np.errstate(invalid="ignore"):
        same = (left == right) | (np.abs(left - right) <= TOLERANCE * scale) | (np.isnan(left) & np.isnan(right))
    return ~same


def largest_size(values: np.ndarray, axis: Any = None) -> np.ndarray:
    """The largest finite absolute value along an axis."""
    return np.abs(np.where(np.isfinite(values), values, 0)).max(axis=axis)
