"""Whole episodes on given variants: what every judgement of a policy rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    """Play ``episodes`` episodes on each variant, all at once.

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
    env = family.vector(variants_TP, episodes, device, seed=seed)
    obs, _ = env.reset(seed=seed, options={"paired": True, "once": True})
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    for step in range(family.max_episode_steps):
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        if told and family.drift:
            told(env.variants_TP)
        returns += reward * alive
        lengths += alive
        alive &= ~(terminated | truncated)
        if step % 32 == 31 and not alive.any():
            break
    shape = (env.num_variants, episodes)
    return returns.view(shape).cpu().numpy(), lengths.view(shape).cpu().numpy()


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
