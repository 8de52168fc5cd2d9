"""InvertedPendulum: balance a pole on a cart with a motor that pushes the cart along a rail.

Equals ``gymnasium.envs.mujoco.inverted_pendulum_v5.InvertedPendulumEnv``. No joint has rotor inertia, so the
motion depends on the ratios of mass, damping and gear only.
"""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, show, uniform
from hyperrl.envs.parameter import Values
from hyperrl.envs.physics import PhysicsFamily

ANGLE = 1  # of the pole (rad), in a state

simulation = Simulation(InvertedPendulumEnv, "inverted_pendulum.xml", frame_skip=2, fields=None)


def start(draws: Tensor, p: Values) -> Tensor:
    """Cart (m, m/s) and pole (rad, rad/s) uniform in +-0.01 around rest."""
    return uniform(draws, 0.01)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """40 ms under a command clipped to +-3; terminates if the pole leans by more than 0.2 rad; else the reward is 1."""
    after = simulation.advance(state, action, p)
    fallen = ~after.isfinite().all(-1) | (after[..., ANGLE].abs() > 0.2)
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
    solved=950.0,
    source="gymnasium.envs.mujoco.inverted_pendulum_v5, inverted_pendulum.xml",
)
