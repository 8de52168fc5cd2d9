"""Acrobot: swing the tip of a two-link arm above a line with a motor in its elbow (Sutton, 1996).

Equals ``gymnasium.envs.classic_control.acrobot.AcrobotEnv`` with the book's equations. A link's centre of mass is at
half its length, so ``link_length_2`` acts through it; every link's moment of inertia is 1 kg m2. An episode ends if two
links of **unit** length would have their tip 1 m above the shoulder, whatever the lengths. Gymnasium's gravity is a
local constant, 9.8 m/s2, that ``twin`` cannot change: the twin draws every variant, but its ``step`` equals ours at
that gravity only.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.2  # s
MAX_SPEED_1 = 4 * math.pi  # rad/s
MAX_SPEED_2 = 9 * math.pi  # rad/s
INERTIA = 1.0  # kg m2, of each link


def start(draws: Tensor, p: Values) -> Tensor:
    """Two joint angles (rad) and their velocities (rad/s), uniform in +-0.1, in float32 as in Gymnasium."""
    return (draws * 0.2 - 0.1).float().to(draws.dtype)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Runge-Kutta step of 200 ms under a torque of -1, 0 or 1 N m (0, 1, 2); reward -1, 0 at the goal."""
    m1, m2, l1 = p["link_mass_1"], p["link_mass_2"], p["link_length_1"]
    half_1, half_2 = l1 / 2, p["link_length_2"] / 2
    inertia_2 = m2 * half_2.square() + INERTIA
    inertia_1 = m1 * half_1.square() + m2 * l1.square() + INERTIA + inertia_2
    coupling = m2 * l1 * half_2
    weight_1 = (m1 * half_1 + m2 * l1) * p["gravity"]
    weight_2 = m2 * half_2 * p["gravity"]
    torque = action - 1

    def rate(state: Tensor) -> Tensor:
        """Solve the symmetric 2 x 2 mass matrix for the two accelerations."""
        theta_1, theta_2, speed_1, speed_2 = state.unbind(-1)
        cos, sin = coupling * theta_2.cos(), coupling * theta_2.sin()
        mass_11, mass_12 = torch.add(inertia_1, cos, alpha=2), inertia_2 + cos
        fall_2 = weight_2 * (theta_1 + theta_2).sin()
        fall_1 = weight_1 * theta_1.sin() + fall_2
        force_1 = sin * speed_2 * torch.add(speed_2, speed_1, alpha=2) - fall_1
        force_2 = torque - sin * speed_1.square() - fall_2
        determinant = mass_11 * inertia_2 - mass_12.square()
        acceleration_1 = (inertia_2 * force_1 - mass_12 * force_2) / determinant
        acceleration_2 = (mass_11 * force_2 - mass_12 * force_1) / determinant
        return torch.stack((speed_1, speed_2, acceleration_1, acceleration_2), dim=-1)

    k1 = rate(state)
    k2 = rate(torch.add(state, k1, alpha=TIME_STEP / 2))
    k3 = rate(torch.add(state, k2, alpha=TIME_STEP / 2))
    k4 = rate(torch.add(state, k3, alpha=TIME_STEP))
    after = torch.add(state, k1 + 2 * (k2 + k3) + k4, alpha=TIME_STEP / 6)
    angles, speed_1, speed_2 = after.split((2, 1, 1), dim=-1)
    angles = torch.sub(angles, (angles / (2 * math.pi)).round(), alpha=2 * math.pi)
    speed_1, speed_2 = speed_1.clamp(-MAX_SPEED_1, MAX_SPEED_1), speed_2.clamp(-MAX_SPEED_2, MAX_SPEED_2)
    after = torch.cat((angles, speed_1, speed_2), dim=-1)
    terminated = angles[..., 0].cos() + angles.sum(-1).cos() < -1
    return after, terminated.to(state.dtype) - 1, terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Cosine and sine of the first angle, of the second, and the two angular velocities (rad/s)."""
    angles, speeds = state.split(2, dim=-1)
    return torch.cat((torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(-2), speeds), dim=-1)


def twin(render_mode: str | None = None, **parameters: float) -> AcrobotEnv:
    """Gymnasium's environment with masses, lengths and centres of mass; its gravity stays 9.8."""
    env = AcrobotEnv(render_mode=render_mode)
    for name, value in parameters.items():
        if name != "gravity":
            setattr(env, name.upper(), value)
    env.LINK_COM_POS_1 = env.LINK_LENGTH_1 / 2
    env.LINK_COM_POS_2 = env.LINK_LENGTH_2 / 2
    return env


_HIGH = np.array([1.0, 1.0, 1.0, 1.0, MAX_SPEED_1, MAX_SPEED_2], dtype=np.float32)

family = PhysicsFamily(
    name="acrobot",
    parameters=(
        Parameter("link_mass_1", "kg", 1.0, (0.75, 1.25), (0.5, 1.75), "(0, 20]", "the upper link's mass"),
        Parameter("link_mass_2", "kg", 1.0, (0.75, 1.25), (0.5, 1.75), "(0, 20]", "the lower link's mass"),
        Parameter("link_length_1", "m", 1.0, (0.75, 1.25), (0.5, 1.75), "(0, 10]", "the upper link's length"),
        Parameter("link_length_2", "m", 1.0, (0.75, 1.25), (0.5, 1.75), "(0, 10]", "the lower link's length"),
        Parameter("gravity", "m/s2", 9.8, (8, 12), (5, 15), "[0, 100]", "acceleration of free fall"),
    ),
    observation_space=Box(-_HIGH, _HIGH, dtype=np.float32),
    action_space=Discrete(3),
    max_episode_steps=500,
    draws=4,
    start=start,
    step=step,
    observe=observe,
    held_out={"link_mass_2": (1.05, 1.25), "link_length_1": (0.75, 0.95)},
    env_id="hyperrl/Acrobot-v1",
    twin=twin,
    options=("low", "high"),
    solved=-100.0,
    source="gymnasium.envs.classic_control.acrobot (Sutton, 1996)",
)
