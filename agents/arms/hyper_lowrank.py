"""The low-rank hypernetwork arm: shared networks, and for every variant a generated low-rank change of each layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, repeated, value_layers
from hyperrl.agents.target import TargetNetworks

RANK = 4


class HyperLowRankAgent(TargetNetworks):
    """Two networks, of the policy and of the values, with changes W(c) = W + B S(c) A of every layer.

    A layer's change has the form of LoRA (Hu et al., ICLR 2022, equation 3: W + B A) with a small square S between, as
    in LoRA-XS (Balazy et al., 2024). S alone is generated, so the parameters are those of one policy and one value
    network, a few more for A, B and the generators: not twice those of concat at the usual sizes. At first S is 0 for
    every context.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = LowRankNetwork(spec, policy_layers(spec, spec.observation))
        self.value = LowRankNetwork(spec, value_layers(spec, spec.observation))

    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layer of the value network and its change."""
        self.value.scale_last(factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of policy and value network, once per variant."""
        return self.join(self.policy(context_TC), self.value(context_TC))


class LowRankNetwork(nn.Module):
    """One network, and the generator of its changes. A bias is the last column of its layer's weight."""

    def __init__(self, spec: AgentSpec, initial: list[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            torch.cat([weight, bias.unsqueeze(1)], dim=1)
            for weight, bias in zip(initial[::2], initial[1::2], strict=False)
        )
        self.rest = nn.ParameterList(initial[2 * len(self.weights) :])
        # with inputs of size 1, A x and B (A x) have entries of size 1 as well
        self.right = nn.ParameterList(
            nn.init.orthogonal_(torch.empty(RANK, weight.shape[1])) for weight in self.weights
        )
        self.left = nn.ParameterList(torch.randn(weight.shape[0], RANK) for weight in self.weights)
        self.core = Hypernetwork(spec.context, [torch.zeros(RANK, RANK)] * len(self.weights), spec.generator_hidden)

    def forward(self, context_TC: Tensor) -> list[Tensor]:
        """Layers (T, *shape): weight, bias, and so on."""
        layers = []
        cores = self.core.split(self.core(context_TC))
        for weight, left, core_TRR, right in zip(self.weights, self.left, cores, self.right, strict=True):
            changed = weight + left @ core_TRR @ right
            layers += [changed[:, :, :-1], changed[:, :, -1]]
        return layers + repeated(list(self.rest), len(context_TC))

    @torch.no_grad()
    def scale_last(self, factor: Tensor) -> None:
        """Multiply the last layer of every variant's network by a scalar, in place."""
        self.weights[-1].mul_(factor)
        self.left[-1].mul_(factor)
