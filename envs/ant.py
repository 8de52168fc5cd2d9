"""Ant: walk on four legs with eight motors.

``family`` equals ``gymnasium.envs.mujoco.ant_v5.AntEnv``. ``velocity`` asks for a speed along x and ``direction`` for a
way to walk; observations and physics stay the same, so that the parameter shows in the reward alone. Their 200 steps
are those of Ant-Vel and Ant-Dir of the meta-learning literature (Finn et al., ICML 2017; Rakelly et al., ICML 2019).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Parameter, Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, normal, show, uniform
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.05  # s

# The state is 15 positions, 14 velocities, 14 of the solver's, where v5 sees the torso (m, m), and the torques (N m)
# and forces (N) of contacts on the world and 13 bodies.
MOTION, TORSO, FORCES = slice(29), slice(43, 45), slice(45, 45 + 14 * 6)

simulation = Simulation(
    AntEnv, "ant.xml", frame_skip=5, fields=lambda data: (data.xpos[1, :2], data.cfrc_ext.reshape(-1))
)


def start(draws: Tensor, p: Values) -> Tensor:
    """Positions uniform in +-0.1 around the stance, velocities normal with deviation 0.1; no contact has acted yet."""
    stance = torch.zeros(15, dtype=draws.dtype, device=draws.device)
    stance[2], stance[3] = 0.75, 1.0
    position, velocity = stance + uniform(draws[..., :15], 0.1), normal(draws[..., 15:], 0.1)
    none = torch.zeros_like(velocity)
    return torch.cat((position, velocity, none, position[..., :2], none.repeat_interleave(6, dim=-1)), dim=-1)


def advance(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """50 ms under eight motor commands, each clipped to +-1; it terminates where the torso is not 0.2 to 1 m high.

    Returns:
        The next state, the mean velocity along x and y (m/s) (T, E, 2), what v5 pays beside the velocity (1 while it
        is healthy, minus 0.0005 times the squared contact forces, each clipped to +-1), and whether it terminates.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., TORSO] - state[..., TORSO]) / TIME_STEP
    height = after[..., 2]
    healthy = after[..., MOTION].isfinite().all(-1) & (height >= 0.2) & (height <= 1)
    contact = after[..., FORCES].clamp(-1, 1).square().sum(-1)
    return after, velocity, healthy.to(state.dtype) - 5e-4 * contact, ~healthy


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the velocity along x, minus half the squared action, and what ``advance`` says."""
    after, velocity, other, terminated = advance(state, action, p)
    return after, velocity[..., 0] - 0.5 * action.to(state.dtype).square().sum(-1) + other, terminated


def step_velocity(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """In place of the velocity, minus |that along x - ``target_velocity``|; the action costs a hundredth of v5's."""
    after, velocity, other, terminated = advance(state, action, p)
    effort = action.to(state.dtype).square().sum(-1)
    return after, -(velocity[..., 0] - p["target_velocity"]).abs() - 0.005 * effort + other, terminated


def step_direction(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """In place of the velocity along x, that towards ``direction``, an angle from x towards y."""
    after, velocity, other, terminated = advance(state, action, p)
    angle = p["direction"] * (math.pi / 180)
    towards = angle.cos() * velocity[..., 0] + angle.sin() * velocity[..., 1]
    return after, towards - 0.5 * action.to(state.dtype).square().sum(-1) + other, terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without x and y, velocities, and the contact forces on every body but the world, clipped to +-1."""
    return torch.cat((state[..., MOTION][..., 2:], state[..., FORCES][..., 6:].clamp(-1, 1)), dim=-1)


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
    training={**TRAINING, "gamma": 0.99},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
    },
    solved=6000.0,
    source="gymnasium.envs.mujoco.ant_v5, ant.xml (Schulman et al., ICLR 2016)",
)

velocity = replace(
    family,
    name="ant_velocity",
    parameters=(Parameter("target_velocity", "m/s", 1.5, (0, 3), (0, 4), "[-20, 20]", "speed to walk at along x"),),
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
        Parameter("direction", "deg", 0.0, (0, 360), (0, 360), "[-360, 360]", "where to, from x to y", period=360),
    ),
    max_episode_steps=200,
    step=step_direction,
    held_out={"direction": ((60, 105), (240, 285))},
    env_id="hyperrl/AntDirection-v5",
    solved=None,
    source="gymnasium.envs.mujoco.ant_v5, rewarded as Ant-Dir (Rakelly et al., ICML 2019)",
)
