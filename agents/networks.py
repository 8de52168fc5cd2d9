"""Networks applied to observations, and distributions made of a policy's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hyperrl.agents.distributions import Categorical, Distribution, Gaussian
from hyperrl.agents.spec import ACTIVATIONS


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


def action_distribution(output_TNA: Tensor, log_std_T1A: Tensor | None) -> Distribution:
    """Distribution over actions: discrete from a policy's outputs, or Gaussian around them."""
    if log_std_T1A is None:
        return Categorical(output_TNA.log_softmax(-1))
    return Gaussian(output_TNA, log_std_T1A)
