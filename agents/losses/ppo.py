"""Proximal policy optimisation, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hyperrl.agents.distributions import Distribution
from hyperrl.agents.hypernetwork import weight_statistics
from hyperrl.agents.losses.objective import Batch, Terms


class PPOLoss(NamedTuple):
    """Parts of the loss; all but ``approx_kl_T`` are scalar tensors."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    approx_kl_T: Tensor
    """Estimated KL divergence of each variant's policy from the one that played the samples."""
    clip_fraction: Tensor


def ppo_loss(distribution: Distribution, value_TN: Tensor, batch: Batch, clip: float) -> PPOLoss:
    """Clipped surrogate loss (Schulman et al., 2017, equation 7).

    The value error is divided by ``return_scale_T1``; ``approx_kl_T`` is the low-variance estimate
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


@dataclass(frozen=True)
class PPO:
    """The meta-loop's objective: PPO, with optional terms on norm and variance of the generated weights."""

    clip: float
    """Largest change of an action's probability ratio with a gradient (epsilon in the paper)."""
    value_coef: float
    """Weight of the value error."""
    entropy_coef: float
    """Weight of the entropy bonus."""
    weight_norm_coef: float
    """Weight of the mean squared norm of the generated weights."""
    diversity_coef: float
    """Weight of a bonus on the variance of the generated weights across variants."""

    def terms(self, distribution: Distribution, value_TN: Tensor, batch: Batch, weights_TD: Tensor) -> Terms:
        """The loss of a batch, as ``Objective.terms``."""
        parts = ppo_loss(distribution, value_TN, batch, self.clip)
        loss = parts.policy + self.value_coef * parts.value - self.entropy_coef * parts.entropy
        if self.weight_norm_coef or self.diversity_coef:
            norm, diversity = weight_statistics(weights_TD)
            loss = loss + self.weight_norm_coef * norm - self.diversity_coef * diversity
        shown = {
            "policy_gradient_loss": parts.policy,
            "value_loss": parts.value,
            "entropy_loss": -parts.entropy,
            "clip_fraction": parts.clip_fraction,
        }
        return Terms(loss, parts.approx_kl_T, shown)
