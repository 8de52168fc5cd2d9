"""Generalised advantage estimation and the PPO loss, as pure functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution


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

    ``next_values_STE`` are the values of what each action led to, before any reset. A truncated episode is
    bootstrapped with them, a terminated one is not; the sum stops at both.

    Returns:
        Advantages (S, T, E).
    """
    delta_STE = rewards_STE + gamma * next_values_STE * ~terminated_STE - values_STE
    decay_STE = gamma * gae_lambda * (~done_STE).to(rewards_STE.dtype)
    advantage = torch.zeros_like(delta_STE[0])
    advantages = []
    for delta, decay in zip(delta_STE.flip(0).unbind(0), decay_STE.flip(0).unbind(0), strict=True):
        advantage = delta + decay * advantage
        advantages.append(advantage)
    return torch.stack(advantages).flip(0)


class Batch(NamedTuple):
    """Samples grouped by variant; where parameters drift, a variant is another one at every step."""

    obs_TNO: Tensor
    action_TN: Tensor
    """(T, N), or (T, N, A) for continuous actions."""
    log_prob_TN: Tensor
    advantage_TN: Tensor
    """Mean 0 for each variant, in units of its deviation and half the family's, added as variances."""
    return_TN: Tensor
    return_scale_T1: Tensor
    """Unit of each variant's value error: the deviation of its returns and the family's, added as variances."""

    def take(self, rows_N: Tensor) -> Batch:
        """The given samples of every variant."""
        grouped = {name: getattr(self, name)[:, rows_N] for name in self._fields[:-1]}
        return self._replace(**grouped)

    def pick(self, rows_TN: Tensor) -> Batch:
        """The samples given for each variant."""
        variant_T1 = torch.arange(len(rows_TN), device=rows_TN.device).unsqueeze(1)
        grouped = {name: getattr(self, name)[variant_T1, rows_TN] for name in self._fields[:-1]}
        return self._replace(**grouped)


class PPOLoss(NamedTuple):
    """Terms of the loss, scalar tensors but for the divergence."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    approx_kl_T: Tensor
    """How far each variant's policy has moved."""
    clip_fraction: Tensor


def ppo_loss(distribution: Distribution, value_TN: Tensor, batch: Batch, clip: float) -> PPOLoss:
    """Clipped surrogate loss (Schulman et al., 2017, equation 7).

    The value error is in units of each variant's returns; ``approx_kl_T`` is the low-variance estimate
    E[r - 1 - log r] (Schulman, 2020, "Approximating KL divergence").
    """
    log_ratio_TN = distribution.log_prob(batch.action_TN) - batch.log_prob_TN
    ratio_TN = log_ratio_TN.exp()
    surrogate_TN = torch.min(ratio_TN * batch.advantage_TN, ratio_TN.clamp(1 - clip, 1 + clip) * batch.advantage_TN)
    error_TN = (value_TN - batch.return_TN) / batch.return_scale_T1
    with torch.no_grad():
        approx_kl_T = (ratio_TN - 1 - log_ratio_TN).mean(1)
        clip_fraction = ((ratio_TN - 1).abs() > clip).float().mean()
    return PPOLoss(
        policy=-surrogate_TN.mean(),
        value=error_TN.square().mean(),
        entropy=distribution.entropy().mean(),
        approx_kl_T=approx_kl_T,
        clip_fraction=clip_fraction,
    )
