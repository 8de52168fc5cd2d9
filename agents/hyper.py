"""The hypernetwork arm: every variant gets networks of its own, written from its context."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers
from hyperrl.agents.target import TargetNetworks


class HyperAgent(TargetNetworks):
    """Two hypernetworks, one for the policy's and one for the value network's weights."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = Hypernetwork(spec.context, policy_layers(spec, spec.observation), spec.generator_hidden)
        self.value = Hypernetwork(spec.context, value_layers(spec, spec.observation), spec.generator_hidden)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of policy and value network, once per variant."""
        return torch.cat([self.policy(context_TC), self.value(context_TC)], dim=1)
