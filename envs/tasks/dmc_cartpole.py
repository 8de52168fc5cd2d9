"""dm_control's cartpole-balance: keep a pole upright on a cart, with little effort and in the middle of the rail.

Equals ``dm_control.suite.cartpole.balance``. The pole keeps its mass of 0.1 kg at every length. ``signed`` is the task
of the actuator-inversion benchmark (``hyperrl.envs.aib``), where the variant says which way the motor pushes.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.dm_control import STEPS, SuiteSimulation, gaussian
from hyperrl.envs.mujoco import normal, show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

# The state is the cart's position (m) and the pole's angle (rad), their velocities, and two of the solver's.
CART, ANGLE, VELOCITY, SPIN = 0, 1, slice(2, 4), 3


def _length(spec: mujoco.MjSpec, value: float) -> None:
    spec.geom("pole_1").fromto = [0, 0, 0, 0, 0, 2 * value]


simulation = SuiteSimulation("cartpole", observations=5, shapes={"length": _length})


def start(draws: Tensor, p: Values) -> Tensor:
    """Position uniform in +-0.1 m, angle uniform in +-0.034 rad, velocities normal with deviation 0.01."""
    cart, angle = uniform(draws[..., :1], 0.1), uniform(draws[..., 1:2], 0.034)
    velocity = normal(draws[..., 2:], 0.01)
    return torch.cat((cart, angle, velocity, torch.zeros_like(velocity)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """10 ms under one motor command, clipped to +-1.

    The reward is a product of four terms within [0, 1]: the pole upright, the cart in the middle, a small command, a
    small angular velocity. Nothing terminates.
    """
    after = simulation.advance(state, aib.turned(action, p), p)
    upright = (1 + after[..., ANGLE].cos()) / 2
    centred = (1 + gaussian(after[..., CART], 2)) / 2
    small_command = (4 + (1 - action[..., 0].to(state.dtype).square()).clamp(min=0)) / 5
    slow = (1 + gaussian(after[..., SPIN], 5)) / 2
    reward = upright * small_command * slow * centred
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """The cart's position, cosine and sine of the angle, and velocities."""
    cart, angle = state[..., [CART]], state[..., [ANGLE]]
    return torch.cat((cart, angle.cos(), angle.sin(), state[..., VELOCITY]), dim=-1)


_LENGTH = Parameter("length", "m", 0.5, (0.3, 0.85), (0.1, 2), "[0.02, 10]", "half the pole's length")

family = PhysicsFamily(
    name="dmc_cartpole_balance",
    parameters=(_LENGTH,),
    observation_space=simulation.observation_space,
    action_space=Box(-1.0, 1.0, shape=(1,), dtype=np.float32),
    max_episode_steps=STEPS,
    draws=4,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    fixed=aib.splits((_LENGTH,)),
    env_id="hyperrl/DMCCartpoleBalance-v0",
    twin=simulation.twin,
    show=show,
    source=f"dm_control.suite.cartpole; ranges: {aib.SOURCE}",
)

signed = aib.signed(family, "hyperrl/DMCCartpoleBalanceSigned-v0")
