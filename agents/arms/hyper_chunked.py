"""The chunked hypernetwork arm: as hyper, but a small generator writes the networks chunk by chunk."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperrl.agents.hypernetwork import ChunkedHypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers
from hyperrl.agents.target import TargetNetworks


class HyperChunkedAgent(TargetNetworks):
    """Two chunked hypernetworks (Ha et al., ICLR 2017; von Oswald et al., ICLR 2020), of the policy and of the values.

    The parameters are those of one policy and one value network and of two generators that are smaller than these:
    not twice those of concat at the usual sizes.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = ChunkedHypernetwork(spec.context, policy_layers(spec, spec.observation), spec.generator_hidden)
        self.value = ChunkedHypernetwork(spec.context, value_layers(spec, spec.observation), spec.generator_hidden)

    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layers of the value networks."""
        self.value.scale_last(2, factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of policy and value network, once per variant."""
        return torch.cat([self.policy(context_TC), self.value(context_TC)], dim=1)
