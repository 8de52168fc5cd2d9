"""Playing: agents meet environments here, in training and in judgement."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from hyperrl.agents import Agent
from hyperrl.agents.actor_critic import sample
from hyperrl.envs import Family, VariantVectorEnv

ToEnv = Callable[[Tensor], Tensor]


class Rollout(NamedTuple):
    """What S steps on T variants x E copies gave."""

    obs_STEO: Tensor
    action_STE: Tensor
    """(S, T, E), or (S, T, E, A), as the policy drew them."""
    log_prob_STE: Tensor
    value_STE: Tensor
    reward_STE: Tensor
    terminated_STE: Tensor
    done_STE: Tensor
    """Terminated or truncated."""
    next_obs_STEO: Tensor
    """What each action led to, before any reset."""
    context_RTC: Tensor
    """The contexts played under: R = S where parameters drift, else 1."""

    @property
    def context_TC(self) -> Tensor:
        """One row for each context: what drifts is another variant at every step."""
        return self.context_RTC.flatten(0, 1)


def to_env_units(space: gymnasium.Space, device: torch.device) -> ToEnv:
    """From a policy's actions to an environment's.

    Discrete actions stay. Where a Box is bounded, +-1 becomes its ends; the result is clipped to the Box.
    """
    if not isinstance(space, gymnasium.spaces.Box):
        return lambda action: action
    low, high = (torch.as_tensor(end, dtype=torch.float32, device=device) for end in (space.low, space.high))
    centre, half = (end.to(device) for end in half_ranges(space))
    return lambda action: torch.clamp(centre + half * action, low, high)


def half_ranges(space: gymnasium.spaces.Box) -> tuple[Tensor, Tensor]:
    """Where an action 0 lies in a Box, and how far 1 is from there, each (A,); 0 and 1 where the Box is unbounded."""
    low, high = (torch.as_tensor(end, dtype=torch.float32) for end in (space.low, space.high))
    bounded = torch.isfinite(low) & torch.isfinite(high)
    centre = torch.where(bounded, (low + high) / 2, torch.zeros_like(low))
    return centre, torch.where(bounded, (high - low) / 2, torch.ones_like(low))


@torch.no_grad()
def collect(
    agent: Agent,
    env: VariantVectorEnv,
    obs: Tensor,
    steps: int,
    to_env: ToEnv,
    generator: torch.Generator,
    greedy: bool = False,
) -> tuple[Rollout, Tensor]:
    """Play ``steps`` steps with sampled actions; weights are generated once, and again where the context changed.

    Args:
        agent: the arm.
        env: T variants x E copies.
        obs: its observations (T * E, O).
        steps: S.
        to_env: from actions as drawn to the environment's.
        generator: of the actions.
        greedy: take the most probable actions instead.

    Returns:
        The rollout, and the observations (T * E, O) after it.
    """
    shape = (env.num_variants, env.copies)
    rows, contexts = [], []
    for step in range(steps):
        if step == 0 or env.family.drift:
            contexts.append(env.family.encode(env.variants_TP.float()))
            weights_TD = agent.generate(contexts[-1])
        obs_TEO = obs.view(*shape, -1)
        distribution, value_TE = agent(weights_TD, obs_TEO)
        action_TE = distribution.mode if greedy else sample(distribution, generator)
        obs, reward, terminated, truncated, info = env.step(to_env(action_TE).flatten(0, 1))
        outcome = (reward, terminated, terminated | truncated)
        rows.append(
            (
                obs_TEO,
                action_TE,
                distribution.log_prob(action_TE),
                value_TE,
                *(x.view(shape) for x in outcome),
                info["final_obs"].view(*shape, -1),
            )
        )
    columns = [torch.stack(list(column)) for column in [*zip(*rows, strict=True), contexts]]
    return Rollout(*columns), obs


class Greedy:
    """The most probable actions of the policies generated for variants.

    A call takes observations (T * E, O), copies of a variant side by side, and answers environment actions (T * E,)
    or (T * E, A).
    """

    def __init__(self, agent: Agent, family: Family, variants_TP: np.ndarray, device: torch.device) -> None:
        self._agent, self._family = agent, family
        self._to_env = to_env_units(family.action_space, device)
        self.generate(torch.as_tensor(variants_TP, device=device))

    @torch.no_grad()
    def generate(self, variants_TP: Tensor) -> None:
        """Write the weights, again where the parameters (T, P) have changed."""
        self._weights_TD = self._agent.generate(self._family.encode(variants_TP.float()))
        self._variants = len(variants_TP)

    @torch.no_grad()
    def __call__(self, obs: Tensor) -> Tensor:
        """Actions for observations (T * E, O)."""
        return self._to_env(self._forward(obs)[0].mode).flatten(0, 1)

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """What the value networks predict for observations (T * E, O): (T, E), in units of return."""
        return self._forward(obs)[1]

    def _forward(self, obs: Tensor) -> tuple[Distribution, Tensor]:
        return self._agent(self._weights_TD, obs.view(self._variants, -1, obs.shape[-1]))
