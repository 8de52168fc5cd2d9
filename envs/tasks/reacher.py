"""Reacher: bring the tip of an arm with two motors to a target on a table.

Equals ``gymnasium.envs.mujoco.reacher_v5.ReacherEnv``. Gravity and friction have no effect here, and the arm's mass
almost none, because the rotors' inertia is much larger.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

LOWER, UPPER = 0.1, 0.11  # m, from shoulder to elbow and from elbow to tip
HEIGHT = 0.01  # m, of tip and target
# The state is the arm's two angles, the target's two coordinates (m), their velocities, four of the solver's, and the
# positions of tip and target (m).
ANGLES, GOAL, VELOCITY, TIP, TARGET = slice(0, 2), slice(2, 4), slice(4, 6), slice(12, 15), slice(15, 18)
PLANE = slice(2)
"""x and y of a position."""


def _fields(data: Any) -> tuple[np.ndarray, ...]:
    return data.body("fingertip").xpos, data.body("target").xpos


simulation = Simulation(ReacherEnv, "reacher.xml", frame_skip=2, fields=_fields)


def _polar(radius: Tensor | float, angle: Tensor) -> Tensor:
    return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)


def start(draws: Tensor, p: Values) -> Tensor:
    """Angles uniform in +-0.1 rad, the target within 0.2 m of the shoulder, velocities uniform in +-0.005 rad/s."""
    at, moving, goal = draws.chunk(3, dim=-1)
    angles, velocity = uniform(at, 0.1), uniform(moving, 0.005)
    radius, direction = goal.unbind(-1)
    target = _polar(0.2 * radius.sqrt(), uniform(direction, math.pi))
    lower, upper = angles[..., 0], angles.sum(-1)
    tip = _polar(LOWER, lower) + _polar(UPPER, upper)
    height = torch.full_like(tip[..., :1], HEIGHT)
    none = draws.new_zeros(*draws.shape[:-1], 6)
    return torch.cat((angles, target, velocity, none, tip, height, target, height), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """20 ms under two motor commands, each clipped to +-1.

    The reward is minus the distance from tip to target (m), minus the squared action. Nothing terminates.
    """
    after = simulation.advance(state, action, p)
    distance = (after[..., TIP] - after[..., TARGET]).norm(dim=-1)
    reward = -distance - action.to(state.dtype).square().sum(-1)
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """Cosines and sines of the angles, the target, angular velocities, and the vector from target to tip."""
    angles, target, velocity = state[..., ANGLES], state[..., GOAL], state[..., VELOCITY]
    apart = (state[..., TIP] - state[..., TARGET])[..., PLANE]
    return torch.cat((angles.cos(), angles.sin(), target, velocity, apart), dim=-1)


family = PhysicsFamily(
    name="reacher",
    parameters=tuple(PARAMETERS[name] for name in ("mass", "damping", "gear")),
    observation_space=Box(-np.inf, np.inf, shape=(10,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=50,
    draws=6,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"damping": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Reacher-v5",
    twin=simulation.twin,
    show=show,
    solved=-3.75,
    source="gymnasium.envs.mujoco.reacher_v5, reacher.xml",
)
