"""Whole episodes on given variants, for every measurement of a policy."""

from __future__ import annotations

import math
import warnings
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.envs import Family, InputError, VariantVectorEnv
from hyperrl.play.actors import Actor
from hyperrl.play.rollout import play_steps
from hyperrl.seeds import seed_of

START_SEED = seed_of("judged starts")
"""Seed of the starts of judged episodes: the same for every variant, arm, expert and random policy."""
CHECK_EVERY = 32
"""Steps after which it is asked whether any episode goes on: asking waits for the device."""
LAST_SHARE = 1 / 10
"""Share of an episode whose mean reward is taken to go on where the time limit cut it."""


LONGEST = 10_000
"""Steps of an episode that is played to judge, at the most; a longer one is cut there, as by its time limit."""
MOST_COPIES, MOST_WEIGHTS = 2**22, 2**28
"""Held in memory at once at the most: some 1 GiB each."""


@torch.no_grad()
def require_room(agent: Agent, family: Family, variants: int, episodes: int = 1) -> None:
    """See that so many episodes of so many variants can be played at once, before the variants are drawn.

    Raises:
        InputError: there is no memory for them.
    """
    if variants * episodes > MOST_COPIES:
        raise InputError(
            f"variants={variants} x episodes={episodes}: all are played at once, at most {MOST_COPIES:,}; ask for fewer"
        )
    device = next(agent.buffers()).device
    weights = agent.generate(
        family.encode(torch.as_tensor(family.table([{}]), dtype=torch.float32, device=device))
    ).shape[1]
    if variants * weights > MOST_WEIGHTS:
        most = MOST_WEIGHTS // weights
        raise InputError(f"variants={variants}: at {weights:,} weights each, at most {most:,} at once; ask for fewer")


class Episodes(NamedTuple):
    """Returns and lengths of whole episodes, E of each variant."""

    returns_TE: np.ndarray
    """Undiscounted."""
    lengths_TE: np.ndarray
    discounted_TE: np.ndarray
    """Discounted returns. Where the time limit cut an episode, the mean reward of its last tenth is taken to go on
    for ever: a value network learns to look beyond the limit."""
    start_NO: Tensor
    """What the first actions saw (T * E, O)."""

    def first(self, variants: int) -> Episodes:
        """The episodes of the first variants."""
        rows = slice(variants * self.returns_TE.shape[1])
        some = slice(variants)
        return Episodes(self.returns_TE[some], self.lengths_TE[some], self.discounted_TE[some], self.start_NO[rows])


def warn_of_not_finite(family: Family, variants_TP: np.ndarray, returns_TE: np.ndarray) -> None:
    """Say in one line how many returns (T, E) are not finite, and of which variant (T, P) the first is.

    They are results: nothing leaves them out, so that a mean over them is not finite either.
    """
    wrong_TE = ~np.isfinite(returns_TE)
    if wrong_TE.any():
        first = wrong_TE.any(1).argmax()
        warnings.warn(
            f"{wrong_TE.sum()} of {wrong_TE.size} returns are not finite, of {wrong_TE.any(1).sum()} variants, the "
            f"first {family.spelled(variants_TP[first])}: means over them are neither, and null in JSON; mend family "
            f"{family.name!r} there",
            stacklevel=3,
        )


def play(
    family: Family,
    variants_TP: np.ndarray,
    actor: Actor,
    episodes: int,
    seed: int = START_SEED,
    device: str | torch.device = "cpu",
    gamma: float = 1.0,
    longest: int = LONGEST,
) -> Episodes:
    """Play ``episodes`` episodes on each variant in this process, as many at once as the family has ``simulators``.

    Args:
        family: the task.
        variants_TP: variants (T, P) in SI units.
        actor: what acts.
        episodes: episodes a variant.
        seed: of the starts; the same seed gives every policy the same starts.
        device: where to play.
        gamma: discount of ``discounted_TE``.
        longest: steps of an episode at the most, with a warning where that is below the family's time limit.
    """
    if family.max_episode_steps > longest:
        warnings.warn(
            f"family {family.name!r}: episodes that judge are cut after {longest:,} of {family.max_episode_steps:,} "
            "steps; give a shorter max_episode_steps to judge whole ones",
            stacklevel=2,
        )
    parts = -(-len(variants_TP) // family.at_once(episodes, len(variants_TP)))
    size = -(-len(variants_TP) // parts)  # of each, filled up with the last variant
    played = []
    with closing(family.in_process().vector(variants_TP[:size], episodes, device, seed=seed)) as env:
        for begin in range(0, len(variants_TP), size):
            rows = np.arange(begin, begin + size).clip(max=len(variants_TP) - 1)
            if begin:
                env.put(variants_TP[rows])
            mine = actor if parts == 1 else actor.part(torch.as_tensor(rows))
            played.append(play_once(env, mine, seed, gamma, longest).first(len(variants_TP) - begin))
    return Episodes(
        returns_TE=np.concatenate([part.returns_TE for part in played]),
        lengths_TE=np.concatenate([part.lengths_TE for part in played]),
        discounted_TE=np.concatenate([part.discounted_TE for part in played]),
        start_NO=torch.cat([part.start_NO for part in played]),
    )


@torch.no_grad()
def play_once(env: VariantVectorEnv, actor: Actor, seed: int, gamma: float = 1.0, longest: int = LONGEST) -> Episodes:
    """One episode of every copy of an environment, from the starts of ``seed``, of ``longest`` steps at the most."""
    obs, _ = env.reset(seed=seed, options={"paired": True, "once": True})
    actor.begin(env)
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    discounted, late, cut = torch.zeros_like(returns), torch.zeros_like(returns), alive
    start, limit = obs.clone(), min(env.family.max_episode_steps, longest)
    last = math.ceil(limit * LAST_SHARE)
    for step, transition in enumerate(play_steps(env, obs, actor, limit)):
        reward = transition.reward_N * alive
        returns += reward
        lengths += alive
        discounted += gamma**step * transition.reward_N * alive
        if step >= limit - last:
            late += reward
        cut = alive & ~transition.terminated_N
        alive = alive & ~transition.done_N
        if step % CHECK_EVERY == CHECK_EVERY - 1 and not alive.any():
            break
    if gamma < 1:
        discounted += gamma**limit / (1 - gamma) * late / last * (cut & (lengths == limit))
    shape = (env.num_variants, env.copies)
    returns_TE, lengths_TE, discounted_TE = (x.view(shape).cpu().numpy() for x in (returns, lengths, discounted))
    return Episodes(returns_TE, lengths_TE, discounted_TE, start)
