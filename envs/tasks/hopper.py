"""Hopper: jump along the x axis on one leg with three motors.

Equals ``gymnasium.envs.mujoco.hopper_v5.HopperEnv``.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.008  # s
STANCE = 1.25  # m, height of the torso

# The state is 6 positions, 6 velocities and 6 of the solver's.
POSITIONS, MOTION = 6, 12
X, HEIGHT, ANGLE = 0, 1, 2
POSTURE, VELOCITY, BUT_X_AND_HEIGHT = slice(1, 6), slice(6, 12), slice(2, 12)

simulation = Simulation(HopperEnv, "hopper.xml", frame_skip=4)


def start(draws: Tensor, p: Values) -> Tensor:
    """Upright, the torso 1.25 m high; positions (m, rad) and velocities (m/s, rad/s) uniform in +-0.005 around that."""
    stance = torch.zeros(MOTION, dtype=draws.dtype, device=draws.device)
    stance[HEIGHT] = STANCE
    return torch.cat((stance + uniform(draws, 0.005), torch.zeros_like(draws[..., POSITIONS:])), dim=-1)


def healthy(state: Tensor) -> Tensor:
    """The torso above 0.7 m, leaning by less than 0.2 rad, and all other entries but x within +-100."""
    height, angle = state[..., HEIGHT], state[..., ANGLE]
    return (state[..., BUT_X_AND_HEIGHT].abs() < 100).all(-1) & (height > 0.7) & (angle.abs() < 0.2)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """8 ms under three motor commands, each clipped to +-1; terminates if it is no longer healthy.

    The reward is the velocity along x (m/s), plus 1 while healthy, minus 0.001 times the squared action.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., X] - state[..., X]) / TIME_STEP
    alive = healthy(after)
    return after, velocity + alive.to(state.dtype) - 0.001 * action.to(state.dtype).square().sum(-1), ~alive


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without that along x, and velocities clipped to +-10."""
    return torch.cat((state[..., POSTURE], state[..., VELOCITY].clamp(-10, 10)), dim=-1)


family = PhysicsFamily(
    name="hopper",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear", "friction")),
    observation_space=Box(-np.inf, np.inf, shape=(11,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(3,), dtype=np.float32),
    max_episode_steps=1000,
    draws=12,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Hopper-v5",
    twin=simulation.twin,
    show=show,
    solved=3800.0,
    source="gymnasium.envs.mujoco.hopper_v5, hopper.xml (Erez, Tassa and Todorov, 2011)",
)
