"""ODE-1 and ODE-2: drive one number to zero where the parameters multiply the action (Beukman et al., 2023).

After M. Beukman, D. Jarvis, R. Klein, S. James and B. Rosman, "Dynamics Generalisation in Reinforcement Learning via
Adaptive Context-Aware Policies", NeurIPS 2023. With the action as a complex number u, x moves by
0.01 Re(c0 u + c1 u^2): the sign of the right action is that of c0, so no single policy serves both signs.
The task has no units.

Their score is the average evaluation reward (AER), the mean return over ``evaluation_grid``: on ODE-2, 159 for their
Decision Adapter, 109 for the context beside the observation, and 199.5 for a search over the actions of one step. The
splits divide that grid: ``interpolation`` is its part inside the training range, without the training variants, and
``extrapolation`` the part outside. Validation variants are drawn between the grid's points.

``weak`` is the task as in the actuator-inversion benchmark (``hyperrl.envs.aib``): a tenth of the action, other starts
and other splits.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs import aib
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.sketch import Sketch

TIME_STEP = 0.01
X_LIMIT = 20.0
BANDS = ((2.0, 0.05), (0.5, 1 / 4), (0.2, 1 / 3), (0.1, 1 / 2), (0.05, 1.0))
"""(bound, reward), the widest first: |x| below the bound gives the reward."""
TRAIN, WIDE = (-5.0, 5.0), (-10.0, 10.0)


def start(draws: Tensor, p: Values) -> Tensor:
    """Start at -1, -0.5, 0.5 or 1, equally often."""
    place = (4 * draws).floor()
    return 0.5 * place - 1 + 0.5 * (place >= 2)


def judged_start(draws: Tensor, p: Values) -> Tensor:
    """Start at 1."""
    return torch.ones_like(draws)


def step1(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Euler step of ODE-1, x' = x + 0.01 c0 Re(u) with u = 100 (a0 + i a1): the second action does nothing."""
    push = action[..., 0].clamp(-1, 1)
    return _move(state, p["c0"] * 100 * push)


def step2(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Euler step of ODE-2, x' = x + 0.01 Re(c0 u + c1 u^2) with u = 10 (a0 + i a1)."""
    real, imaginary = (10 * action.clamp(-1, 1)).unbind(-1)
    return _move(state, p["c0"] * real + p["c1"] * (real.square() - imaginary.square()))


def start_anywhere(draws: Tensor, p: Values) -> Tensor:
    """Start uniform in +-1."""
    return 2 * draws - 1


def step_weak(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """One Euler step of ODE-2 with a tenth of its action: u = a0 + i a1."""
    return step2(state, action.clamp(-1, 1) / 10, p)


def _move(state: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move x, clip it to +-20, and reward small |x|. Nothing terminates."""
    after = (state + TIME_STEP * rate.unsqueeze(-1)).clamp(-X_LIMIT, X_LIMIT)
    size = after.squeeze(-1).abs()
    reward = torch.zeros_like(size)
    for bound, pay in BANDS:
        reward = torch.where(size < bound, pay, reward)
    return after, reward, torch.zeros_like(size, dtype=torch.bool)


def twin(render_mode: str | None = None, **parameters: float) -> Sketch:
    """Renderer of a state: x on a line from -2 to 2, outside of which the reward is 0."""
    return Sketch(ode1.observation_space, ode1.action_space, BANDS[0][0], render_mode=render_mode)


def evaluation_grid(family: PhysicsFamily) -> np.ndarray:
    """The published grid (n, P): 201 values of c0 in [-10, 10], or 21 x 21 of c0 and c1, training variants included."""
    return _GRID[family.names]


def _splits(grid: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """The grid (n, P) without the training variants: the part within the training range, or the part outside."""
    new = ~(grid[:, None] == train).all(2).any(1)
    inside = (np.abs(grid) <= TRAIN[1]).all(1)
    return {"train": train, "interpolation": grid[new & inside], "extrapolation": grid[new & ~inside]}


_GRID = {
    ("c0",): np.linspace(*WIDE, 201).round(1)[:, None],
    ("c0", "c1"): np.array(list(product(np.linspace(*WIDE, 21), repeat=2))),
}
_TRAIN_1 = np.array([[-5.0], [-1.0], [1.0], [5.0]])
_TRAIN_2 = np.array([row for size in (1.0, 5.0) for row in product((size, 0.0, -size), repeat=2) if any(row)])
_FACTOR = ("log", "reciprocal", "sign")
"""Features of a factor of the action, as a ``gap`` would give them: this one may be 0."""
_C0 = Parameter("c0", "1", 1.0, TRAIN, WIDE, "[-100, 100]", "factor of u", scales=_FACTOR)
_C1 = Parameter("c1", "1", 0.0, TRAIN, WIDE, "[-100, 100]", "factor of u squared", scales=_FACTOR)
_SOURCE = (
    "Beukman et al., Dynamics Generalisation in Reinforcement Learning via Adaptive Context-Aware Policies, "
    "NeurIPS 2023"
)

ode1 = PhysicsFamily(
    name="ode1",
    parameters=(_C0,),
    observation_space=Box(-X_LIMIT, X_LIMIT, shape=(1,), dtype=np.float32),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=200,
    draws=1,
    start=start,
    judged_start=judged_start,
    step=step1,
    twin=twin,
    fixed=_splits(_GRID["c0",], _TRAIN_1),
    env_id="hyperrl/ODE1-v0",
    source=_SOURCE,
)

ode2 = PhysicsFamily(
    name="ode2",
    parameters=(_C0, _C1),
    observation_space=Box(-X_LIMIT, X_LIMIT, shape=(1,), dtype=np.float32),
    action_space=Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
    max_episode_steps=200,
    draws=1,
    start=start,
    judged_start=judged_start,
    step=step2,
    twin=twin,
    fixed=_splits(_GRID["c0", "c1"], _TRAIN_2),
    env_id="hyperrl/ODE2-v0",
    source=_SOURCE,
)

weak = replace(
    ode2,
    name="ode2_weak",
    start=start_anywhere,
    judged_start=None,
    step=step_weak,
    fixed=aib.splits((_C0, _C1)),
    env_id="hyperrl/ODE2Weak-v0",
    source=f"{_SOURCE}; action, starts and splits: {aib.SOURCE}",
)
