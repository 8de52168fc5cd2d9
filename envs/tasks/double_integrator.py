"""Double integrator: push a mass on a plane into a small region in the middle, paid nothing on the way.

Two tasks of the actuator-inversion benchmark (``hyperrl.envs.aib``): ``signed``, without friction, where the variant
says which way the forces push, and ``friction``, with mass and friction as parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.sketch import Sketch

TIME_STEP = 0.1  # s
LIMIT = 1.0  # m and m/s, of each coordinate of position and velocity
FAR = 0.8  # m, least distance of each coordinate from the middle at a start
GOAL = 0.1  # m, radius


def start(draws: Tensor, p: Values) -> Tensor:
    """At rest near one of the four corners, each coordinate uniform in 0.8 to 1 m on either side."""
    side = 2 * draws - 1
    position = torch.where(side < 0, -1.0, 1.0) * (FAR + (LIMIT - FAR) * side.abs())
    return torch.cat((position, torch.zeros_like(position)), dim=-1)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One explicit Euler step of 0.1 s under a force (N) for each coordinate, clipped to +-1.

    Positions and velocities are clipped to +-1. The reward is 1 within 0.1 m of the middle, else 0. Nothing terminates.
    """
    force = aib.turned(action, p).clamp(-1, 1)
    position, velocity = state.chunk(2, dim=-1)
    pull = p["friction"].unsqueeze(-1) * velocity if "friction" in p else 0.0
    position = (position + TIME_STEP * velocity).clamp(-LIMIT, LIMIT)
    velocity = (velocity + TIME_STEP * (force - pull) / p["mass"].unsqueeze(-1)).clamp(-LIMIT, LIMIT)
    reward = (position.norm(dim=-1) <= GOAL).to(state.dtype)
    return torch.cat((position, velocity), dim=-1), reward, torch.zeros_like(reward, dtype=torch.bool)


def twin(render_mode: str | None = None, **parameters: float) -> Sketch:
    """Renderer of a state: the plane from above, with its middle."""
    return Sketch(friction.observation_space, friction.action_space, LIMIT, render_mode=render_mode)


_MASS = Parameter("mass", "kg", 1.0, (0.5, 1.5), (0.1, 2), "[0.05, 20]", "mass of the point")
_FRICTION = Parameter("friction", "N s/m", 1.0, (0.5, 1.5), (0.1, 2), "[0, 20]", "force against the velocity")

friction = PhysicsFamily(
    name="double_integrator_friction",
    parameters=(_MASS, _FRICTION),
    observation_space=Box(-LIMIT, LIMIT, shape=(4,), dtype=np.float32),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=100,
    draws=2,
    start=start,
    step=step,
    twin=twin,
    fixed=aib.splits((_MASS, _FRICTION)),
    env_id="hyperrl/DoubleIntegratorFriction-v0",
    source=aib.SOURCE,
)

_without = replace(friction, name="double_integrator", parameters=(_MASS,), fixed=aib.splits((_MASS,)))
signed = aib.signed(_without, "hyperrl/DoubleIntegratorSigned-v0")
