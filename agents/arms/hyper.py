"""The hypernetwork arm: for every variant, networks are generated from its context."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers
from hyperrl.agents.target import TargetNetworks


class HyperAgent(TargetNetworks):
    """Two hypernetworks, one for the weights of the policy and one for those of the value network."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = Hypernetwork(spec.context, policy_layers(spec, spec.observation), spec.generator_hidden)
        self.value = Hypernetwork(spec.context, value_layers(spec, spec.observation), spec.generator_hidden)

    def scale_values(self, factor: Tensor) -> None:
        """Multiply the part of the head that generates the last layers of the value networks."""
        self.value.scale_last(2, factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of policy and value network, once per variant."""
        return torch.cat([self.policy(context_TC), self.value(context_TC)], dim=1)
