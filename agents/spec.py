"""Sizes of the networks of an agent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class _Tanh(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(2 * x) - 1

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, y)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent, 2 / (1 + exp(-2 x)) - 1: within 2e-7 of ``torch.tanh`` and up to four times as fast."""
    return _Tanh.apply(x)


ACTIVATIONS = {"tanh": tanh, "relu": torch.relu, "silu": nn.functional.silu, "elu": nn.functional.elu}


@dataclass(frozen=True)
class AgentSpec:
    """The sizes from which an arm builds its networks.

    Raises:
        ValueError: a size is below 1, or the activation is unknown.
    """

    observation: int
    """O, entries of an observation."""
    action: int
    """A: entries of a continuous action, or number of discrete ones."""
    discrete: bool
    """Whether actions are discrete."""
    context: int
    """C, entries of a context."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the policy and of the value network."""
    activation: str = "tanh"
    """tanh, relu, silu or elu."""
    log_std: float = 0.0
    """Initial logarithm of the standard deviation of continuous actions."""
    generator_hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of the network that reads the context."""

    def __post_init__(self) -> None:
        for name in ("observation", "action", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be 1 or more")
        for name in ("hidden", "generator_hidden"):
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: widths must be 1 or more")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r}: unknown; choose from {', '.join(ACTIVATIONS)}")


def orthogonal_layers(inputs: int, hidden: Sequence[int], outputs: int, gain: float) -> list[Tensor]:
    """Weights and biases of a fully connected network, as PPO initialises them.

    Hidden layers are orthogonal with gain sqrt(2), the last one with ``gain``, biases zero (Engstrom et al.,
    2020, and Stable-Baselines3's ``ActorCriticPolicy``).

    Returns:
        ``[weight (H, inputs), bias (H,), ..., weight (outputs, H), bias (outputs,)]``.
    """
    sizes = [inputs, *hidden, outputs]
    gains = [math.sqrt(2)] * len(hidden) + [gain]
    layers = []
    for fan_in, fan_out, layer_gain in zip(sizes[:-1], sizes[1:], gains, strict=True):
        layers += [nn.init.orthogonal_(torch.empty(fan_out, fan_in), layer_gain), torch.zeros(fan_out)]
    return layers


def policy_layers(spec: AgentSpec, inputs: int) -> list[Tensor]:
    """Initial weights of a policy network; continuous actions add their log deviations (A,) at the end."""
    layers = orthogonal_layers(inputs, spec.hidden, spec.action, gain=0.01)
    return layers if spec.discrete else [*layers, torch.full((spec.action,), spec.log_std)]


def value_layers(spec: AgentSpec, inputs: int) -> list[Tensor]:
    """Initial weights of a value network."""
    return orthogonal_layers(inputs, spec.hidden, 1, gain=1.0)


def layer_shapes(inputs: int, hidden: Sequence[int], outputs: int) -> list[torch.Size]:
    """Shapes of the result of ``orthogonal_layers``."""
    sizes = [inputs, *hidden, outputs]
    return [torch.Size(shape) for fan_in, fan_out in pairwise(sizes) for shape in ((fan_out, fan_in), (fan_out,))]


def split_layers(weights_TD: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Weights (T, D), the layers flattened one after the other, as one tensor (T, *shape) a layer."""
    parts = weights_TD.split([shape.numel() for shape in shapes], dim=1)
    return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def repeated(layers: Sequence[Tensor], count: int) -> list[Tensor]:
    """The same layers for T = count networks, (T, *shape) each, without a copy."""
    return [layer.expand(count, *layer.shape) for layer in layers]
