"""Pendulum: swing up a rod with a motor that is too weak to lift it, and hold it there.

``family`` equals ``gymnasium.envs.classic_control.pendulum.PendulumEnv``. In ``signed`` the motor's
torque may have the opposite sign. In ``spin`` a stronger motor turns the rod at a target speed, in either direction.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.05  # s
MAX_SPEED = 8.0  # rad/s
TORQUE_LIMIT = 4.0  # N m, the strongest motor of the family
SPIN_LIMIT = 20.0  # N m, that of ``spin``


def start(draws: Tensor, p: Values) -> Tensor:
    """Angle from upright, uniform in +-pi rad, and angular velocity, uniform in +-1 rad/s."""
    angle, speed = draws.unbind(-1)
    return torch.stack((angle * (2 * math.pi) - math.pi, speed * 2 - 1), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Euler step of 50 ms under a torque (N m) clipped to +-``max_torque``; reward is minus the cost.

    The cost is of the state before the step: angle^2 + 0.1 speed^2 + 0.001 torque^2. Nothing terminates.
    """
    theta, theta_dot = state.unbind(-1)
    torque = action.squeeze(-1).clamp(-p["max_torque"], p["max_torque"])
    angle = torch.remainder(theta + math.pi, 2 * math.pi) - math.pi
    cost = angle.square() + 0.1 * theta_dot.square() + 0.001 * torque.square()
    acceleration = 1.5 * p["g"] / p["l"] * theta.sin() + 3 / (p["m"] * p["l"].square()) * torque
    speed = (theta_dot + TIME_STEP * acceleration).clamp(-MAX_SPEED, MAX_SPEED)
    after = torch.stack((theta + TIME_STEP * speed, speed), dim=-1)
    return after, -cost, torch.zeros_like(theta, dtype=torch.bool)


def step_signed(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """``step`` with a motor of strength |``max_torque``|; a negative ``max_torque`` turns the torque's sign."""
    wired = p["max_torque"].sign().unsqueeze(-1)
    return step(state, wired * action, {**p, "max_torque": p["max_torque"].abs()})


def step_spin(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """``step`` with a cost of 0.1 (speed - ``target``)^2 + 0.0001 torque^2, of the speed (rad/s) after the step."""
    after, _, terminated = step(state, action, p)
    torque = action.squeeze(-1).clamp(-p["max_torque"], p["max_torque"])
    _, speed = after.unbind(-1)
    cost = 0.1 * (speed - p["target"]).square() + 0.0001 * torque.square()
    return after, -cost, terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Cosine and sine of the angle, and the angular velocity (rad/s)."""
    theta, theta_dot = state.unbind(-1)
    return torch.stack((theta.cos(), theta.sin(), theta_dot), dim=-1)


def twin(render_mode: str | None = None, **parameters: float) -> PendulumEnv:
    """Gymnasium's environment with the parameters, and the action space that its constructor derives."""
    env = PendulumEnv(render_mode=render_mode)
    for name, value in parameters.items():
        setattr(env, name, value)
    strength = abs(env.max_torque)
    env.action_space = Box(-strength, strength, shape=(1,), dtype=np.float32)
    return env


def show(twin: Any, state: np.ndarray, action: Any) -> None:
    """Set the twin's state, and the torque that its renderer draws as an arrow."""
    twin.state = state
    strength = abs(twin.max_torque)
    twin.last_u = None if action is None else np.sign(twin.max_torque) * np.clip(action, -strength, strength)[0]


_HIGH = np.array([1.0, 1.0, MAX_SPEED], dtype=np.float32)

family = PhysicsFamily(
    name="pendulum",
    parameters=(
        Parameter("g", "m/s2", 10.0, (5, 15), (3, 18), "[0, 100]", "acceleration of free fall"),
        Parameter("m", "kg", 1.0, (0.5, 1.5), (0.3, 2), "(0, 20]", "mass of the rod"),
        Parameter("l", "m", 1.0, (0.5, 1.5), (0.3, 2), "(0, 10]", "length of the rod"),
        Parameter("max_torque", "N m", 2.0, (1, 3), (1, 4), f"(0, {TORQUE_LIMIT:g}]", "the motor's strength"),
    ),
    observation_space=Box(-_HIGH, _HIGH, dtype=np.float32),
    action_space=Box(-TORQUE_LIMIT, TORQUE_LIMIT, shape=(1,), dtype=np.float32),
    max_episode_steps=200,
    draws=2,
    start=start,
    step=step,
    observe=observe,
    held_out={"g": (11.5, 15), "l": (0.5, 0.85)},
    env_id="hyperrl/Pendulum-v1",
    twin=twin,
    show=show,
    options=("x_init", "y_init"),
    source="gymnasium.envs.classic_control.pendulum",
)

signed = replace(
    family,
    name="pendulum_signed",
    parameters=(
        *family.parameters[:3],
        Parameter("max_torque", "N m", 2.0, (-3, 3), (-4, 4), "[-4, 4]", "the motor's strength, signed", gap=1),
    ),
    step=step_signed,
    env_id="hyperrl/PendulumSigned-v0",
    source="gymnasium.envs.classic_control.pendulum, with a torque limit that may be negative",
)

# In the training ranges the motor can hold the rod level, which takes m g l / 2 = 11.7 N m at most, so it can keep
# every target speed through a whole turn. At the heavy end of the wide ranges, 20.3 N m, weak motors cannot.
spin = replace(
    family,
    name="pendulum_spin",
    parameters=(
        Parameter("g", "m/s2", 10.0, (5, 15), (3, 18), "[0, 100]", "acceleration of free fall"),
        Parameter("m", "kg", 1.0, (0.75, 1.25), (0.5, 1.5), "(0, 20]", "mass of the rod"),
        Parameter("l", "m", 1.0, (0.75, 1.25), (0.5, 1.5), "(0, 10]", "length of the rod"),
        Parameter("max_torque", "N m", 14.0, (12, 16), (10, 20), f"(0, {SPIN_LIMIT:g}]", "the motor's strength"),
        Parameter("target", "rad/s", 4.0, (-6, 6), (-7.5, 7.5), f"[-{MAX_SPEED:g}, {MAX_SPEED:g}]", "target speed"),
    ),
    action_space=Box(-SPIN_LIMIT, SPIN_LIMIT, shape=(1,), dtype=np.float32),
    step=step_spin,
    held_out={"g": (11.5, 15), "target": ((-6, -3.5), (3.5, 6))},
    env_id="hyperrl/PendulumSpin-v0",
    source="gymnasium.envs.classic_control.pendulum, with this package's reward",
)
