"""MountainCar: rock an underpowered car out of a valley, three actions (Moore, 1990).

Equals ``gymnasium.envs.classic_control.mountain_car.MountainCarEnv``. The task has no SI units: position
and time are counted in the valley's units and in steps.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07  # per step
GOAL_POSITION = 0.5


def start(draws: Tensor, p: Values) -> Tensor:
    """Position, uniform in [-0.6, -0.4], and velocity 0."""
    return torch.cat((draws * (-0.4 + 0.6) - 0.6, torch.zeros_like(draws)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Push to the left (0), not at all (1) or to the right (2) with ``force``; reward -1.

    The left end of the valley is a wall that stops the car; reaching the goal on the right terminates.
    """
    position, velocity = state.unbind(-1)
    velocity = velocity + (p["force"] * (action - 1) - p["gravity"] * (3 * position).cos())
    velocity = velocity.clamp(-MAX_SPEED, MAX_SPEED)
    position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION)
    velocity = torch.where(position > MIN_POSITION, velocity, velocity.clamp(min=0))
    terminated = (position >= GOAL_POSITION) & (velocity >= 0)
    return torch.stack((position, velocity), dim=-1), -torch.ones_like(position), terminated


def twin(render_mode: str | None = None, **parameters: float) -> MountainCarEnv:
    """Gymnasium's environment with the parameters."""
    env = MountainCarEnv(render_mode=render_mode)
    for name, value in parameters.items():
        setattr(env, name, value)
    return env


_LOW = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
_HIGH = np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32)

family = PhysicsFamily(
    name="mountain_car",
    parameters=(
        Parameter("gravity", "1/step2", 0.0025, (0.00175, 0.00375), (0.00125, 0.00625), "[0, 0.05]", "pull downhill"),
        Parameter("force", "1/step2", 0.001, (0.0007, 0.0015), (0.0005, 0.0025), "(0, 0.05]", "push of the engine"),
    ),
    observation_space=Box(_LOW, _HIGH, dtype=np.float32),
    action_space=Discrete(3),
    max_episode_steps=200,
    draws=1,
    start=start,
    step=step,
    held_out={"gravity": (0.003, 0.00375), "force": (0.0012, 0.0015)},
    env_id="hyperrl/MountainCar-v0",
    twin=twin,
    options=("low", "high"),
    solved=-110.0,
    source="gymnasium.envs.classic_control.mountain_car (Moore, 1990)",
)
