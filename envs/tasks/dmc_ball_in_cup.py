"""dm_control's ball_in_cup-catch: swing a ball on a string into a cup that two motors move in a plane.

Equals ``dm_control.suite.ball_in_cup.catch``. Gravity and the length of the string are those of the actuator-inversion
benchmark (``hyperrl.envs.aib``). With another string, the ball's height counts from another place, so that a ball at
height 0 hangs on a straight string.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.dm_control import STEPS, SuiteSimulation
from hyperrl.envs.mujoco import EDITS, show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

# The state is x and z of the cup and of the ball (m), their velocities, and four of the solver's.
CUP, BALL, MOTION = slice(0, 2), slice(2, 4), slice(0, 8)
STRING = 0.3  # m, of the original task
HANGING = -0.1  # m, from the cup's height to where a string begins
CAUGHT = 0.025  # m, half the sides of the square within the cup where a ball counts as caught
MIDDLE = -0.05  # m, from the cup's height to the middle of that square
TOUCH = 0.025 + 0.008  # m, between the ball's middle and the middle of a wall that it touches
WALLS = ((-0.05, 0.0), (-0.05, -0.075), (-0.025, -0.1), (0.025, -0.1), (0.05, -0.075), (0.05, 0.0))
"""x and z of the corners of the cup's walls, one after the other."""
ASIDE = 0.2  # m, in x from the cup, where no wall is
TRIES = 6


def _string(spec: mujoco.MjSpec, value: float) -> None:
    spec.tendon("string").range = [0, value]
    ball = spec.body("ball")
    ball.pos = np.array(ball.pos) + np.array([0, 0, STRING - value])


simulation = SuiteSimulation(
    "ball_in_cup",
    observations=8,
    frame_skip=10,
    edits={"gravity": EDITS["gravity"]},
    shapes={"string_length": _string},
    camera="cam1",
)


def _from_cup(state: Tensor, p: Values) -> Tensor:
    """From the cup's place to the ball (T, E, 2)."""
    x, z = (state[..., BALL] - state[..., CUP]).unbind(-1)
    return torch.stack((x, z + HANGING - p["string_length"]), dim=-1)


def _touches(ball: Tensor) -> Tensor:
    """Whether a ball (..., 2), seen from the cup, touches a wall: (...)."""
    corners = torch.tensor(WALLS, dtype=ball.dtype, device=ball.device)
    begin, along = corners[:-1], corners.diff(dim=0)
    apart = ball.unsqueeze(-2) - begin
    share = ((apart * along).sum(-1) / along.square().sum(-1)).clamp(0, 1)
    distance = (apart - share.unsqueeze(-1) * along).norm(dim=-1)
    return (distance < TOUCH).any(-1)


def start(draws: Tensor, p: Values) -> Tensor:
    """Cup and ball at rest: the ball's x uniform in +-0.2 m, its height in 0.2 to 0.5 m, drawn anew where it touches.

    After 6 draws that touch, the ball is put beside the cup.
    """
    x, z = draws.unflatten(-1, (TRIES, 2)).unbind(-1)
    tried = torch.stack((uniform(x, 0.2), 0.2 + 0.3 * z), dim=-1)
    lower = torch.stack((torch.zeros_like(p["string_length"]), p["string_length"] - HANGING), dim=-1).unsqueeze(-2)
    ball = torch.stack((torch.full_like(tried[..., 0, 0], ASIDE), tried[..., -1, 1]), dim=-1)
    touching = _touches(tried - lower)
    for i in reversed(range(TRIES)):
        ball = torch.where(touching[..., i, None], ball, tried[..., i, :])
    return torch.cat((torch.zeros_like(ball), ball, ball.new_zeros(*ball.shape[:-1], 8)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """20 ms under two motor commands, each clipped to +-1.

    The reward is 1 while the ball is in the cup, else 0. Nothing terminates.
    """
    after = simulation.advance(state, action, p)
    x, z = _from_cup(after, p).unbind(-1)
    reward = ((x.abs() < CAUGHT) & ((z - MIDDLE).abs() < CAUGHT)).to(state.dtype)
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def observe(state: Tensor, p: Values) -> Tensor:
    """Places of cup and ball, and velocities."""
    return state[..., MOTION]


_PARAMETERS = (
    Parameter("gravity", "m/s2", 9.81, (8, 12), (1, 20), "[0, 100]", "acceleration of free fall"),
    Parameter("string_length", "m", STRING, (0.24, 0.36), (0.1, 0.5), "[0.05, 0.65]", "length of the string"),
)

family = PhysicsFamily(
    name="dmc_ball_in_cup_catch",
    parameters=_PARAMETERS,
    observation_space=simulation.observation_space,
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=STEPS,
    draws=2 * TRIES,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    fixed=aib.splits(_PARAMETERS),
    env_id="hyperrl/DMCBallInCupCatch-v0",
    twin=simulation.twin,
    show=show,
    source=f"dm_control.suite.ball_in_cup; ranges: {aib.SOURCE}",
)
