"""InvertedDoublePendulum: balance two poles, one on the other, on a cart with a motor that pushes it along a rail.

Equals ``gymnasium.envs.mujoco.inverted_double_pendulum_v5.InvertedDoublePendulumEnv``. No joint has rotor inertia, so
that mass, damping and gear, scaled alike, leave the motion as it is: their ratios count.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, normal, show, uniform
from hyperrl.envs.physics import PhysicsFamily

POLE = 0.6  # m, each

# The state is three positions, three velocities, three of the solver's, where the upper pole's tip is (m), and the
# constraints' force on the cart (N).
simulation = Simulation(
    InvertedDoublePendulumEnv,
    "inverted_double_pendulum.xml",
    frame_skip=5,
    fields=lambda data: (data.site_xpos[0], data.qfrc_constraint[:1]),
)


def start(draws: Tensor, p: Values) -> Tensor:
    """Cart (m) and angles (rad) uniform in +-0.1 around upright, velocities (m/s, rad/s) normal with deviation 0.1."""
    position, velocity = uniform(draws[..., :3], 0.1), normal(draws[..., 3:], 0.1)
    cart, lower = position[..., 0], position[..., 1]
    upper = lower + position[..., 2]
    none = torch.zeros_like(cart)
    tip = (cart + POLE * (lower.sin() + upper.sin()), none, POLE * (lower.cos() + upper.cos()))
    return torch.cat((position, velocity, torch.zeros_like(velocity), torch.stack((*tip, none), dim=-1)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """50 ms under a command clipped to +-1; it terminates where the tip is no higher than 1 m.

    The reward is 10 while it goes on, less what the tip's distance from 2 m above the rail's middle and the poles'
    angular velocities cost.
    """
    after = simulation.advance(state, action, p)
    lower, upper, x, height = (after[..., i] for i in (4, 5, 9, 11))
    fallen = height <= 1
    distance = 0.01 * x.square() + (height - 2).square()
    speed = 1e-3 * lower.square() + 5e-3 * upper.square()
    return after, 10 * (~fallen).to(state.dtype) - distance - speed, fallen


def observe(state: Tensor, p: Values) -> Tensor:
    """Cart's position, sines and cosines of the two angles, velocities and the force on the cart clipped to +-10."""
    cart, angles, velocity, force = state[..., :1], state[..., 1:3], state[..., 3:6], state[..., 12:]
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
    training={**TRAINING, "gamma": 0.99},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
        "batch_size": 512,
        "n_steps": 128,
        "gamma": 0.98,
        "learning_rate": 0.000155454,
        "ent_coef": 1.05057e-06,
        "clip_range": 0.4,
        "n_epochs": 10,
        "gae_lambda": 0.8,
        "max_grad_norm": 0.5,
        "vf_coef": 0.695929,
    },
    solved=9100.0,
    source="gymnasium.envs.mujoco.inverted_double_pendulum_v5, inverted_double_pendulum.xml",
)
