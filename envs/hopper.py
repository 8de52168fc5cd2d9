"""Hopper: jump along the x axis on one leg with three motors.

Equals ``gymnasium.envs.mujoco.hopper_v5.HopperEnv``.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.family import Values
from hyperrl.envs.mujoco import PARAMETERS, TRAINING, Simulation, show, uniform
from hyperrl.envs.physics import PhysicsFamily

TIME_STEP = 0.008  # s

simulation = Simulation(HopperEnv, "hopper.xml", frame_skip=4)


def start(draws: Tensor, p: Values) -> Tensor:
    """Upright, the torso 1.25 m high; positions (m, rad) and velocities (m/s, rad/s) uniform in +-0.005 around that."""
    stance = torch.zeros(12, dtype=draws.dtype, device=draws.device)
    stance[1] = 1.25
    return torch.cat((stance + uniform(draws, 0.005), torch.zeros_like(draws[..., 6:])), dim=-1)


def healthy(state: Tensor) -> Tensor:
    """The torso above 0.7 m, leaning by less than 0.2 rad, and nothing out of +-100."""
    height, angle = state[..., 1], state[..., 2]
    return (state[..., 2:12].abs() < 100).all(-1) & (height > 0.7) & (angle.abs() < 0.2)


def step(state: Tensor, action: Tensor, p: Values) -> tuple[Tensor, Tensor, Tensor]:
    """8 ms under three motor commands, each clipped to +-1; it terminates where it is no longer healthy.

    The reward is the velocity along x (m/s), plus 1 while healthy, minus 0.001 times the squared action.
    """
    after = simulation.advance(state, action, p)
    velocity = (after[..., 0] - state[..., 0]) / TIME_STEP
    alive = healthy(after)
    return after, velocity + alive.to(state.dtype) - 0.001 * action.to(state.dtype).square().sum(-1), ~alive


def observe(state: Tensor, p: Values) -> Tensor:
    """Positions without that along x, and velocities clipped to +-10."""
    return torch.cat((state[..., 1:6], state[..., 6:12].clamp(-10, 10)), dim=-1)


family = PhysicsFamily(
    name="hopper",
    parameters=tuple(PARAMETERS[name] for name in ("gravity", "mass", "damping", "gear", "friction")),
    observation_space=Box(-np.inf, np.inf, shape=(11,), dtype=np.float64),
    action_space=Box(-1.0, 1.0, shape=(3,), dtype=np.float32),
    max_episode_steps=1000,
    draws=12,
    start=start,
    step=step,
    observe=observe,
    simulated=True,
    held_out={"mass": (1.2, 1.5), "gear": (0.7, 1.0)},
    env_id="hyperrl/Hopper-v5",
    twin=simulation.twin,
    show=show,
    training={**TRAINING, "gamma": 0.99},
    expert={
        "total_timesteps": 1_000_000,
        "n_envs": 1,
        "normalize": True,
        "batch_size": 32,
        "n_steps": 512,
        "gamma": 0.999,
        "learning_rate": 9.80828e-05,
        "ent_coef": 0.00229519,
        "clip_range": 0.2,
        "n_epochs": 5,
        "gae_lambda": 0.99,
        "max_grad_norm": 0.7,
        "vf_coef": 0.835671,
        "log_std_init": -2,
        "ortho_init": False,
        "activation_fn": "ReLU",
        "net_arch": {"pi": [256, 256], "vf": [256, 256]},
    },
    solved=3800.0,
    source="gymnasium.envs.mujoco.hopper_v5, hopper.xml (Erez, Tassa and Todorov, 2011)",
)
