"""dm_control's reacher: bring the finger of a two-link arm to a target on the plane.

``easy`` and ``hard`` equal ``dm_control.suite.reacher``; the target is larger in ``easy``. ``length`` scales both
links; their mass grows with them, because their density stays. ``easy_signed`` and ``hard_signed`` are tasks of the
actuator-inversion benchmark (``hyperrl.envs.aib``), where the variant says which way the motors turn.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.dm_control import STEPS, SuiteSimulation
from hyperrl.envs.mujoco import show, uniform
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

LINK = 0.12  # m, from shoulder to wrist and from wrist to finger
FINGER, EASY, HARD = 0.01, 0.05, 0.015  # m, radii of the finger and of the targets
BEND = math.radians(160)  # of the wrist, to both sides
NEAREST, FARTHEST = 0.05, 0.2  # m, from the shoulder to a target
# The state is the two angles (rad), their velocities, two of the solver's, and the target's two coordinates (m).
ANGLES, VELOCITY, MOTION, TARGET = slice(0, 2), slice(2, 4), slice(0, 6), slice(6, 8)


def _length(spec: mujoco.MjSpec, value: float) -> None:
    for name in ("arm", "hand"):
        geom = spec.geom(name)
        geom.fromto = np.array(geom.fromto) * [1, 1, 1, value, 1, 1]
    for name in ("hand", "finger"):
        body = spec.body(name)
        body.pos = np.array(body.pos) * [value, 1, 1]


simulation = SuiteSimulation("reacher", observations=6, shapes={"length": _length})


def start(draws: Tensor, p: Values) -> Tensor:
    """The shoulder's angle uniform in a turn, the wrist's within its range, both at rest; the target within a ring."""
    shoulder, wrist, direction, distance = draws.unbind(-1)
    angles = torch.stack((uniform(shoulder, math.pi), uniform(wrist, BEND)), dim=-1)
    radius, turn = NEAREST + (FARTHEST - NEAREST) * distance, 2 * math.pi * direction
    target = torch.stack((radius * turn.sin(), radius * turn.cos()), dim=-1)
    return torch.cat((angles, torch.zeros_like(draws), target), dim=-1)


def _to_target(state: Tensor, p: Values) -> Tensor:
    """From finger to target (T, E, 2)."""
    shoulder, whole = state[..., 0], state[..., ANGLES].sum(-1)
    link = LINK * p["length"]
    finger = torch.stack((link * (shoulder.cos() + whole.cos()), link * (shoulder.sin() + whole.sin())), dim=-1)
    return state[..., TARGET] - finger


def _step(state: Tensor, action: Tensor, p: Values, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """20 ms under two motor commands, each clipped to +-1.

    The reward is 1 where the finger touches the target, of ``radius``, else 0. Nothing terminates.
    """
    motion = simulation.advance(state[..., MOTION], aib.turned(action, p), p)
    after = torch.cat((motion, state[..., TARGET]), dim=-1)
    reward = (_to_target(after, p).norm(dim=-1) <= radius + FINGER).to(state.dtype)
    return after, reward, torch.zeros_like(reward, dtype=torch.bool)


def step_easy(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """With the larger target."""
    return _step(state, action, p, EASY)


def step_hard(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """With the smaller target."""
    return _step(state, action, p, HARD)


def observe(state: Tensor, p: Values) -> Tensor:
    """The angles, the vector from finger to target, and angular velocities."""
    return torch.cat((state[..., ANGLES], _to_target(state, p), state[..., VELOCITY]), dim=-1)


def _show(twin: Any, state: np.ndarray, action: Any, radius: float) -> None:
    target = twin.model.geom("target")
    target.pos[:2], target.size[0] = state[TARGET], radius
    show(twin, state, action)


def show_easy(twin: Any, state: np.ndarray, action: Any) -> None:
    """Set the arm and the larger target in the twin."""
    _show(twin, state, action, EASY)


def show_hard(twin: Any, state: np.ndarray, action: Any) -> None:
    """Set the arm and the smaller target in the twin."""
    _show(twin, state, action, HARD)


_LENGTH = Parameter("length", "1", 1.0, (0.8, 1.2), (0.4, 1.6), "[0.1, 5]", "scale of both links' lengths")

easy = PhysicsFamily(
    name="dmc_reacher_easy",
    parameters=(_LENGTH,),
    observation_space=simulation.observation_space,
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=STEPS,
    draws=4,
    start=start,
    step=step_easy,
    observe=observe,
    simulated=True,
    fixed=aib.splits((_LENGTH,)),
    env_id="hyperrl/DMCReacherEasy-v0",
    twin=simulation.twin,
    show=show_easy,
    source=f"dm_control.suite.reacher; ranges: {aib.SOURCE}",
)

hard = replace(easy, name="dmc_reacher_hard", step=step_hard, show=show_hard, env_id="hyperrl/DMCReacherHard-v0")

easy_signed = aib.signed(easy, "hyperrl/DMCReacherEasySigned-v0")
hard_signed = aib.signed(hard, "hyperrl/DMCReacherHardSigned-v0")
