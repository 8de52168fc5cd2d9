"""Walker2d: walk along the x axis on two legs with six motors.

Equals ``gymnasium.envs.mujoco.walker2d_v5.Walker2dEnv``.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.008  # s
STANCE = 1.25  # m, height of the torso

# The state is 9 positions, 9 velocities and 9 of the solver's.
POSITIONS, MOTION = 9, 18
X, HEIGHT, ANGLE = 0, 1, 2
POSTURE, VELOCITY = slice(1, 9), slice(9, 18)

simulation = Simulation(Walker2dEnv, "walker2d_v5.xml", frame_skip=4)


def start(draws: Tensor, p: Values) -> Tensor:
    """Upright, the torso 1.25 m high; positions (m, rad) and velocities (m/s, rad/s) uniform in +-0.005 around that."""
    stance = torch.zeros(MOTION, dtype=draws.dtype, device=draws.device)
    stance[HEIGHT] = STANCE
    return torch.cat((stance + uniform(draws, 0.005), torch.zeros_like(draws[..., POSITIONS:])), dim=-1)


def healthy(state: Tensor) -> Tensor:
    """The torso between 0.8 and 2 m high, leaning by less than 1 rad."""
    height, angle = state[..., HEIGHT], state[..., ANGLE]
    return (height > 0.8) & (height < 2) & (angle.abs() < 1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """8 ms under six motor commands, each clipped to +-1; terminates if it is no longer healthy.

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
    name="walker2d",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear", "friction")),
    observation_space=Box(-np.inf, np.inf, shape=(17,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(6,), dtype=np.float32),
    max_episode_steps=1000,
    draws=18,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Walker2d-v5",
    twin=simulation.twin,
    show=show,
    source="gymnasium.envs.mujoco.walker2d_v5, walker2d_v5.xml (after the hopper of Erez, Tassa and Todorov, 2011)",
)
