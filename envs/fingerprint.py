"""A few numbers of a family's motion, by which changed physics is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from hyperrl.envs.audit.playing import actions_of, begin, play
from hyperrl.envs.family import Family

STEPS = 16
SEED = 0
RELATIVE, ABSOLUTE = 1e-2, 1e-4
"""Tolerances: machines round differently, and contacts enlarge the difference."""


def fingerprint(family: Family, variants_TP: np.ndarray) -> list[float]:
    """First observations, rewards and last observations of variants (T, P) under fixed actions.

    They change with the physics. If an environment draws random numbers that its seed does not determine, every call
    returns other numbers.
    """
    still = replace(family, drift={}) if family.drift else family
    env = still.in_process().vector(variants_TP, 1, dtype=torch.float64)
    first = begin(env, SEED)
    steps = list(play(env, actions_of(still, STEPS, 1, SEED)))
    env.close()
    rewards = np.stack([step.reward_TE for step in steps])
    return np.concatenate([first.ravel(), rewards.ravel(), steps[-1].obs_TEO.ravel()]).tolist()


def same_physics(then: Sequence[float], now: Sequence[float]) -> bool:
    """Whether two fingerprints are of the same physics."""
    return len(then) == len(now) and np.allclose(then, now, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
