"""Running statistics of observations and returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST = 1e-30
"""Added to variances by which is divided: they may be 0; to others it adds nothing."""


class Normaliser(nn.Module):
    """Running mean and variance of observations, and the running scale of returns.

    Frozen between calls of ``update`` (parallel variance: Chan, Golub and LeVeque, 1979). ``return_var`` is the mean
    over updates of the variance within each, so changes of the mean return during training do not enter it.
    """

    limit = 10.0
    """Deviations from the mean at which an observation is clipped, as by SB3's VecNormalize."""
    mean: Tensor
    var: Tensor
    count: Tensor
    return_var: Tensor

    def __init__(self, observation: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(observation))
        self.register_buffer("var", torch.ones(observation))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("return_var", torch.ones(()))

    def forward(self, obs: Tensor) -> Tensor:
        """Observations (..., O) with mean 0 and variance 1, clipped."""
        return ((obs - self.mean) * self.scale).clamp(-self.limit, self.limit)

    @property
    def scale(self) -> Tensor:
        """Factor (O,) of an observation's distance from the mean: 1 / sqrt(var + 1e-8 min(1, E obs^2)).

        What hardly varies is not blown up, and what is small in all is.
        """
        square = self.var + self.mean.square()
        return (self.var + 1e-8 * square.clamp(max=1) + SMALLEST).rsqrt()

    @property
    def value_scale(self) -> Tensor:
        """Units of return in one unit of a value network's output: sqrt(return_var)."""
        return (self.return_var + SMALLEST).sqrt()

    @torch.no_grad()
    def update(self, obs_STEO: Tensor, returns_STE: Tensor) -> None:
        """Merge observations (S, T, E, O) and running discounted returns (S, T, E)."""
        obs_NO = obs_STEO.flatten(0, -2)
        total = self.count + len(obs_NO)
        share = len(obs_NO) / total
        delta = obs_NO.mean(0) - self.mean
        var = obs_NO.var(0, unbiased=False)
        self.var.copy_(torch.lerp(self.var, var, share) + delta.square() * share * (1 - share))
        self.mean.add_(delta * share)
        # returns that are all the same have no variance to be measured in
        return_var = returns_STE.var(unbiased=False) + 1e-8 * returns_STE.square().mean()
        self.return_var.copy_(torch.lerp(self.return_var, return_var, share))
        self.count.copy_(total)
