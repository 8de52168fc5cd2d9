"""From a run's settings to its agent, untrained."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from hyperrl.agents import ARMS, Agent, AgentSpec
from hyperrl.agents.target import OrdinaryAgent
from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.seeds import drawing
from hyperrl.storage.device import float32


@float32()
def build_agent(family: Family, config: Config, device: torch.device) -> Agent:
    """The arm that the settings name, with weights drawn from their seed.

    Raises:
        InputError: the arm or the activation is unknown, or the arm cannot be built from these sizes.
    """
    if config.agent not in ARMS:
        raise InputError(f"agent {config.agent!r}: unknown; choose from {', '.join(ARMS)}")
    space = family.action_space
    try:
        spec = AgentSpec(
            observation=int(np.prod(family.observation_space.shape)),
            action=action_size(space),
            discrete=isinstance(space, Discrete),
            context=family.context_size,
            hidden=config.hidden,
            activation=config.activation,
            log_std=config.log_std,
            generator_hidden=config.generator_hidden,
        )
        with drawing("weights", config.seed):
            return ARMS[config.agent](spec).to(device)
    except ValueError as error:
        raise InputError(str(error)) from None


def ordinary(agent: Agent, name: str, need: str) -> OrdinaryAgent:
    """The agent, where its variants are ordinary networks.

    Raises:
        InputError: they are not.
    """
    if not isinstance(agent, OrdinaryAgent):
        fit = [arm for arm, kind in ARMS.items() if issubclass(kind, OrdinaryAgent)]
        raise InputError(f"agent {name!r}: its variants are no ordinary networks; {need}; choose {' or '.join(fit)}")
    return agent


def action_size(space: Box | Discrete) -> int:
    """A: entries of a continuous action, or number of discrete ones."""
    return int(space.n) if isinstance(space, Discrete) else int(np.prod(space.shape))
