"""CartPole: a pole on a cart, pushed left or right (Barto, Sutton and Anderson, 1983).

Equals ``gymnasium.envs.classic_control.cartpole.CartPoleEnv`` with its Euler integrator, and with its derived
attributes (``total_mass``, ``polemass_length``).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from hyperrl.envs.drift import Walk
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.02  # s
X_LIMIT = 2.4  # m
THETA_LIMIT = 12 * 2 * math.pi / 360  # rad


def start(draws: Tensor, p: Values) -> Tensor:
    """Position (m), velocity (m/s), angle (rad) and angular velocity (rad/s), each uniform in +-0.05."""
    return draws * 0.1 - 0.05


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Euler step of 20 ms under a push of ``force_mag`` to the left (0) or to the right (1); reward 1."""
    x, x_dot, theta, theta_dot = state.unbind(-1)
    total_mass = p["masscart"] + p["masspole"]
    polemass_length = p["masspole"] * p["length"]
    force = p["force_mag"] * (2 * action - 1)
    cos, sin = theta.cos(), theta.sin()
    push = (force + polemass_length * theta_dot.square() * sin) / total_mass
    theta_acc = (p["gravity"] * sin - cos * push) / (p["length"] * (4 / 3 - p["masspole"] * cos.square() / total_mass))
    x_acc = push - polemass_length * theta_acc * cos / total_mass
    rate = torch.stack((x_dot, x_acc, theta_dot, theta_acc), dim=-1)
    after = state + TIME_STEP * rate
    x_after, _, theta_after, _ = after.unbind(-1)
    terminated = (x_after.abs() > X_LIMIT) | (theta_after.abs() > THETA_LIMIT)
    return after, torch.ones_like(x), terminated


def twin(render_mode: str | None = None, **parameters: float) -> CartPoleEnv:
    """Gymnasium's environment with the parameters and the attributes that its constructor derives from them."""
    env = CartPoleEnv(render_mode=render_mode)
    for name, value in parameters.items():
        setattr(env, name, value)
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    return env


_HIGH = np.array([2 * X_LIMIT, np.inf, 2 * THETA_LIMIT, np.inf], dtype=np.float32)

family = PhysicsFamily(
    name="cartpole",
    parameters=(
        Parameter("gravity", "m/s2", 9.8, (5, 15), (2.5, 25), "[0, 100]", "acceleration of free fall"),
        Parameter("masscart", "kg", 1.0, (0.5, 2), (0.25, 4), "(0, 20]", "mass of the cart"),
        Parameter("masspole", "kg", 0.1, (0.05, 0.5), (0.02, 1), "(0, 10]", "mass of the pole"),
        Parameter("length", "m", 0.5, (0.25, 1), (0.1, 2), "(0, 10]", "half the pole's length"),
        Parameter("force_mag", "N", 10.0, (5, 15), (2.5, 25), "(0, 100]", "size of a push"),
    ),
    observation_space=Box(-_HIGH, _HIGH, dtype=np.float32),
    action_space=Discrete(2),
    max_episode_steps=500,
    draws=4,
    start=start,
    step=step,
    held_out={"gravity": (11.5, 15), "length": (0.25, 0.5)},
    env_id="hyperrl/CartPole-v1",
    twin=twin,
    options=("low", "high"),
    solved=475.0,
    source="gymnasium.envs.classic_control.cartpole (Barto, Sutton and Anderson, 1983)",
)

drift = replace(
    family,
    name="cartpole_drift",
    drift={name: Walk(0.03) for name in family.names},
    env_id="hyperrl/CartPoleDrift-v1",
    source="gymnasium.envs.classic_control.cartpole, its parameters on a random walk",
)
