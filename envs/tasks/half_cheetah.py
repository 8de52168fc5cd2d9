"""HalfCheetah: run along the x axis on two legs with six motors.

``family`` equals ``gymnasium.envs.mujoco.half_cheetah_v5.HalfCheetahEnv``. ``velocity`` has a target speed and
``direction`` a direction; observations and physics are the same, so these parameters act on the reward only.
Their rewards, the weight of their control cost and their 200 steps are those of HalfCheetah-Vel and HalfCheetah-Dir of
the meta-learning literature (Finn et al., ICML 2017; Rakelly et al., ICML 2019).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import PARAMETERS, Simulation, normal, show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.05  # s

# The state is 9 positions, 9 velocities and 9 of the solver's.
POSITIONS = 9
X, BUT_X = 0, slice(1, 18)
"""The position along x; the other positions, and all velocities."""

simulation = Simulation(HalfCheetahEnv, "half_cheetah.xml", frame_skip=5)


def start(draws: Tensor, p: Values) -> Tensor:
    """Positions (m, rad) uniform in +-0.1 around the stance, velocities (m/s, rad/s) normal with deviation 0.1."""
    position, velocity = uniform(draws[..., :POSITIONS], 0.1), normal(draws[..., POSITIONS:], 0.1)
    return torch.cat((position, velocity, torch.zeros_like(velocity)), dim=-1)


def advance(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """50 ms under six motor commands, each clipped to +-1.

    Returns:
        The next state, the mean velocity along x (m/s), the squared action (T, E), and termination: always false.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., X] - state[..., X]) / TIME_STEP
    return after, velocity, action.to(state.dtype).square().sum(-1), torch.zeros_like(velocity, dtype=torch.bool)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the velocity minus 0.1 times the squared action."""
    after, velocity, effort, terminated = advance(state, action, p)
    return after, velocity - 0.1 * effort, terminated


def step_velocity(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is minus |velocity - ``target_velocity``|, minus 0.05 times the squared action."""
    after, velocity, effort, terminated = advance(state, action, p)
    return after, -(velocity - p["target_velocity"]).abs() - 0.05 * effort, terminated


def step_direction(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """The reward is the velocity times ``direction``, minus 0.05 times the squared action."""
    after, velocity, effort, terminated = advance(state, action, p)
    return after, p["direction"] * velocity - 0.05 * effort, terminated


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without that along x, and velocities."""
    return state[..., BUT_X]


family = PhysicsFamily(
    name="half_cheetah",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear", "friction")),
    observation_space=Box(-np.inf, np.inf, shape=(17,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(6,), dtype=np.float32),
    max_episode_steps=1000,
    draws=18,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/HalfCheetah-v5",
    twin=simulation.twin,
    show=show,
    solved=4800.0,
    source="gymnasium.envs.mujoco.half_cheetah_v5, half_cheetah.xml (Wawrzynski, 2009)",
)

velocity = replace(
    family,
    name="half_cheetah_velocity",
    parameters=(Parameter("target_velocity", "m/s", 1.5, (0, 3), (0, 4), "[-20, 20]", "target speed"),),
    max_episode_steps=200,
    step=step_velocity,
    held_out={"target_velocity": (1.2, 1.6)},
    env_id="hyperrl/HalfCheetahVelocity-v5",
    solved=None,
    source="gymnasium.envs.mujoco.half_cheetah_v5, rewarded as HalfCheetah-Vel (Rakelly et al., ICML 2019)",
)

direction = replace(
    family,
    name="half_cheetah_direction",
    parameters=(
        Parameter("direction", "1", 1.0, (-1, 1), (-1, 1), "[-1, 1]", "1 forwards, -1 backwards", gap=1),
        PARAMETERS["gravity"],
        PARAMETERS["mass"],
    ),
    max_episode_steps=200,
    step=step_direction,
    held_out={"gravity": (11, 15), "mass": (1.2, 1.5)},
    env_id="hyperrl/HalfCheetahDirection-v5",
    solved=None,
    source="gymnasium.envs.mujoco.half_cheetah_v5, rewarded as HalfCheetah-Dir (Rakelly et al., ICML 2019)",
)
