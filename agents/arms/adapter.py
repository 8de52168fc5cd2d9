"""The Decision Adapter arm: shared networks, and before the last layer a bottleneck that the context generates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.agent import Agent
from hyperrl.agents.distributions import Distribution
from hyperrl.agents.hypernetwork import ChunkedHypernetwork
from hyperrl.agents.networks import action_distribution, grouped_mlp, shared_mlp
from hyperrl.agents.spec import ACTIVATIONS, AgentSpec, orthogonal_layers, policy_layers, value_layers


class AdapterAgent(Agent):
    """The Decision Adapter (Beukman et al., NeurIPS 2023), in a policy and in a value network.

    With x the features after the hidden layers, the last layer reads x + act(U act(V x + a) + b). U, V, a and b form
    the adapter, whose weights a chunked hypernetwork generates from the context; D counts those of both networks. The
    bottleneck V has an eighth of the features, 32 of 256 in the paper. In two things the authors' code differs: there U
    and b are random at first, here they are 0 for every context (U is small where act is relu, whose slope at 0 is 0);
    and here the last hidden layer ends with an activation before the adapter. Because of the skip connection a variant
    is no ordinary network.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        width = (spec.observation, *spec.hidden)[-1]
        gain = 0.01 if spec.activation == "relu" else 0.0
        adapter = orthogonal_layers(width, [max(1, width // 8)], width, gain)
        self.policy = nn.ParameterList(policy_layers(spec, spec.observation))
        self.value = nn.ParameterList(value_layers(spec, spec.observation))
        self.policy_adapter = ChunkedHypernetwork(spec.context, adapter, spec.generator_hidden)
        self.value_adapter = ChunkedHypernetwork(spec.context, adapter, spec.generator_hidden)

    @torch.no_grad()
    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layer of the value network."""
        for layer in list(self.value)[-2:]:
            layer.mul_(factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of the policy's and the value network's adapter, once per variant."""
        return torch.cat([self.policy_adapter(context_TC), self.value_adapter(context_TC)], dim=1)

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor, Tensor]:
        """Distribution over actions, values (T, N) in units of return, and the unchanged state."""
        distribution, state_TNH = self.decide(weights_TD, obs_TNO, state_TNH)
        return distribution, self.values(weights_TD, obs_TNO, state_TNH), state_TNH

    def decide(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and the unchanged state."""
        policy = list(self.policy)
        log_std = None if self.spec.discrete else policy.pop()
        adapter = self.policy_adapter.split(weights_TD.chunk(2, dim=1)[0])
        return action_distribution(self._output(policy, adapter, obs_TNO), log_std), state_TNH

    def values(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> Tensor:
        """Values (T, N) in units of return."""
        adapter = self.value_adapter.split(weights_TD.chunk(2, dim=1)[1])
        return self._output(list(self.value), adapter, obs_TNO).squeeze(2) * self.normaliser.value_scale

    def _output(self, layers: list[Tensor], adapter: list[Tensor], obs_TNO: Tensor) -> Tensor:
        *trunk, weight, bias = layers
        activation = ACTIVATIONS[self.spec.activation]
        x = self.normaliser(obs_TNO)
        if trunk:
            x = activation(shared_mlp(trunk, x, self.spec.activation))
        x = x + activation(grouped_mlp(adapter, x, self.spec.activation))
        return nn.functional.linear(x, weight, bias)
