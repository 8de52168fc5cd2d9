"""The hypernetwork arm: every variant gets networks of its own, written from its context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hyperrl.agents.actor_critic import Normaliser, action_distribution, grouped_mlp
from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers


class HyperAgent(nn.Module):
    """Two hypernetworks, one for the policy's and one for the value network's weights."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normaliser = Normaliser(spec.observation)
        self.policy = Hypernetwork(spec.context, policy_layers(spec, spec.observation), spec.generator_hidden)
        self.value = Hypernetwork(spec.context, value_layers(spec, spec.observation), spec.generator_hidden)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of policy and value network, once per variant."""
        return torch.cat([self.policy(context_TC), self.value(context_TC)], dim=1)

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and values (T, N) in units of return."""
        policy, value = self._split(weights_TD)
        log_std = None if self.spec.discrete else policy.pop().unsqueeze(1)
        x_TNO = self.normaliser(obs_TNO)
        output = grouped_mlp(policy, x_TNO, self.spec.activation)
        value_TN = grouped_mlp(value, x_TNO, self.spec.activation).squeeze(2) * self.normaliser.value_scale
        return action_distribution(self.spec, output, log_std), value_TN

    def plain(self, weights_1D: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """One variant's policy and value network, as they were written."""
        policy, value = self._split(weights_1D)
        return [layer[0] for layer in policy], [layer[0] for layer in value]

    def _split(self, weights_TD: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        size = self.policy.head.out_features
        return self.policy.split(weights_TD[:, :size]), self.value.split(weights_TD[:, size:])
