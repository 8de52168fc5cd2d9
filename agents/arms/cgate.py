"""The context-gated arm cGate: features of the observation times features of the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import AgentSpec, policy_layers, repeated, value_layers
from hyperrl.agents.target import TargetNetworks


class CGateAgent(TargetNetworks):
    """cGate (Benjamins et al., TMLR 2023; a baseline of the Decision Adapter, Beukman et al., NeurIPS 2023).

    The output is f(h(s) * g(c)), elementwise: h the hidden layers, g a network that reads the context, f the last
    layer; policy and value share none. With c fixed it is an ordinary network whose last weights are W diag(g(c)).

    In Beukman et al.'s code h and g end with an activation in the critic and without one in the actor. Here, in both
    networks, h ends with one and g without. g starts at 1 for every context, as the hypernetwork arm starts with the
    same weights for all.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.policy = nn.ParameterList(policy_layers(spec, spec.observation))
        self.value = nn.ParameterList(value_layers(spec, spec.observation))
        neutral = [torch.ones((spec.observation, *spec.hidden)[-1])]
        self.policy_gate = Hypernetwork(spec.context, neutral, spec.generator_hidden)
        self.value_gate = Hypernetwork(spec.context, neutral, spec.generator_hidden)

    @torch.no_grad()
    def scale_values(self, factor: Tensor) -> None:
        """Multiply the last layer of the value network."""
        for layer in list(self.value)[-2:]:
            layer.mul_(factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D) of the gated policy and value network, once per variant."""
        policy = self._gated(list(self.policy), self.policy_gate(context_TC))
        return self.join(policy, self._gated(list(self.value), self.value_gate(context_TC)))

    def _gated(self, layers: list[Tensor], gate_TH: Tensor) -> list[Tensor]:
        last = 2 * len(self.spec.hidden)
        found = repeated(layers, len(gate_TH))
        found[last] = layers[last] * gate_TH.unsqueeze(1)
        return found
