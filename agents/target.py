"""An ordinary policy and value network for each variant, to which most arms reduce once the variants are fixed."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hyperrl.agents.agent import Agent
from hyperrl.agents.distributions import Distribution
from hyperrl.agents.networks import action_distribution, grouped_mlp
from hyperrl.agents.normaliser import Normaliser
from hyperrl.agents.spec import AgentSpec, layer_shapes, split_layers


class OrdinaryAgent(Agent):
    """An arm whose variants are ordinary networks without a state."""

    @property
    def target(self) -> TargetNetworks:
        """Networks that give with ``whole(weights_TD)`` the same outputs as this arm with ``weights_TD``."""
        raise NotImplementedError

    def whole(self, weights_TD: Tensor) -> Tensor:
        """Weights (T, W) of an ordinary policy and value network for each variant."""
        raise NotImplementedError

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor, Tensor]:
        """Distribution over actions, values (T, N) in units of return, and the unchanged state."""
        distribution, state_TNH = self.decide(weights_TD, obs_TNO, state_TNH)
        return distribution, self.values(weights_TD, obs_TNO, state_TNH), state_TNH


class Layers(NamedTuple):
    """Layers of T variants' networks, each (T, *shape): weight, bias, and so on."""

    policy: list[Tensor]
    """Policy's layers; for continuous actions the last one is the logarithms (T, A) of their standard deviations."""
    value: list[Tensor]


class TargetNetworks(OrdinaryAgent):
    """Networks whose weights (T, W) are arguments: the layers of the policy, then those of the value network."""

    def __init__(self, spec: AgentSpec, normaliser: Normaliser | None = None) -> None:
        super().__init__(spec, normaliser)
        self._policy = layer_shapes(spec.observation, spec.hidden, spec.action)
        self._policy += [] if spec.discrete else [torch.Size((spec.action,))]
        self._value = layer_shapes(spec.observation, spec.hidden, 1)

    @property
    def target(self) -> TargetNetworks:
        """Itself."""
        return self

    def whole(self, weights_TD: Tensor) -> Tensor:
        """All weights (T, W) of each variant's networks: the argument itself."""
        return weights_TD

    @property
    def policy_size(self) -> int:
        """Number of the policy's weights in W."""
        return sum(shape.numel() for shape in self._policy)

    def scaled_exploration(self, weights_TW: Tensor, times: float) -> Tensor:
        """The same networks, the standard deviations of continuous actions multiplied."""
        policy, value = self.split(weights_TW)
        return weights_TW if self.spec.discrete else self.join([*policy[:-1], policy[-1] + math.log(times)], value)

    def split(self, weights_TW: Tensor) -> Layers:
        """Layers of policy and value network."""
        layers = split_layers(weights_TW, [*self._policy, *self._value])
        return Layers(layers[: len(self._policy)], layers[len(self._policy) :])

    def join(self, policy: list[Tensor], value: list[Tensor]) -> Tensor:
        """Layers (T, *shape) as weights (T, W): the inverse of ``split``."""
        return torch.cat([layer.flatten(1) for layer in (*policy, *value)], dim=1)

    def decide(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and the unchanged state."""
        policy = self.split(weights_TD).policy
        log_std = None if self.spec.discrete else policy.pop().unsqueeze(1)
        output = grouped_mlp(policy, self.normaliser(obs_TNO), self.spec.activation)
        return action_distribution(output, log_std), state_TNH

    def values(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> Tensor:
        """Values (T, N) in units of return."""
        value = self.split(weights_TD).value
        output = grouped_mlp(value, self.normaliser(obs_TNO), self.spec.activation)
        return output.squeeze(2) * self.normaliser.value_scale
