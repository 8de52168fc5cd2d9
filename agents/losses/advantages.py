"""Estimates of advantages."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards_STE: Tensor,
    values_STE: Tensor,
    next_values_STE: Tensor,
    terminated_STE: Tensor,
    done_STE: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al., 2016, equation 16).

    ``next_values_STE`` are the values of the observation after each action, before any reset. A truncated episode is
    bootstrapped with them, a terminated one is not; the sum ends at both.

    Returns:
        Advantages (S, T, E).
    """
    # not a product: what an episode terminates in may be NaN
    delta_STE = rewards_STE + gamma * torch.where(terminated_STE, 0.0, next_values_STE) - values_STE
    decay_STE = gamma * gae_lambda * (~done_STE).to(rewards_STE.dtype)
    advantage = torch.zeros_like(delta_STE[0])
    advantages = []
    for delta, decay in zip(delta_STE.flip(0).unbind(0), decay_STE.flip(0).unbind(0), strict=True):
        advantage = delta + decay * advantage
        advantages.append(advantage)
    return torch.stack(advantages).flip(0)
