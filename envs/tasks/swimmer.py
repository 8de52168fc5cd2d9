"""Swimmer: three links in a fluid swim along the x axis with two motors.

Equals ``gymnasium.envs.mujoco.swimmer_v5.SwimmerEnv``. It touches nothing: gravity and friction have no
effect here, and its joints have no damping to scale. The fluid's viscosity has little effect beside its density, so the
motion depends almost only on the ratios of mass, gear and density.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.04  # s

# The state is 5 positions, 5 velocities and 5 of the solver's.
POSITIONS = 5
X, BUT_PLACE = 0, slice(2, 10)
"""The position along x; the positions without x and y, and all velocities."""

simulation = Simulation(SwimmerEnv, "swimmer.xml", frame_skip=4)


def start(draws: Tensor, p: Values) -> Tensor:
    """Positions (m, rad) and velocities (m/s, rad/s) uniform in +-0.1 around the straight pose at rest."""
    return torch.cat((uniform(draws, 0.1), torch.zeros_like(draws[..., POSITIONS:])), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """40 ms under two motor commands, each clipped to +-1.

    The reward is the first link's velocity along x (m/s), minus 0.0001 times the squared action. Nothing terminates.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., X] - state[..., X]) / TIME_STEP
    reward = velocity - 1e-4 * action.to(state.dtype).square().sum(-1)
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """The three angles, and all five velocities."""
    return state[..., BUT_PLACE]


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
    solved=360.0,
    source="gymnasium.envs.mujoco.swimmer_v5, swimmer.xml (Coulom, 2002)",
)
