"""MountainCarContinuous: rock an underpowered car out of a valley with little effort (Moore, 1990).

Equals ``gymnasium.envs.classic_control.continuous_mountain_car.Continuous_MountainCarEnv``. As there, the state is
rounded to float32 after every step, in any dtype. Gymnasium hard-codes the gravity, 0.0025, and ``twin`` cannot change
it: the twin draws every variant, but its ``step`` equals ours at that gravity only. The task has no SI units: position
and time are counted in the valley's units and in steps.

In ``signed`` the engine's power may be negative: the same action then pushes the other way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07  # per step
GOAL_POSITION = 0.45


def start(draws: Tensor, p: Values) -> Tensor:
    """Position, uniform in [-0.6, -0.4], and velocity 0."""
    return torch.cat((draws * (-0.4 + 0.6) - 0.6, torch.zeros_like(draws)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Push with ``power`` times the action clipped to +-1; reward 100 at the goal, minus 0.1 action^2.

    The cost is of the action before clipping. The left end of the valley is a wall that stops the
    car; reaching the goal on the right terminates.
    """
    position, velocity = state.unbind(-1)
    push = action.squeeze(-1)
    velocity = velocity + (p["power"] * push.clamp(-1, 1) - p["gravity"] * (3 * position).cos())
    velocity = velocity.clamp(-MAX_SPEED, MAX_SPEED)
    position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION)
    velocity = torch.where(position > MIN_POSITION, velocity, velocity.clamp(min=0))
    terminated = (position >= GOAL_POSITION) & (velocity >= 0)
    after = torch.stack((position, velocity), dim=-1).float().to(state.dtype)
    return after, 100 * terminated.to(state.dtype) - 0.1 * push.square(), terminated


def twin(render_mode: str | None = None, **parameters: float) -> Continuous_MountainCarEnv:
    """Gymnasium's environment with the power; its gravity stays 0.0025."""
    env = Continuous_MountainCarEnv(render_mode=render_mode)
    env.power = parameters.get("power", env.power)
    return env


_LOW = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
_HIGH = np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32)

family = PhysicsFamily(
    name="mountain_car_continuous",
    parameters=(
        Parameter("gravity", "1/step2", 0.0025, (0.00175, 0.00375), (0.00125, 0.00625), "[0, 0.05]", "pull downhill"),
        Parameter(
            "power",
            "1/step2",
            0.0015,
            (0.00105, 0.00225),
            (0.00075, 0.00375),
            "(0, 0.05]",
            "push of the engine",
        ),
    ),
    observation_space=Box(_LOW, _HIGH, dtype=np.float32),
    action_space=Box(-1.0, 1.0, shape=(1,), dtype=np.float32),
    max_episode_steps=999,
    draws=1,
    start=start,
    step=step,
    held_out={"gravity": (0.003, 0.00375), "power": (0.0018, 0.00225)},
    env_id="hyperrl/MountainCarContinuous-v0",
    twin=twin,
    options=("low", "high"),
    solved=90.0,
    source="gymnasium.envs.classic_control.continuous_mountain_car (Moore, 1990)",
)

signed = replace(
    family,
    name="mountain_car_continuous_signed",
    parameters=(
        family["gravity"],
        Parameter(
            "power",
            "1/step2",
            0.0015,
            (-0.00225, 0.00225),
            (-0.00375, 0.00375),
            "[-0.05, 0.05]",
            "push of the engine, signed",
            gap=0.00105,
        ),
    ),
    held_out={"gravity": (0.003, 0.00375), "power": ((-0.00225, -0.0018), (0.0018, 0.00225))},
    env_id="hyperrl/MountainCarContinuousSigned-v0",
    solved=None,
    source="gymnasium.envs.classic_control.continuous_mountain_car, with a power that may be negative",
)
