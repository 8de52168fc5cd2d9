"""Filling a rollout; for physics families, some steps at once as one function of tensors.

That function calls the arm and the family's functions with no environment between them: fewer calls than
``play_steps`` makes, and nothing that a compiler cannot follow. The results are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.envs import Family, VariantVectorEnv
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import Moment, PhysicsFamily, PhysicsVectorEnv, settle
from hyperrl.play.actors import AgentActor, ToEnv
from hyperrl.play.rollout import Rollout, play_steps

MOST_AT_ONCE = 8
"""Steps of one call: the time to compile grows with them, and 16 run no faster."""


def at_once(family: Family) -> TypeGuard[PhysicsFamily]:
    """Whether several steps of a family can be one function: its parameters stay what they are from step to step."""
    return isinstance(family, PhysicsFamily) and not family.drift


Steps = Callable[..., tuple[dict[str, Tensor], Moment, Tensor]]


def steps_at_once(
    family: PhysicsFamily,
    agent: Agent,
    to_env: ToEnv,
    weights_TD: Tensor,
    p: Values,
    noise_STEA: Tensor | None,
    draws_STED: Tensor,
    moment: Moment,
    state_TEH: Tensor,
) -> tuple[dict[str, Tensor], Moment, Tensor]:
    """Play S steps.

    Args:
        family: without drift.
        agent: the arm.
        to_env: from its actions to the environment's.
        weights_TD: of every variant's networks.
        p: the variants' parameters.
        noise_STEA: what actions are drawn with; the most probable ones without it.
        draws_STED: of the starts, one for every step.
        moment: where the environment stands.
        state_TEH: the arm's state.

    Returns:
        All of a ``Rollout`` but its contexts, and the last two arguments after the last step.
    """

    def observe(state_TEX: Tensor) -> Tensor:
        return family.observe(state_TEX, p).flatten(2).float()

    obs_TEO, played = observe(moment.state_TEX), []
    for step in range(len(draws_STED)):
        distribution, next_state_TEH = agent.decide(weights_TD, obs_TEO, state_TEH)
        action_TE = distribution.mode if noise_STEA is None else distribution.drawn(noise_STEA[step])
        final_TEX, reward_TE, terminated_TE = family.step(moment.state_TEX, to_env(action_TE), p)
        reward_TE = reward_TE.float()
        truncated_TE, moment = settle(family, final_TEX, terminated_TE, moment.elapsed_TE, p, draws_STED[step])
        done_TE = terminated_TE | truncated_TE
        next_state_TEH = agent.remember(next_state_TEH, action_TE, reward_TE)
        played.append(
            {
                "obs_STEO": obs_TEO,
                "state_STEH": state_TEH,
                "action_STE": action_TE,
                "log_prob_STE": distribution.log_prob(action_TE),
                "reward_STE": reward_TE,
                "terminated_STE": terminated_TE,
                "done_STE": done_TE,
                "next_obs_STEO": observe(final_TEX),
                "next_state_STEH": next_state_TEH,
            }
        )
        obs_TEO, state_TEH = observe(moment.state_TEX), agent.restart(next_state_TEH, done_TE)
    return {name: torch.stack([step[name] for step in played]) for name in played[0]}, moment, state_TEH


def _play_at_once(env: PhysicsVectorEnv, actor: AgentActor, rollout: Rollout, steps: Steps) -> Tensor:
    """Fill a rollout from where the environment stands; returns the observations (N, O) after it."""
    length = len(rollout.reward_STE)
    noise_STEA, draws_STED = actor.noise(length), env.draw(length)
    play = partial(steps, env.family, actor.agent, actor.to_env, actor.weights_TD, env.values)
    size = max(size for size in range(1, MOST_AT_ONCE + 1) if length % size == 0)
    moment = env.moment
    for begin in range(0, length, size):
        part = slice(begin, begin + size)
        noise = None if noise_STEA is None else noise_STEA[part]
        played, moment, actor.state_TEH = play(noise, draws_STED[part], moment, actor.state_TEH)
        for name, x_STE in played.items():
            getattr(rollout, name)[part] = x_STE
    env.go_on(moment)
    return env.observe()


@torch.no_grad()
def collect(
    env: VariantVectorEnv, obs_NO: Tensor, actor: AgentActor, rollout: Rollout, steps: Steps = steps_at_once
) -> Tensor:
    """Fill a rollout from observations (N, O) on; returns those after it.

    Weights are generated once, and again at every step where parameters drift. ``steps`` plays several steps of a
    physics family at once.
    """
    actor.generate(env.variants_TP)
    rollout.context_RTC[0] = actor.context_TC
    if isinstance(env, PhysicsVectorEnv) and at_once(env.family):
        return _play_at_once(env, actor, rollout, steps)
    for step, transition in enumerate(play_steps(env, obs_NO, actor, len(rollout.reward_STE))):
        assert actor.decision is not None
        rollout.write(step, actor.decision, transition)
        if env.family.drift:
            rollout.context_RTC[step] = actor.context_TC
        obs_NO = transition.after_NO
    return obs_NO
