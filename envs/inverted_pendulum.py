"""InvertedPendulum: balance a pole on a cart with a motor that pushes the cart along a rail.

Equals ``gymnasium.envs.mujoco.inverted_pendulum_v5.InvertedPendulumEnv``. No joint has rotor inertia, so that mass,
damping and gear, scaled alike, leave the motion as it is: their ratios count.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, show, uniform
from hyperrl.envs.physics import PhysicsFamily

simulation = Simulation(InvertedPendulumEnv, "inverted_pendulum.xml", frame_skip=2, fields=None)


def start(draws: Tensor, p: Values) -> Tensor:
    """Cart (m, m/s) and pole (rad, rad/s) uniform in +-0.01 around rest."""
    return uniform(draws, 0.01)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """40 ms under a command clipped to +-3; it terminates where the pole leans by more than 0.2 rad, else pays 1."""
    after = simulation.advance(state, action, p)
    fallen = ~after.isfinite().all(-1) | (after[..., 1].abs() > 0.2)
    return after, (~fallen).to(state.dtype), fallen


def observe(state: Tensor, p: Values) -> Tensor:
    """Position of the cart and angle of the pole, and their velocities."""
    return state


family = PhysicsFamily(
    name="inverted_pendulum",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear")),
    observation_space=Box(-np.inf, np.inf, shape=(4,), dtype=np.float64),
    action_space=Box(-3.0, 3.0, shape=(1,), dtype=np.float32),
    max_episode_steps=1000,
    draws=4,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/InvertedPendulum-v5",
    twin=simulation.twin,
    show=show,
    training={**TRAINING, "gamma": 0.99},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
        "batch_size": 64,
        "n_steps": 32,
        "gamma": 0.999,
        "learning_rate": 0.000222425,
        "ent_coef": 1.37976e-07,
        "clip_range": 0.4,
        "n_epochs": 5,
        "gae_lambda": 0.9,
        "max_grad_norm": 0.3,
        "vf_coef": 0.19816,
    },
    solved=950.0,
    source="gymnasium.envs.mujoco.inverted_pendulum_v5, inverted_pendulum.xml",
)
