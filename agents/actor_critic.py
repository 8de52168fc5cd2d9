"""Networks applied to observations, and what a policy's output means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from hyperrl.agents.spec import ACTIVATIONS, AgentSpec


def grouped_mlp(layers: Sequence[Tensor], x_TNI: Tensor, activation: str) -> Tensor:
    """Apply T different networks to N inputs each, one batched product a layer.

    Args:
        layers: ``[weight (T, H, I), bias (T, H), ...]``.
        x_TNI: inputs.
        activation: between layers, not after the last.

    Returns:
        Outputs (T, N, H of the last layer).
    """
    for i in range(0, len(layers), 2):
        weight, bias = layers[i], layers[i + 1]
        x_TNI = torch.baddbmm(bias.unsqueeze(1), x_TNI, weight.transpose(1, 2))
        if i + 2 < len(layers):
            x_TNI = ACTIVATIONS[activation](x_TNI)
    return x_TNI


def shared_mlp(layers: Sequence[Tensor], x: Tensor, activation: str) -> Tensor:
    """Apply one network, ``[weight (H, I), bias (H,), ...]``, to inputs (..., I)."""
    for i in range(0, len(layers), 2):
        x = nn.functional.linear(x, layers[i], layers[i + 1])
        if i + 2 < len(layers):
            x = ACTIVATIONS[activation](x)
    return x


def action_distribution(spec: AgentSpec, output_TNA: Tensor, log_std_T1A: Tensor | None) -> Distribution:
    """Distribution over actions: (T, N) discrete from logits, or (T, N, A) Gaussian from means."""
    if log_std_T1A is None:
        return Categorical(logits=output_TNA, validate_args=False)
    std = log_std_T1A.exp().expand_as(output_TNA)
    return Independent(Normal(output_TNA, std, validate_args=False), 1, validate_args=False)


def sample(distribution: Distribution, generator: torch.Generator) -> Tensor:
    """Draw actions, (T, N) or (T, N, A), from an explicit generator.

    The draws of ``torch.multinomial`` and ``torch.normal`` without their checks, which read a tensor on the
    host and so keep a rollout out of a CUDA graph.
    """
    if isinstance(distribution, Categorical):
        probs = distribution.probs
        return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)
    mean, std = distribution.mean, distribution.stddev
    return mean + std * torch.empty_like(mean).normal_(generator=generator)


class Normaliser(nn.Module):
    """Running mean and variance of observations, and the running scale of returns.

    Frozen between calls of ``update`` (parallel variance: Chan, Golub and LeVeque, 1979). ``return_var`` is
    the mean over updates of the variance within each: returns that drift as a policy learns leave it alone.
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
        """What an observation's distance from the mean is multiplied by (O,)."""
        return (self.var + 1e-8).rsqrt()

    @property
    def value_scale(self) -> Tensor:
        """Return that one unit of a value network stands for."""
        return (self.return_var + 1e-8).sqrt()

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
        self.return_var.copy_(torch.lerp(self.return_var, returns_STE.var(unbiased=False), share))
        self.count.copy_(total)
