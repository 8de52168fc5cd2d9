"""The one loop in which anything plays, and what training keeps of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import gymnasium
import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.envs import VariantVectorEnv
from hyperrl.play.actors import Actor, Decision, Transition


def play_steps(env: VariantVectorEnv, obs_NO: Tensor, actor: Actor, steps: int) -> Iterator[Transition]:
    """Play so many steps from observations (N, O); the actor has begun, and sees each transition first."""
    for _ in range(steps):
        action_N = actor.act(obs_NO)
        after_NO, reward_N, terminated_N, truncated_N, info = env.step(action_N)
        transition = Transition(obs_NO, action_N, reward_N, terminated_N, truncated_N, info["final_obs"], after_NO)
        actor.see(transition)
        yield transition
        obs_NO = after_NO


class Rollout(NamedTuple):
    """What S steps on T variants x E copies gave, in buffers that every rollout fills anew."""

    obs_STEO: Tensor
    state_STEH: Tensor
    """State of the arm in which each observation was read."""
    action_STE: Tensor
    """(S, T, E), or (S, T, E, A), as the policy drew them."""
    log_prob_STE: Tensor
    reward_STE: Tensor
    terminated_STE: Tensor
    done_STE: Tensor
    """Terminated or truncated."""
    next_obs_STEO: Tensor
    """What each action led to, before any reset."""
    next_state_STEH: Tensor
    """State of the arm in which that is to be read."""
    context_RTC: Tensor
    """The contexts played under: R = S where parameters drift, else 1."""

    @classmethod
    def empty(cls, agent: Agent, env: VariantVectorEnv, steps: int) -> Rollout:
        """Buffers for ``steps`` steps of an agent in an environment, on the environment's device."""
        shape, family, device = (steps, env.num_variants, env.copies), env.family, env.device
        discrete = isinstance(env.single_action_space, gymnasium.spaces.Discrete)
        contexts = steps if family.drift else 1

        def numbers(*sizes: int) -> Tensor:
            return torch.empty((*shape, *sizes), device=device)

        def flags() -> Tensor:
            return torch.empty(shape, dtype=torch.bool, device=device)

        observation = agent.spec.observation
        action = torch.empty(shape, dtype=torch.int64, device=device) if discrete else numbers(agent.spec.action)
        return cls(
            obs_STEO=numbers(observation),
            state_STEH=numbers(agent.state_size),
            action_STE=action,
            log_prob_STE=numbers(),
            reward_STE=numbers(),
            terminated_STE=flags(),
            done_STE=flags(),
            next_obs_STEO=numbers(observation),
            next_state_STEH=numbers(agent.state_size),
            context_RTC=torch.empty((contexts, env.num_variants, agent.spec.context), device=device),
        )

    def write(self, step: int, decision: Decision, transition: Transition) -> None:
        """Fill in one step."""
        shape = self.reward_STE.shape[1:]
        self.obs_STEO[step] = transition.obs_NO.view(*shape, -1)
        self.state_STEH[step] = decision.state_TEH
        self.action_STE[step] = decision.action_TE
        self.log_prob_STE[step] = decision.distribution.log_prob(decision.action_TE)
        self.reward_STE[step] = transition.reward_N.view(shape)
        self.terminated_STE[step] = transition.terminated_N.view(shape)
        self.done_STE[step] = transition.done_N.view(shape)
        self.next_obs_STEO[step] = transition.next_obs_NO.view(*shape, -1)
        self.next_state_STEH[step] = decision.next_state_TEH

    def regrouped(self, variants: int, copies: int) -> Rollout:
        """The same copies in the same order, grouped as so many variants x copies; the contexts stay as they are."""

        def grouped(x_STE: Tensor) -> Tensor:
            return x_STE.flatten(1, 2).unflatten(1, (variants, copies))

        return Rollout(
            obs_STEO=grouped(self.obs_STEO),
            state_STEH=grouped(self.state_STEH),
            action_STE=grouped(self.action_STE),
            log_prob_STE=grouped(self.log_prob_STE),
            reward_STE=grouped(self.reward_STE),
            terminated_STE=grouped(self.terminated_STE),
            done_STE=grouped(self.done_STE),
            next_obs_STEO=grouped(self.next_obs_STEO),
            next_state_STEH=grouped(self.next_state_STEH),
            context_RTC=self.context_RTC,
        )

    @property
    def context_TC(self) -> Tensor:
        """One row for each context: what drifts is another variant at every step."""
        return self.context_RTC.flatten(0, 1)

    def by_context(self, x_STE: Tensor) -> Tensor:
        """(S, T, E, ...) -> (R * T, S / R * E, ...): one row for each context, as ``context_TC``."""
        return x_STE.unflatten(0, (len(self.context_RTC), -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def by_step(self, x_TN: Tensor) -> Tensor:
        """(R * T, S / R * E) -> (S, T, E): the inverse of ``by_context``."""
        variants, copies = self.reward_STE.shape[1:]
        return x_TN.view(len(self.context_RTC), variants, -1, copies).transpose(1, 2).flatten(0, 1)

    def values(self, agent: Agent, weights_TD: Tensor, obs_STEO: Tensor, state_STEH: Tensor) -> Tensor:
        """Values (S, T, E) of observations that were made under the rollout's contexts, in one call."""
        return self.by_step(agent.values(weights_TD, self.by_context(obs_STEO), self.by_context(state_STEH)))
