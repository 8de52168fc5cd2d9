"""Ant: walk on four legs with eight motors.

``family`` equals ``gymnasium.envs.mujoco.ant_v5.AntEnv``. ``velocity`` has a target speed along x and ``direction`` a
target direction; observations and physics are the same, so the parameter acts on the reward only. Their 200 steps are
those of Ant-Vel and Ant-Dir of the meta-learning literature (Finn et al., ICML 2017; Rakelly et al., ICML 2019).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, normal, show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.05  # s

# The state is 15 positions, 14 velocities, 14 of the solver's, where v5 sees the torso (m, m), and the torques (N m)
# and forces (N) of contacts on the world and 13 bodies.
POSITIONS, MOTION, BUT_PLACE = 15, slice(29), slice(2, 29)
PLACE, HEIGHT, UPRIGHT = slice(2), 2, 3  # UPRIGHT: first entry of the torso's quaternion
PER_BODY = 6  # torques and forces
TORSO, FORCES = slice(43, 45), slice(45, 45 + 14 * PER_BODY)
ON_BODIES = slice(45 + PER_BODY, 45 + 14 * PER_BODY)
"""The part of ``FORCES`` on every body except the world, which is the first."""


def _fields(data: Any) -> tuple[np.ndarray, ...]:
    return data.xpos[1, :2], data.cfrc_ext.reshape(-1)


simulation = Simulation(AntEnv, "ant.xml", frame_skip=5, fields=_fields)


def start(draws: Tensor, p: Values) -> Tensor:
    """Positions uniform in +-0.1 around the stance, velocities normal with deviation 0.1; contact forces are 0."""
    stance = torch.zeros(POSITIONS, dtype=draws.dtype, device=draws.device)
    stance[HEIGHT], stance[UPRIGHT] = 0.75, 1.0
    position, velocity = stance + uniform(draws[..., :POSITIONS], 0.1), normal(draws[..., POSITIONS:], 0.1)
    none = torch.zeros_like(velocity)
    return torch.cat((position, velocity, none, position[..., PLACE], none.repeat_interleave(PER_BODY, dim=-1)), dim=-1)


def advance(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """50 ms under eight motor commands, each clipped to +-1; terminates if the torso is not 0.2 to 1 m high.

    Returns:
        The next state, the mean velocity along x and y (m/s) (T, E, 2), v5's reward without the velocity (1 while it
        is healthy, minus 0.0005 times the squared contact forces, each clipped to +-1), and whether it terminates.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., TORSO] - state[..., TORSO]) / TIME_STEP
    height = after[..., HEIGHT]
    healthy = after[..., MOTION].isfinite().all(-1) & (height >= 0.2) & (height <= 1)
    contact = after[..., FORCES].clamp(-1, 1).square().sum(-1)
    return after, velocity, healthy.to(state.dtype) - 5e-4 * contact, ~healthy


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the velocity along x, minus half the squared action, plus the third result of ``advance``."""
    after, velocity, other, terminated = advance(state, action, p)
    return after, velocity[..., 0] - 0.5 * action.to(state.dtype).square().sum(-1) + other, terminated


def step_velocity(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward has -|velocity along x - ``target_velocity``| for the velocity, and 0.01 times the action's cost."""
    after, velocity, other, terminated = advance(state, action, p)
    effort = action.to(state.dtype).square().sum(-1)
    return after, -(velocity[..., 0] - p["target_velocity"]).abs() - 0.005 * effort + other, terminated


def step_direction(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward has the velocity towards ``direction``, an angle from x towards y, for that along x."""
    after, velocity, other, terminated = advance(state, action, p)
    angle = p["direction"] * (math.pi / 180)
    towards = angle.cos() * velocity[..., 0] + angle.sin() * velocity[..., 1]
    return after, towards - 0.5 * action.to(state.dtype).square().sum(-1) + other, terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without x and y, velocities, and the contact forces on every body except the world, clipped to +-1."""
    return torch.cat((state[..., BUT_PLACE], state[..., ON_BODIES].clamp(-1, 1)), dim=-1)


family = PhysicsFamily(
    name="ant",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear", "friction")),
    observation_space=Box(-np.inf, np.inf, shape=(105,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(8,), dtype=np.float32),
    max_episode_steps=1000,
    draws=29,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Ant-v5",
    twin=simulation.twin,
    show=show,
    solved=6000.0,
    source="gymnasium.envs.mujoco.ant_v5, ant.xml (Schulman et al., ICLR 2016)",
)

velocity = replace(
    family,
    name="ant_velocity",
    parameters=(Parameter("target_velocity", "m/s", 1.5, (0, 3), (0, 4), "[-20, 20]", "target speed along x"),),
    max_episode_steps=200,
    step=step_velocity,
    held_out={"target_velocity": (1.2, 1.6)},
    env_id="hyperrl/AntVelocity-v5",
    solved=None,
    source="gymnasium.envs.mujoco.ant_v5, rewarded as Ant-Vel (Finn et al., ICML 2017)",
)

direction = replace(
    family,
    name="ant_direction",
    parameters=(
        Parameter(
            "direction", "deg", 0.0, (0, 360), (0, 360), "[-360, 360]", "target direction, from x to y", period=360
        ),
    ),
    max_episode_steps=200,
    step=step_direction,
    held_out={"direction": ((60, 105), (240, 285))},
    env_id="hyperrl/AntDirection-v5",
    solved=None,
    source="gymnasium.envs.mujoco.ant_v5, rewarded as Ant-Dir (Rakelly et al., ICML 2019)",
)
