"""Point: push a mass on a plane to a goal with actuators that are turned by an angle.

A double integrator with drag, within walls. The observation holds position and velocity only. The actuators'
angle and the goal are in the context only, so no single policy serves all variants. The drag does not depend on gain
and mass, so these do not act as one: the top speed depends on the gain only.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.sketch import Sketch

TIME_STEP = 0.1  # s
DRAG = 0.5  # N s/m
WALL = 2.0  # m, from the middle to each of the four walls


def start(draws: Tensor, p: Values) -> Tensor:
    """Position (m), uniform in +-1 along each axis, and velocity (m/s), uniform in +-0.5."""
    position, velocity = (2 * draws - 1).chunk(2, dim=-1)
    return torch.cat((position, 0.5 * velocity), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One semi-implicit Euler step of 0.1 s under a force of ``gain`` times the action, turned by ``phi``.

    Each action is clipped to +-1. A wall stops what moves into it. The reward is minus the distance to the goal after
    the step (m), minus 0.01 times the squared action. Nothing terminates.
    """
    push = action.clamp(-1, 1)
    phi = p["phi"] * (math.pi / 180)
    cos, sin = phi.cos(), phi.sin()
    x, y = push.unbind(-1)
    force = p["gain"].unsqueeze(-1) * torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)
    position, velocity = state.chunk(2, dim=-1)
    velocity = velocity + TIME_STEP * (force - DRAG * velocity) / p["mass"].unsqueeze(-1)
    position = position + TIME_STEP * velocity
    velocity = torch.where(position.abs() < WALL, velocity, 0.0)
    position = position.clamp(-WALL, WALL)
    distance = torch.hypot(position[..., 0] - p["goal_x"], position[..., 1] - p["goal_y"])
    reward = -distance - 0.01 * push.square().sum(-1)
    return torch.cat((position, velocity), dim=-1), reward, torch.zeros_like(distance, dtype=torch.bool)


def twin(render_mode: str | None = None, goal_x: float = 0.0, goal_y: float = 0.0, **parameters: float) -> Sketch:
    """Renderer of a state: the plane from above, with the goal."""
    return Sketch(family.observation_space, family.action_space, WALL, (goal_x, goal_y), render_mode)


_HIGH = np.array([WALL, WALL, np.inf, np.inf], dtype=np.float32)

family = PhysicsFamily(
    name="point",
    parameters=(
        Parameter("phi", "deg", 0.0, (0, 360), (0, 360), "[-360, 360]", "angle of the actuators", period=360),
        Parameter("gain", "N", 1.0, (0.5, 1.5), (0.1, 2), "(0, 20]", "strength of each actuator"),
        Parameter("mass", "kg", 1.0, (0.5, 1.5), (0.1, 2), "[0.05, 20]", "mass of the point"),
        Parameter("goal_x", "m", 0.5, (-1, 1), (-1.5, 1.5), "[-10, 10]", "first coordinate of the goal"),
        Parameter("goal_y", "m", 0.5, (-1, 1), (-1.5, 1.5), "[-10, 10]", "second coordinate of the goal"),
    ),
    observation_space=Box(-_HIGH, _HIGH, dtype=np.float32),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=100,
    draws=4,
    start=start,
    step=step,
    twin=twin,
    held_out={"phi": ((60, 120), (180, 240), (300, 360))},
    env_id="hyperrl/Point-v0",
    source="envs/tasks/point.py: a double integrator with drag, this package's own",
)
