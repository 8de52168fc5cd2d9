"""Derivatives of observations and rewards by each parameter, as central differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hyperrl.envs.audit.playing import Budget, actions_of, begin, play, put
from hyperrl.envs.family import Family
from hyperrl.envs.parameter import Parameter
from hyperrl.envs.vector import VariantVectorEnv


def sensitivities(
    family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], budget: Budget, single: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of observations and rewards after a reset and after prefixes: (B, P, M), and their noise.

    If the environment returns float32, parameters are changed by more and more steps are played, because rounding
    errors are then large beside a small change.

    Returns:
        Slopes (B, P, M) per unit of the parameter, and the norm (B, P) that rounding errors alone may have.
    """
    share, steps, ulp = (1e-2, 8, 2.0**-24) if single else (1e-4, 3, 2.0**-52)
    count = len(parameters)
    columns = [family.names.index(p.name) for p in parameters]
    ends_BP2R = np.repeat(bases_BP[:, None], 2 * count, axis=1)
    span_BP = np.empty((len(bases_BP), count))
    for i, (p, column) in enumerate(zip(parameters, columns, strict=True)):
        at_B, half = bases_BP[:, column], (p.wide[1] - p.wide[0]) / 2 * share
        low_B = np.maximum(at_B - half, np.minimum(p.wide[0], at_B))
        high_B = np.minimum(at_B + half, np.maximum(p.wide[1], at_B))
        ends_BP2R[:, 2 * i, column], ends_BP2R[:, 2 * i + 1, column] = low_B, high_B
        span_BP[:, i] = high_B - low_B
    ends_TP = ends_BP2R.reshape(-1, bases_BP.shape[1])
    base_TP = np.repeat(bases_BP, 2 * count, axis=0)
    shape = (len(bases_BP), count, 2, budget.copies)
    answers: list[np.ndarray] = []

    def keep(answer_TEM: np.ndarray, alive_BE: np.ndarray) -> None:
        answers.append(np.where(alive_BE[:, None, None, :, None], answer_TEM.reshape(*shape, -1), 0.0))

    def follow(env: VariantVectorEnv[Any], actions: np.ndarray, alive_BE: np.ndarray) -> None:
        for step in play(env, actions):
            keep(np.concatenate([step.obs_TEO, step.reward_TE[..., None]], axis=-1), alive_BE)
            alive_BE = alive_BE & ~step.ended_TE.reshape(len(bases_BP), -1, budget.copies).any(1)

    everyone = np.ones((len(bases_BP), budget.copies), dtype=bool)
    env = family.vector(ends_TP, budget.copies, dtype=torch.float64)
    start_TEO = begin(env, 200)
    keep(np.concatenate([start_TEO, np.zeros((*start_TEO.shape[:2], 1))], axis=-1), everyone)
    follow(env, actions_of(family, steps, budget.copies, 200), everyone)
    env.close()
    within = family.vector(base_TP, budget.copies, dtype=torch.float64)
    for seed, prefix in enumerate(budget.prefixes[1:], 201):
        put(within, base_TP)
        begin(within, seed)
        actions = actions_of(family, prefix + steps, budget.copies, seed)
        alive_BE = everyone
        for step in play(within, actions[:prefix]):
            alive_BE = alive_BE & ~step.ended_TE.reshape(len(bases_BP), -1, budget.copies).any(1)
        if not alive_BE.any():
            continue
        put(within, ends_TP)
        follow(within, actions[prefix:], alive_BE)
    within.close()
    answers_BP2EM = np.nan_to_num(np.concatenate(answers, axis=3), posinf=0, neginf=0)
    scale_M = answers_BP2EM.std(axis=(0, 1, 2, 3))
    answers_BP2EM = answers_BP2EM / np.where(scale_M > 0, scale_M, 1)
    flat_BP2M = answers_BP2EM.reshape(*shape[:3], -1)
    slopes_BPM = (flat_BP2M[:, :, 1] - flat_BP2M[:, :, 0]) / span_BP[..., None]
    noise_BP = ulp * np.linalg.norm(flat_BP2M[:, :, 0], axis=-1) / span_BP
    return slopes_BPM, noise_BP
