"""Swimmer: three links in a fluid swim along the x axis with two motors.

Equals ``gymnasium.envs.mujoco.swimmer_v5.SwimmerEnv``. It lies flat and touches nothing: gravity and friction do
nothing here, its joints have no damping to scale, and the fluid's viscosity counts for little beside its density. Mass,
gear and density, scaled alike, leave the motion all but as it is: their ratios count.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, show, uniform
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.04  # s

simulation = Simulation(SwimmerEnv, "swimmer.xml", frame_skip=4)


def start(draws: Tensor, p: Values) -> Tensor:
    """Positions (m, rad) and velocities (m/s, rad/s) uniform in +-0.1 around lying straight at rest."""
    return torch.cat((uniform(draws, 0.1), torch.zeros_like(draws[..., 5:])), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """40 ms under two motor commands, each clipped to +-1.

    The reward is the first link's velocity along x (m/s), minus 0.0001 times the squared action. Nothing terminates.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., 0] - state[..., 0]) / TIME_STEP
    reward = velocity - 1e-4 * action.to(state.dtype).square().sum(-1)
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """The three angles, and all five velocities."""
    return state[..., 2:10]


family = PhysicsFamily(
    name="swimmer",
    parameters=tuple(PARAMETERS[name] for name in ("mass", "gear", "density")),
    observation_space=Box(-np.inf, np.inf, shape=(8,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=1000,
    draws=10,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"density": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Swimmer-v5",
    twin=simulation.twin,
    show=show,
    training={**TRAINING, "gamma": 0.999},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
        "gamma": 0.9999,
    },
    solved=360.0,
    source="gymnasium.envs.mujoco.swimmer_v5, swimmer.xml (Coulom, 2002)",
)
