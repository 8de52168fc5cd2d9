"""Running statistics of observations and returns."""

from __future__ import annotations

from collections.abc import Callable

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
    def update(
        self,
        obs_STEO: Tensor,
        returns_STE: Tensor,
        mean: Callable[[Tensor], Tensor] = lambda x: x,
        parts: int = 1,
    ) -> None:
        """Merge observations (S, T, E, O) and running discounted returns (S, T, E).

        Where they are one of several parts of the same size, ``mean`` gives the mean of a tensor over the parts.
        """
        obs_NO = obs_STEO.flatten(0, -2)
        size = len(obs_NO) * parts
        total = self.count + size
        share = size / total
        own = obs_NO.mean(0), returns_STE.mean()
        mean_O, mean_return = mean(own[0]), mean(own[1])
        delta = mean_O - self.mean
        var = mean(obs_NO.var(0, unbiased=False) + (own[0] - mean_O).square())
        self.var.copy_(torch.lerp(self.var, var, share) + delta.square() * share * (1 - share))
        self.mean.add_(delta * share)
        # returns that are all the same have no variance to be measured in
        return_var = mean(returns_STE.var(unbiased=False) + (own[1] - mean_return).square())
        return_var = return_var + 1e-8 * mean(returns_STE.square().mean())
        self.return_var.copy_(torch.lerp(self.return_var, return_var, share))
        self.count.copy_(total)
