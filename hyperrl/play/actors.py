"""Actors in a vector environment: an agent's policies, or any function of observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import gymnasium
import numpy as np
import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.agents.distributions import Distribution, noise
from hyperrl.envs import Family, VariantVectorEnv
from hyperrl.envs.actions import bounded, first, whole
from hyperrl.seeds import torch_generator


class Shift(NamedTuple):
    """From the index of a discrete action to the environment's number of it."""

    start: int

    def __call__(self, action: Tensor) -> Tensor:
        """Actions of any shape."""
        return action + self.start if self.start else action


class Scale(NamedTuple):
    """From half-ranges to the units of a Box, each (A,)."""

    centre: Tensor
    half: Tensor
    low: Tensor
    high: Tensor
    whole: bool
    """Whether the Box is of whole numbers."""

    def __call__(self, action: Tensor) -> Tensor:
        """Actions (..., A)."""
        scaled = torch.clamp(self.centre + self.half * action, self.low, self.high)
        return scaled.round() if self.whole else scaled


ToEnv = Shift | Scale
"""From a policy's actions to an environment's."""


def to_env_units(space: gymnasium.Space, device: torch.device) -> ToEnv:
    """From a policy's actions to an environment's.

    Discrete actions are counted from the space's first one. Where a Box is bounded, +-1 becomes its ends; the result is
    clipped to the Box, and rounded if the Box is of whole numbers.
    """
    if not isinstance(space, gymnasium.spaces.Box):
        return Shift(first(space))
    low, high = (end.to(device) for end in _ends(space))
    centre, half = (end.to(device) for end in half_ranges(space))
    return Scale(centre, half, low, high, whole(space))


def _ends(space: gymnasium.spaces.Box) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(space.low.astype(np.float32)), torch.as_tensor(space.high.astype(np.float32))


def half_ranges(space: gymnasium.spaces.Box) -> tuple[Tensor, Tensor]:
    """Where an action 0 lies in a Box, and how far 1 is from there, each (A,).

    They are 0 and 1 where the Box is unbounded, and the distance is 1 where both ends are equal.
    """
    (low, high), inside = _ends(space), torch.as_tensor(bounded(space))
    centre = torch.where(inside, (low + high) / 2, torch.zeros_like(low))
    return centre, torch.where(inside & (high > low), (high - low) / 2, torch.ones_like(low))


class Transition(NamedTuple):
    """One step of N = T * E copies."""

    obs_NO: Tensor
    action_N: Tensor
    """The environment's action (N,) or (N, A)."""
    reward_N: Tensor
    terminated_N: Tensor
    truncated_N: Tensor
    next_obs_NO: Tensor
    """What the action led to, before any reset."""
    after_NO: Tensor
    """What the next action sees: the same, or the start of a new episode."""

    @property
    def done_N(self) -> Tensor:
        """Terminated or truncated."""
        return self.terminated_N | self.truncated_N

    def take(self, rows_N: Tensor) -> Transition:
        """The given copies' step."""
        return Transition(
            obs_NO=self.obs_NO[rows_N],
            action_N=self.action_N[rows_N],
            reward_N=self.reward_N[rows_N],
            terminated_N=self.terminated_N[rows_N],
            truncated_N=self.truncated_N[rows_N],
            next_obs_NO=self.next_obs_NO[rows_N],
            after_NO=self.after_NO[rows_N],
        )


class Actor:
    """Acts in an environment. ``begin`` comes first, then ``act`` and ``see`` in turn."""

    def begin(self, env: VariantVectorEnv) -> None:
        """Prepare for the variants of an environment whose copies have just started."""

    def part(self, rows: Tensor) -> Actor:
        """What acts where only these variants (T,) of all that are played are in the environment."""
        return self

    def act(self, obs_NO: Tensor) -> Tensor:
        """The environment's actions (N,) or (N, A) for observations (N, O), copies of a variant side by side."""
        raise NotImplementedError

    def see(self, transition: Transition) -> None:
        """Receive the transition that the action led to."""


class Act(Actor):
    """A function of observations, such as an expert."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def act(self, obs_NO: Tensor) -> Tensor:
        """The function's actions."""
        return self._function(obs_NO)


class Decision(NamedTuple):
    """An agent's decision on observations, T variants x E copies."""

    distribution: Distribution
    action_TE: Tensor
    """(T, E) or (T, E, A), as the policy drew it."""
    state_TEH: Tensor
    """State of the arm in which it was made."""
    next_state_TEH: Tensor
    """State of the arm after it; once the transition is seen, with the action's reward."""


class AgentActor(Actor):
    """An agent's policies for the variants of an environment.

    Weights are generated when it begins, and before every action where parameters drift.
    """

    def __init__(
        self,
        agent: Agent,
        family: Family,
        generator: torch.Generator | None = None,
        weights_TD: Tensor | None = None,
    ) -> None:
        """Choose how to act.

        Args:
            agent: the arm.
            family: the agent's.
            generator: what actions are drawn with; the most probable ones where there is none.
            weights_TD: already generated, or adapted; then nothing is generated.
        """
        self.agent, self._family, self._generator = agent, family, generator
        self.to_env = to_env_units(family.action_space, agent.normaliser.mean.device)
        self._given = weights_TD is not None
        self.weights_TD = torch.empty(0) if weights_TD is None else weights_TD
        self.context_TC = torch.empty(0)
        self.state_TEH = torch.empty(0)
        self.decision: Decision | None = None

    def part(self, rows: Tensor) -> Self:
        """As ``Actor.part``: with the weights of these variants, where weights were given."""
        if not self._given:
            return self
        return type(self)(self.agent, self._family, self._generator, self.weights_TD[rows.to(self.weights_TD.device)])

    def begin(self, env: VariantVectorEnv) -> None:
        """Generate the weights for the environment's variants, and begin the arm's state."""
        self._env = env
        self.generate(env.variants_TP)
        self.state_TEH = self.agent.begin(env.num_variants, env.copies)

    @torch.no_grad()
    def generate(self, variants_TP: Tensor) -> None:
        """Encode parameters (T, P), and write the weights for them where none were given."""
        self.context_TC = self._family.encode(variants_TP.float())
        if not self._given:
            self.weights_TD = self.agent.generate(self.context_TC)

    def noise(self, steps: int) -> Tensor | None:
        """What so many steps' actions are drawn with (S, T, E, A), the same as ``act`` draws; nothing if greedily."""
        if self._generator is None:
            return None
        spec, shape = self.agent.spec, self.state_TEH.shape[:2]
        return noise(spec.discrete, (steps, *shape, spec.action), self._generator)

    @torch.no_grad()
    def act(self, obs_NO: Tensor) -> Tensor:
        """Decide, and answer with the environment's actions."""
        if self._env.family.drift:
            self.generate(self._env.variants_TP)
        obs_TEO = obs_NO.view(*self.state_TEH.shape[:2], -1)
        distribution, state_TEH = self.agent.decide(self.weights_TD, obs_TEO, self.state_TEH)
        action_TE = distribution.sample(self._generator) if self._generator else distribution.mode
        self.decision = Decision(distribution, action_TE, self.state_TEH, state_TEH)
        return self.to_env(action_TE).flatten(0, 1)

    @torch.no_grad()
    def see(self, transition: Transition) -> None:
        """Let the arm's state remember the action and its reward, and restart where an episode has ended."""
        assert self.decision is not None
        shape = self.state_TEH.shape[:2]
        reward_TE, done_TE = transition.reward_N.view(shape), transition.done_N.view(shape)
        next_state_TEH = self.agent.remember(self.decision.next_state_TEH, self.decision.action_TE, reward_TE)
        self.decision = self.decision._replace(next_state_TEH=next_state_TEH)
        self.state_TEH = self.agent.restart(next_state_TEH, done_TE)

    def restart(self, mask_TE: Tensor) -> None:
        """Begin the state of the copies in the mask (T, E) anew."""
        self.state_TEH = self.agent.restart(self.state_TEH, mask_TE)

    @torch.no_grad()
    def values(self, obs_NO: Tensor) -> Tensor:
        """What the value networks predict for first observations (N, O): (T, E), in units of return."""
        obs_TEO = obs_NO.view(len(self.weights_TD), -1, obs_NO.shape[-1])
        return self.agent.values(self.weights_TD, obs_TEO, self.agent.begin(*obs_TEO.shape[:2]))


def random_actions(family: Family, seed: int = 0, variant: Mapping[str, float] | None = None) -> Actor:
    """A policy that draws uniformly from an action space: the zero of normalised returns.

    The space is the variant's own where one is given, else the family's. Where a Box has no end on a side, it draws
    from a normal distribution, clipped to the Box.
    """
    space = family.action_space if variant is None else family.variant_action_space(variant)
    generator = torch_generator("random policy", seed)

    def act(obs_NO: Tensor) -> Tensor:
        shape = (len(obs_NO), *(space.shape or ()))
        if isinstance(space, gymnasium.spaces.Discrete):
            return (torch.randint(int(space.n), shape, generator=generator) + first(space)).to(obs_NO.device)
        (low, high), inside = _ends(space), torch.as_tensor(bounded(space))
        unit = torch.rand(shape, generator=generator)
        uniform = low + ((high - low + 1) * unit).floor() if whole(space) else low + (high - low) * unit
        if inside.all():
            return uniform.clamp(low, high).to(obs_NO.device)
        normal = torch.randn(shape, generator=generator).clamp(low, high)
        return torch.where(inside, uniform, normal.round() if whole(space) else normal).to(obs_NO.device)

    return Act(act)
