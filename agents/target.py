"""What every arm comes down to once its variants are fixed: an ordinary policy and value network for each."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hyperrl.agents.actor_critic import Normaliser, action_distribution, grouped_mlp
from hyperrl.agents.spec import AgentSpec, layer_shapes, split_layers


class TargetNetworks(nn.Module):
    """Networks whose weights (T, W) are handed in: the layers of the policy, then those of the value network."""

    def __init__(self, spec: AgentSpec, normaliser: Normaliser | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.normaliser = normaliser or Normaliser(spec.observation)
        self._policy = layer_shapes(spec.observation, spec.hidden, spec.action)
        self._policy += [] if spec.discrete else [torch.Size((spec.action,))]
        self._value = layer_shapes(spec.observation, spec.hidden, 1)

    @property
    def target(self) -> TargetNetworks:
        """Itself."""
        return self

    def whole(self, weights_TD: Tensor) -> Tensor:
        """Every weight of each variant's networks (T, W): those that it was handed."""
        return weights_TD

    @property
    def policy_size(self) -> int:
        """How many of W are the policy's."""
        return sum(shape.numel() for shape in self._policy)

    def bolder(self, weights_TW: Tensor, times: float) -> Tensor:
        """The same networks, the deviations of continuous actions multiplied."""
        policy, value = self.split(weights_TW)
        return weights_TW if self.spec.discrete else self.join([*policy[:-1], policy[-1] + math.log(times)], value)

    def split(self, weights_TW: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Layers of policy and value network, each (T, *shape); continuous actions end the policy's with (T, A)."""
        layers = split_layers(weights_TW, [*self._policy, *self._value])
        return layers[: len(self._policy)], layers[len(self._policy) :]

    def join(self, policy: list[Tensor], value: list[Tensor]) -> Tensor:
        """Layers (T, *shape) as weights (T, W): what ``split`` takes apart."""
        return torch.cat([layer.flatten(1) for layer in (*policy, *value)], dim=1)

    def forward(self, weights_TW: Tensor, obs_TNO: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and values (T, N) in units of return."""
        policy, value = self.split(weights_TW)
        log_std = None if self.spec.discrete else policy.pop().unsqueeze(1)
        x_TNO = self.normaliser(obs_TNO)
        output = grouped_mlp(policy, x_TNO, self.spec.activation)
        value_TN = grouped_mlp(value, x_TNO, self.spec.activation).squeeze(2) * self.normaliser.value_scale
        return action_distribution(self.spec, output, log_std), value_TN
