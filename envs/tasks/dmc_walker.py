"""dm_control's walker-walk: walk along the x axis upright, on two legs with six motors.

Equals ``dm_control.suite.walker.walk``. Gravity and the motors' strength are those of the actuator-inversion benchmark
(``hyperrl.envs.aib``).
"""

from __future__ import annotations

import math

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.dm_control import STEPS, SuiteSimulation, gaussian, linear
from hyperrl.envs.mujoco import EDITS, show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

HEIGHT = 1.3  # m, of the torso where its position is 0
STAND, WALK = 1.2, 1.0  # m and m/s: height and speed that are paid in full
LOW, HIGH = np.radians(np.array([[-20.0, -150, -45, -20, -150, -45], [100, 0, 45, 100, 0, 45]]))
"""Ranges of hip, knee and ankle of the right leg, then of the left one."""
# The state is the torso's z and x (m) and pitch (rad), the right leg's three angles and the left leg's, 9 velocities, 9
# of the solver's, and the speed of the body's centre of mass (m/s).
Z, PITCH, RIGHT, LEFT, VELOCITY, SPEED = 0, 2, slice(3, 6), slice(6, 9), slice(9, 18), -1
JOINTS, REST = slice(3, 9), 9 + 9 + 1
"""Joints of both legs; numbers of a state after its positions."""


def _speed(data: mujoco.MjData) -> tuple[np.ndarray, ...]:
    return (data.sensor("torso_subtreelinvel").data[:1],)


simulation = SuiteSimulation(
    "walker",
    observations=24,
    frame_skip=10,
    edits={"gravity": EDITS["gravity"], "gear": EDITS["gear"]},
    fields=_speed,
    camera="side",
)


def start(draws: Tensor, p: Values) -> Tensor:
    """Pitch uniform in a turn, joints uniform in their ranges, at rest: the body may start in the ground."""
    low, high = (torch.as_tensor(end, dtype=draws.dtype, device=draws.device) for end in (LOW, HIGH))
    pitch, joints = uniform(draws[..., :1], math.pi), low + (high - low) * draws[..., 1:]
    before, after = (draws.new_zeros(*draws.shape[:-1], n) for n in (2, REST))
    return torch.cat((before, pitch, joints, after), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """25 ms under six motor commands, each clipped to +-1.

    The reward is within [0, 1], 1 for an upright torso at 1.2 m or higher and 1 m/s or faster. Nothing terminates.
    """
    after = simulation.advance(state, action, p)
    standing = gaussian((STAND - HEIGHT - after[..., Z]).clamp(min=0), STAND / 2)
    upright = (1 + after[..., PITCH].cos()) / 2
    moving = linear(WALK - after[..., SPEED], WALK / 2, value_at_margin=0.5)
    reward = (3 * standing + upright) / 4 * (5 * moving + 1) / 6
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """Cosine and sine of the inclination of the seven parts, the torso's height, and velocities."""
    pitch = state[..., PITCH, None]
    # a leg's joints turn the other way
    legs = (pitch - state[..., leg].cumsum(-1) for leg in (RIGHT, LEFT))
    inclination = torch.cat((pitch, *legs), dim=-1)
    turned = torch.stack((inclination.cos(), inclination.sin()), dim=-1).flatten(-2)
    return torch.cat((turned, HEIGHT + state[..., Z, None], state[..., VELOCITY]), dim=-1)


_PARAMETERS = (
    Parameter("gravity", "m/s2", 9.81, (4.91, 14.71), (0.98, 19.62), "[0, 100]", "acceleration of free fall"),
    Parameter("gear", "1", 1.0, (0.5, 1.5), (0.1, 2), "[0.05, 20]", "scale of every motor's gear"),
)

family = PhysicsFamily(
    name="dmc_walker_walk",
    parameters=_PARAMETERS,
    observation_space=simulation.observation_space,
    action_space=Box(-1.0, 1.0, shape=(6,), dtype=np.float32),
    max_episode_steps=STEPS,
    draws=7,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    fixed=aib.splits(_PARAMETERS),
    env_id="hyperrl/DMCWalkerWalk-v0",
    twin=simulation.twin,
    show=show,
    source=f"dm_control.suite.walker; ranges: {aib.SOURCE}",
)
