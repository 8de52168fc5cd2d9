"""Whole episodes on given variants: what every judgement of a policy rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyperrl.envs import Family

START_SEED = 20_000
"""Seed of the starts of judged episodes: the same for every variant, arm, expert and random policy."""
RANDOM_SEED = 30_000
"""Seed of the actions of the random policy."""


@torch.no_grad()
def episode_returns(
    family: Family,
    variants_TP: np.ndarray,
    act: Callable[[Tensor], Tensor],
    episodes: int,
    seed: int = START_SEED,
    device: str | torch.device = "cpu",
    told: Callable[[Tensor], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Play ``episodes`` episodes on each variant, all at once and in this process.

    Args:
        family: the task.
        variants_TP: variants (T, P) in SI units.
        act: observations (T * episodes, O) -> actions (T * episodes,) or (T * episodes, A) in the units of the
            family's action space.
        episodes: episodes a variant.
        seed: of the starts; the same seed gives every policy the same starts.
        device: where to play.
        told: called with the parameters (T, P) after each step where the family's drift.

    Returns:
        Undiscounted returns and lengths, each (T, episodes).
    """
    played = play(family, variants_TP, act, episodes, seed, device, told)
    return played.returns_TE, played.lengths_TE


class Episodes(NamedTuple):
    """What whole episodes gave, E of each variant."""

    returns_TE: np.ndarray
    lengths_TE: np.ndarray
    discounted_TE: np.ndarray
    """Discounted returns. Where the time limit cut an episode, the mean reward of its last tenth is taken to go on
    for ever: a value network learns to look beyond the limit."""
    start_NO: Tensor
    """What the first actions saw (T * E, O)."""


@torch.no_grad()
def play(
    family: Family,
    variants_TP: np.ndarray,
    act: Callable[[Tensor], Tensor],
    episodes: int,
    seed: int = START_SEED,
    device: str | torch.device = "cpu",
    told: Callable[[Tensor], None] | None = None,
    gamma: float = 1.0,
) -> Episodes:
    """As ``episode_returns``, and what is needed beside it to judge a value network whose discount is ``gamma``."""
    env = family.in_process().vector(variants_TP, episodes, device, seed=seed)
    obs, _ = env.reset(seed=seed, options={"paired": True, "once": True})
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    discounted, late = torch.zeros_like(returns), torch.zeros_like(returns)
    start, limit = obs.clone(), family.max_episode_steps
    tenth = math.ceil(limit / 10)
    for step in range(limit):
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        if told and family.drift:
            told(env.variants_TP)
        returns += reward * alive
        lengths += alive
        discounted += gamma**step * reward * alive
        if step >= limit - tenth:
            late += reward * alive
        cut = alive & ~terminated
        alive &= ~(terminated | truncated)
        if step % 32 == 31 and not alive.any():
            break
    env.close()
    if gamma < 1:
        discounted += gamma**limit / (1 - gamma) * late / tenth * (cut & (lengths == limit))
    shape = (env.num_variants, episodes)
    returns_TE, lengths_TE, discounted_TE = (x.view(shape).cpu().numpy() for x in (returns, lengths, discounted))
    return Episodes(returns_TE, lengths_TE, discounted_TE, start)


def random_actions(
    family: Family, seed: int = RANDOM_SEED, variant: Mapping[str, float] | None = None
) -> Callable[[Tensor], Tensor]:
    """A policy that draws uniformly from an action space: the zero of normalised returns.

    The space is the variant's own where one is given, else the family's. Where a Box has no end on a side, it draws
    from a normal distribution, clipped to the Box.
    """
    space = family.action_space if variant is None else family.variant_action_space(variant)
    generator = torch.Generator().manual_seed(seed)

    def act(obs: Tensor) -> Tensor:
        shape = (len(obs), *(space.shape or ()))
        if hasattr(space, "n"):
            return torch.randint(int(space.n), shape, generator=generator).to(obs.device)
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        uniform = low + (high - low) * torch.rand(shape, generator=generator)
        if uniform.isfinite().all():
            return uniform.to(obs.device)
        normal = torch.randn(shape, generator=generator).clamp(low, high)
        return torch.where(uniform.isfinite(), uniform, normal).to(obs.device)

    return act
