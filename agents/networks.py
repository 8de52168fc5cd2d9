"""Networks applied to observations, and distributions made of a policy's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from hyperrl.agents.spec import ACTIVATIONS, AgentSpec


def grouped_mlp(layers: Sequence[Tensor], x_TNI: Tensor, activation: str) -> Tensor:
    """Apply T different networks to N inputs each, with one batched product for each layer.

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

    Same distributions as ``torch.multinomial`` and ``torch.normal``, without their checks: these read a tensor on the
    host, which a CUDA graph cannot capture.
    """
    if isinstance(distribution, Categorical):
        probs = distribution.probs
        return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)
    mean, std = distribution.mean, distribution.stddev
    return mean + std * torch.empty_like(mean).normal_(generator=generator)
