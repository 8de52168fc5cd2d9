"""InvertedDoublePendulum: balance two poles, one on the other, on a cart with a motor that pushes it along a rail.

Equals ``gymnasium.envs.mujoco.inverted_double_pendulum_v5.InvertedDoublePendulumEnv``. No joint has rotor inertia,
so the motion depends on the ratios of mass, damping and gear only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, normal, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

POLE = 0.6  # m, each

# The state is three positions (cart, lower pole, upper pole), three velocities, three of the solver's, where the upper
# pole's tip is (m), and the constraints' force on the cart (N).
CART, ANGLES, VELOCITY, FORCE = slice(0, 1), slice(1, 3), slice(3, 6), slice(12, 13)
LOWER_SPEED, UPPER_SPEED, TIP_X, TIP_HEIGHT = 4, 5, 9, 11


def _fields(data: Any) -> tuple[np.ndarray, ...]:
    return data.site_xpos[0], data.qfrc_constraint[:1]


simulation = Simulation(InvertedDoublePendulumEnv, "inverted_double_pendulum.xml", frame_skip=5, fields=_fields)


def start(draws: Tensor, p: Values) -> Tensor:
    """Cart (m) and angles (rad) uniform in +-0.1 around upright, velocities (m/s, rad/s) normal with deviation 0.1."""
    at, moving = draws.chunk(2, dim=-1)
    position, velocity = uniform(at, 0.1), normal(moving, 0.1)
    cart, lower, bend = position.unbind(-1)
    upper = lower + bend
    none = torch.zeros_like(cart)
    tip = (cart + POLE * (lower.sin() + upper.sin()), none, POLE * (lower.cos() + upper.cos()))
    return torch.cat((position, velocity, torch.zeros_like(velocity), torch.stack((*tip, none), dim=-1)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """50 ms under a command clipped to +-1; terminates if the tip is not above 1 m.

    The reward is 10 until termination, minus costs of the tip's distance from 2 m above the rail's middle and of the
    poles' angular velocities.
    """
    after = simulation.advance(state, action, p)
    lower, upper, x, height = (after[..., i] for i in (LOWER_SPEED, UPPER_SPEED, TIP_X, TIP_HEIGHT))
    fallen = height <= 1
    distance = 0.01 * x.square() + (height - 2).square()
    speed = 1e-3 * lower.square() + 5e-3 * upper.square()
    return after, 10 * (~fallen).to(state.dtype) - distance - speed, fallen


def observe(state: Tensor, p: Values) -> Tensor:
    """Cart's position, sines and cosines of the two angles, velocities and the force on the cart clipped to +-10."""
    cart, angles, velocity, force = (state[..., part] for part in (CART, ANGLES, VELOCITY, FORCE))
    return torch.cat((cart, angles.sin(), angles.cos(), velocity.clamp(-10, 10), force.clamp(-10, 10)), dim=-1)


family = PhysicsFamily(
    name="inverted_double_pendulum",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear")),
    observation_space=Box(-np.inf, np.inf, shape=(9,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(1,), dtype=np.float32),
    max_episode_steps=1000,
    draws=6,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/InvertedDoublePendulum-v5",
    twin=simulation.twin,
    show=show,
    solved=9100.0,
    source="gymnasium.envs.mujoco.inverted_double_pendulum_v5, inverted_double_pendulum.xml",
)
