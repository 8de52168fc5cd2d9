"""The concat arm: one policy and one value network that read the context beside the observation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.distributions import Distribution
from hyperrl.agents.networks import action_distribution, shared_mlp
from hyperrl.agents.spec import AgentSpec, policy_layers, repeated, value_layers
from hyperrl.agents.target import OrdinaryAgent, TargetNetworks


class ConcatAgent(OrdinaryAgent):
    """Generates the context itself: D is C."""

    def __init__(self, spec: AgentSpec, context: int | None = None) -> None:
        super().__init__(spec)
        inputs = spec.observation + (spec.context if context is None else context)
        self.policy = nn.ParameterList(policy_layers(spec, inputs))
        self.value = nn.ParameterList(value_layers(spec, inputs))

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, C)."""
        return context_TC

    def decide(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and the unchanged state."""
        policy = list(self.policy)
        log_std = None if self.spec.discrete else policy.pop()
        output = shared_mlp(policy, self._inputs(weights_TD, obs_TNO), self.spec.activation)
        return action_distribution(output, log_std), state_TNH

    def values(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> Tensor:
        """Values (T, N) in units of return."""
        output = shared_mlp(list(self.value), self._inputs(weights_TD, obs_TNO), self.spec.activation)
        return output.squeeze(2) * self.normaliser.value_scale

    def _inputs(self, context_TC: Tensor, obs_TNO: Tensor) -> Tensor:
        context_TNC = context_TC.unsqueeze(1).expand(-1, obs_TNO.shape[1], -1)
        return torch.cat([self.normaliser(obs_TNO), context_TNC], dim=2)

    @torch.no_grad()
    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layer of the value network."""
        for layer in list(self.value)[-2:]:
            layer.mul_(factor)

    @property
    def target(self) -> TargetNetworks:
        """Networks of the same sizes that read the observation alone."""
        return TargetNetworks(self.spec, self.normaliser)

    def whole(self, weights_TD: Tensor) -> Tensor:
        """All weights (T, W) of each variant's networks: the constant context becomes part of the first biases."""
        policy, value = self._absorb(list(self.policy), weights_TD), self._absorb(list(self.value), weights_TD)
        return self.target.join(policy, value)

    def _absorb(self, layers: list[Tensor], context_TC: Tensor) -> list[Tensor]:
        weight, bias, *rest = layers
        obs = self.spec.observation
        alike = repeated([weight[:, :obs], *rest], len(context_TC))
        return [alike[0], bias + context_TC @ weight[:, obs:].T, *alike[1:]]
