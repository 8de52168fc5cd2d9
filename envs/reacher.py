"""Reacher: bring the tip of an arm with two motors to a target on a table.

Equals ``gymnasium.envs.mujoco.reacher_v5.ReacherEnv``. Gravity and friction do nothing here, and the arm's mass next to
nothing beside the rotors' inertia.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, show, uniform
from hyperrl.envs.physics import PhysicsFamily

LOWER, UPPER = 0.1, 0.11  # m, from shoulder to elbow and from elbow to tip
HEIGHT = 0.01  # m, of tip and target
TIP, TARGET = slice(12, 15), slice(15, 18)

# The state is the arm's two angles, the target's two coordinates (m), their velocities, four of the solver's, and where
# tip and target are (m).
simulation = Simulation(
    ReacherEnv,
    "reacher.xml",
    frame_skip=2,
    fields=lambda data: (data.body("fingertip").xpos, data.body("target").xpos),
)


def _polar(radius: Tensor | float, angle: Tensor) -> Tensor:
    return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)


def start(draws: Tensor, p: Values) -> Tensor:
    """Angles uniform in +-0.1 rad, the target within 0.2 m of the shoulder, velocities uniform in +-0.005 rad/s."""
    angles, velocity = uniform(draws[..., :2], 0.1), uniform(draws[..., 2:4], 0.005)
    target = _polar(0.2 * draws[..., 4].sqrt(), uniform(draws[..., 5], math.pi))
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
    """Cosines and sines of the angles, the target, angular velocities, and from target to tip."""
    angles, target, velocity = state[..., :2], state[..., 2:4], state[..., 4:6]
    apart = (state[..., TIP] - state[..., TARGET])[..., :2]
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
    training={**TRAINING, "gamma": 0.9},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
        "batch_size": 32,
        "n_steps": 512,
        "gamma": 0.9,
        "learning_rate": 0.000104019,
        "ent_coef": 7.52585e-08,
        "clip_range": 0.3,
        "n_epochs": 5,
        "gae_lambda": 1.0,
        "max_grad_norm": 0.9,
        "vf_coef": 0.950368,
    },
    solved=-3.75,
    source="gymnasium.envs.mujoco.reacher_v5, reacher.xml",
)
