"""The interface of an objective: samples -> a loss, and scalars for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hyperrl.agents.distributions import Distribution


class Batch(NamedTuple):
    """Samples grouped by variant; if parameters drift, by the steps with one context."""

    obs_TNO: Tensor
    state_TNH: Tensor
    """State of the arm in which each observation was read."""
    action_TN: Tensor
    """(T, N), or (T, N, A) for continuous actions."""
    log_prob_TN: Tensor
    advantage_TN: Tensor
    """Mean 0 for each variant, divided by sqrt(var_t + 0.25 mean var), with the variances of its unscaled
    advantages."""
    return_TN: Tensor
    return_scale_T1: Tensor
    """Unit of each variant's value error: sqrt(variance of its returns + the family's ``return_var``)."""

    def take(self, rows_N: Tensor) -> Batch:
        """The given samples of every variant."""
        return self._select(lambda samples_TN: samples_TN.index_select(1, rows_N))

    def chunk(self, parts: int) -> list[Batch]:
        """The samples of every variant in so many parts, of one size but for the last."""
        size = -(-self.obs_TNO.shape[1] // parts)

        def part(start: int) -> Batch:
            return self._select(lambda samples_TN: samples_TN[:, start : start + size])

        return [part(start) for start in range(0, self.obs_TNO.shape[1], size)]

    def pick(self, rows_TN: Tensor) -> Batch:
        """The samples given for each variant."""
        variant_T1 = torch.arange(len(rows_TN), device=rows_TN.device).unsqueeze(1)
        return self._select(lambda samples_TN: samples_TN[variant_T1, rows_TN])

    def contexts(self, rows_R: Tensor) -> Batch:
        """All samples of the given rows."""
        return self._select(lambda samples_TN: samples_TN[rows_R])._replace(
            return_scale_T1=self.return_scale_T1[rows_R]
        )

    def _select(self, select: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            obs_TNO=select(self.obs_TNO),
            state_TNH=select(self.state_TNH),
            action_TN=select(self.action_TN),
            log_prob_TN=select(self.log_prob_TN),
            advantage_TN=select(self.advantage_TN),
            return_TN=select(self.return_TN),
            return_scale_T1=self.return_scale_T1,
        )


class Terms(NamedTuple):
    """Results of an objective on a batch."""

    loss: Tensor
    """Scalar, to be minimised."""
    approx_kl_T: Tensor
    """Estimated KL divergence of each variant's policy from the one that played the samples."""
    shown: dict[str, Tensor]
    """Name -> scalar, for TensorBoard."""


class Objective(Protocol):
    """A pure function of a batch and of the arm's outputs on it."""

    def terms(self, distribution: Distribution, value_TN: Tensor, batch: Batch, weights_TD: Tensor) -> Terms:
        """The loss of a batch.

        Args:
            distribution: distribution of the arm over actions (T, N) or (T, N, A).
            value_TN: values, in units of return.
            batch: samples.
            weights_TD: generated weights.
        """
