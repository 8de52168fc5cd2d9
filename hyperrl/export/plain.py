"""A policy taken out of its arm, as plain layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from hyperrl.envs.actions import ends, first
from hyperrl.play.actors import half_ranges
from hyperrl.play.policy import VariantPolicy
from hyperrl.storage.agent import ordinary

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}
"""The activations of networks, as modules."""

Act = Callable[[np.ndarray], np.ndarray]
"""Observations (N, O), float32 -> actions (N,) or (N, A) in the units of the action space."""


class Plain(NamedTuple):
    """One variant's networks, which read normalised observations; means, values and deviations in the task's units."""

    policy: list[Tensor]
    """``[weight (H, I), bias (H,), ...]``: the logits of discrete actions, or the means of continuous ones."""
    value: list[Tensor]
    log_std_A: Tensor | None
    mean_O: Tensor
    scale_O: Tensor
    """An observation's distance from the mean is multiplied by it, and then clipped to +-``limit``."""
    limit: float
    low_A: Tensor | None
    high_A: Tensor | None
    """Ends of the variant's action space, float32 if that is, else float64; ``None`` where actions are discrete."""
    start: int
    """The number of the first action, where actions are discrete."""
    dtype: np.dtype
    """Of the variant's actions; they are rounded if it is one of whole numbers."""
    activation: str


@torch.no_grad()
def plain(policy: VariantPolicy) -> Plain:
    """Take a policy out of its arm: actions' half-ranges and the scale of values go into the last layers."""
    space = policy.family.action_space
    agent = ordinary(policy.agent, type(policy.agent).__name__, "files hold their layers")
    whole = agent.target.split(agent.whole(policy.weights_1D))
    actor, critic = ([layer[0].detach().cpu() for layer in layers] for layers in whole)
    scale = agent.normaliser.value_scale.cpu()
    critic[-2:] = [critic[-2] * scale, critic[-1] * scale]
    log_std = low = high = None
    own = policy.family.variant_action_space(policy.parameters)
    if isinstance(space, Box):
        centre, half = half_ranges(space)
        log_std = actor.pop() + half.log()
        actor[-2:] = [actor[-2] * half.unsqueeze(1), actor[-1] * half + centre]
        assert isinstance(own, Box)
        low, high = (torch.as_tensor(end) for end in ends(own))
    mean, multiplier = agent.normaliser.mean.cpu(), agent.normaliser.scale.cpu()
    limit, activation = agent.normaliser.limit, agent.spec.activation
    assert own.dtype is not None
    return Plain(actor, critic, log_std, mean, multiplier, limit, low, high, first(own), own.dtype, activation)
