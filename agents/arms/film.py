"""The FiLM arm: the context scales and shifts the hidden layers of one policy and one value network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, repeated, value_layers
from hyperrl.agents.target import TargetNetworks


class FilmAgent(TargetNetworks):
    """Feature-wise linear modulation (Perez et al., AAAI 2018, equation 2): FiLM(F) = gamma(c) F + beta(c).

    As in the paper, F is what a layer gives before its activation: h' = act(gamma (W h + b) + beta), elementwise. So a
    variant is an ordinary network with weights gamma W and biases gamma b + beta. Scales and shifts are generated as
    hyper generates weights; the generator's head is initialised as there (Bias-HyperInit, Beck et al., CoRL 2022): at
    first gamma is 1 and beta 0 for every context.

    Raises:
        ValueError: there is no hidden layer.
    """

    def __init__(self, spec: AgentSpec) -> None:
        if not spec.hidden:
            raise ValueError("hidden=(): this arm modulates hidden layers; choose one or more")
        super().__init__(spec)
        self.policy = nn.ParameterList(policy_layers(spec, spec.observation))
        self.value = nn.ParameterList(value_layers(spec, spec.observation))
        neutral = [part for width in spec.hidden for part in (torch.ones(width), torch.zeros(width))]
        self.policy_film = Hypernetwork(spec.context, neutral, spec.generator_hidden)
        self.value_film = Hypernetwork(spec.context, neutral, spec.generator_hidden)

    @torch.no_grad()
    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layer of the value network, which is not modulated."""
        for layer in list(self.value)[-2:]:
            layer.mul_(factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of the modulated policy and value network, once per variant."""
        policy = modulated(list(self.policy), self.policy_film.split(self.policy_film(context_TC)))
        value = modulated(list(self.value), self.value_film.split(self.value_film(context_TC)))
        return self.join(policy, value)


def modulated(layers: list[Tensor], film: list[Tensor]) -> list[Tensor]:
    """Layers (T, *shape) of one network, its first ones under T scales and shifts.

    Args:
        layers: ``[weight (H, I), bias (H,), ...]``.
        film: ``[scale (T, H), shift (T, H), ...]`` of the first layers.
    """
    found = []
    for weight, bias, scale_TH, shift_TH in zip(layers[::2], layers[1::2], film[::2], film[1::2], strict=False):
        found += [scale_TH.unsqueeze(2) * weight, scale_TH * bias + shift_TH]
    return found + repeated(layers[len(found) :], len(film[0]))
