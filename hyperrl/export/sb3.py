"""Policies as Stable-Baselines3's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from torch import Tensor

from hyperrl.envs import Family, InputError
from hyperrl.envs.actions import first
from hyperrl.export.plain import ACTIVATIONS, Act, plain
from hyperrl.play.policy import VariantPolicy


def require_space(family: Family) -> None:
    """Refuse action spaces that Stable-Baselines3 does not know.

    Raises:
        InputError: continuous actions have no ends or are rounded, or discrete ones are not counted from 0.
    """
    space = family.action_space
    if isinstance(space, Box) and not space.is_bounded():
        raise InputError("format 'sb3': Stable-Baselines3 needs bounded actions; choose onnx or torch")
    if isinstance(space, Box) and space.dtype not in (np.float32, np.float64):
        raise InputError(f"format 'sb3': Stable-Baselines3 rounds no actions to {space.dtype}; choose onnx or torch")
    if first(space):
        raise InputError(
            f"format 'sb3': Stable-Baselines3 counts actions from 0, not from {first(space)}; choose onnx or torch"
        )


def write(policy: VariantPolicy, path: Path) -> None:
    """Write policy and value network as a model that goes on learning there."""
    found = plain(policy)
    env = policy.family.single(None, **policy.parameters)
    widths = {"pi": [len(bias) for bias in found.policy[1:-2:2]], "vf": [len(bias) for bias in found.value[1:-2:2]]}
    architecture = {"net_arch": widths, "activation_fn": ACTIVATIONS[found.activation], "ortho_init": False}
    model = PPO("MlpPolicy", env, gamma=policy.gamma, policy_kwargs=architecture, device="cpu")
    env.close()
    state: dict[str, Tensor] = {} if found.log_std_A is None else {"log_std": found.log_std_A}
    for layers, hidden, last in ((found.policy, "policy_net", "action_net"), (found.value, "value_net", "value_net")):
        # Stable-Baselines3's networks have no normaliser: it goes into the first layer, in float64 for the difference
        weight = layers[0].double() * found.scale_O
        layers = [weight.float(), (layers[1] - weight @ found.mean_O.double()).float(), *layers[2:]]
        for i in range(0, len(layers) - 2, 2):
            state[f"mlp_extractor.{hidden}.{i}.weight"], state[f"mlp_extractor.{hidden}.{i}.bias"] = layers[i : i + 2]
        state[f"{last}.weight"], state[f"{last}.bias"] = layers[-2:]
    model.policy.load_state_dict(state, strict=True)
    model.save(path)


def load(path: Path) -> Act:
    """Load a file as its user does."""
    model = PPO.load(path, device="cpu")
    return lambda obs_NO: model.predict(obs_NO, deterministic=True)[0]
