"""The concat arm: one policy and one value network that read the context beside the observation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hyperrl.agents.actor_critic import Normaliser, action_distribution, shared_mlp
from hyperrl.agents.spec import AgentSpec, policy_layers, value_layers


class ConcatAgent(nn.Module):
    """What it generates is the context itself."""

    def __init__(self, spec: AgentSpec, context: int | None = None) -> None:
        super().__init__()
        self.spec = spec
        inputs = spec.observation + (spec.context if context is None else context)
        self.normaliser = Normaliser(spec.observation)
        self.policy = nn.ParameterList(policy_layers(spec, inputs))
        self.value = nn.ParameterList(value_layers(spec, inputs))

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, C)."""
        return context_TC

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and values (T, N) in units of return."""
        context_TND = weights_TD.unsqueeze(1).expand(-1, obs_TNO.shape[1], -1)
        x = torch.cat([self.normaliser(obs_TNO), context_TND], dim=2)
        policy = list(self.policy)
        log_std = None if self.spec.discrete else policy.pop()
        output = shared_mlp(policy, x, self.spec.activation)
        value_TN = shared_mlp(list(self.value), x, self.spec.activation).squeeze(2) * self.normaliser.value_scale
        return action_distribution(self.spec, output, log_std), value_TN

    def plain(self, weights_1D: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Policy and value network for one variant: its context is constant, and so part of the first biases."""
        return self._absorb(self.policy, weights_1D[0]), self._absorb(self.value, weights_1D[0])

    def _absorb(self, layers: Iterable[Tensor], context_C: Tensor) -> list[Tensor]:
        weight, bias, *rest = layers
        obs = self.spec.observation
        return [weight[:, :obs], bias + weight[:, obs:] @ context_C, *rest]
