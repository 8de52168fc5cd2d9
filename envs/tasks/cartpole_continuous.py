"""CartPole with a continuous force, whose sign is that of a parameter.

The physics is that of ``hyperrl.envs.tasks.cartpole``. Under ``force`` and under ``-force`` the same action pushes the
cart to opposite sides, so no single policy serves both. ``d20`` and ``d100`` are the family with distractors.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.distractors import distractors
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.tasks import cartpole

# without a dimension, so that results have the dtype and device of the other operand
_ORIGINAL = {name: torch.tensor(value, dtype=torch.float64) for name, value in cartpole.family.defaults.items()}
_ACTIONS = Box(-1.0, 1.0, shape=(1,), dtype=np.float32)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """CartPole's step under ``force`` times the action, clipped to +-1; reward 1."""
    share = (action.squeeze(-1).clamp(-1, 1) + 1) / 2  # CartPole's actions: 0 pushes to the left, 1 to the right
    return cartpole.step(state, share, {**_ORIGINAL, "force_mag": p["force"], "length": p["length"]})


def twin(render_mode: str | None = None, force: float = 10.0, length: float = 0.5) -> CartPoleEnv:
    """Gymnasium's environment with the parameters, which draws a state; its actions are shares of ``force``."""
    env = cartpole.twin(render_mode, force_mag=abs(force), length=length)
    env.action_space = _ACTIONS
    return env


family = PhysicsFamily(
    name="cartpole_continuous",
    parameters=(
        Parameter("force", "N", 10.0, (-15, 15), (-25, 25), "[-100, 100]", "push of action 1, signed", gap=5),
        Parameter("length", "m", 0.5, (0.3, 0.85), (0.1, 2), "(0, 10]", "half the pole's length"),
    ),
    observation_space=cartpole.family.observation_space,
    action_space=_ACTIONS,
    max_episode_steps=500,
    draws=4,
    start=cartpole.start,
    step=step,
    held_out={"force": ((-15, -11.5), (11.5, 15)), "length": (0.3, 0.5)},
    env_id="hyperrl/CartPoleContinuous-v0",
    twin=twin,
    options=("low", "high"),
    source="gymnasium.envs.classic_control.cartpole, with an action between its two",
)

d20 = distractors(family, 20, env_id="hyperrl/CartPoleContinuousD20-v0")
d100 = distractors(family, 100, env_id="hyperrl/CartPoleContinuousD100-v0")
