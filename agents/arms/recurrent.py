"""The recurrent arm (RL2): one network with a memory that reads actions and rewards, and no context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.agent import Agent
from hyperrl.agents.distributions import Distribution
from hyperrl.agents.networks import action_distribution, shared_mlp
from hyperrl.agents.spec import ACTIVATIONS, AgentSpec, orthogonal_layers

GATES = 3


class RecurrentAgent(Agent):
    """RL2 (Duan et al., 2016; Wang et al., 2016): a gated recurrent unit (Cho et al., 2014) for policy and value.

    At each step it reads the observation, the previous action and reward, and whether an episode has just ended. The
    hidden layers come before the unit, whose size is the last one's; policy and value are linear in its output. D is 0:
    nothing is generated.

    The state (T, N, H) of a copy is its hidden vector, the previous action (one-hot where actions are discrete), the
    previous reward, and 1 once a step of the episode has been played. At the end of an episode all of it is cleared.
    In the papers the memory lives on through several episodes of one task; here a policy is judged by single episodes
    of a variant that it has not met.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.units = (spec.observation, *spec.hidden)[-1]
        self.state_size = self.units + spec.action + 2
        read = spec.observation + spec.action + 2
        trunk = orthogonal_layers(read, spec.hidden[:-1], self.units, gain=2**0.5) if spec.hidden else []
        inputs = self.units if spec.hidden else read
        self.trunk = nn.ParameterList(trunk)
        gates = [nn.init.orthogonal_(torch.empty(self.units, inputs)) for _ in range(GATES)]
        recurrent = [nn.init.orthogonal_(torch.empty(self.units, self.units)) for _ in range(GATES)]
        self.input_weight, self.input_bias = (
            nn.Parameter(torch.cat(gates)),
            nn.Parameter(torch.zeros(GATES * self.units)),
        )
        self.weight, self.bias = nn.Parameter(torch.cat(recurrent)), nn.Parameter(torch.zeros(GATES * self.units))
        self.policy = nn.ParameterList(orthogonal_layers(self.units, (), spec.action, gain=0.01))
        self.log_std = None if spec.discrete else nn.Parameter(torch.full((spec.action,), spec.log_std))
        self.value = nn.ParameterList(orthogonal_layers(self.units, (), 1, gain=1.0))

    @torch.no_grad()
    def scale_values(self, factor: Tensor) -> None:
        """Multiply the value's layer."""
        for layer in self.value:
            layer.mul_(factor)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, 0)."""
        return context_TC[:, :0]

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor, Tensor]:
        """Distribution over actions, values (T, N) in units of return, and the state with the next hidden vector."""
        hidden_TNU = self._unit(self._read(obs_TNO, state_TNH), state_TNH[..., : self.units])
        distribution, value_TN = self._answer(hidden_TNU)
        return distribution, value_TN, torch.cat([hidden_TNU, state_TNH[..., self.units :]], dim=-1)

    def sequence(self, weights_TD: Tensor, obs_TSNO: Tensor, state_TSNH: Tensor) -> tuple[Distribution, Tensor]:
        """As ``Agent.sequence``: gradients go through the hidden vectors, which are computed anew from the first one.

        What was read of actions and rewards is in the states that were stored; where one has played no step of its
        episode, the hidden vector is 0.
        """
        gates_TSNG = self._read(obs_TSNO, state_TSNH)
        going_TSN1 = state_TSNH[..., -1:]
        hidden_TNU, played = state_TSNH[:, 0, :, : self.units], []
        for gates_TNG, going_TN1 in zip(gates_TSNG.unbind(1), going_TSN1.unbind(1), strict=True):
            hidden_TNU = self._unit(gates_TNG, hidden_TNU * going_TN1)
            played.append(hidden_TNU)
        return self._answer(torch.stack(played, 1).flatten(1, 2))

    def remember(self, state_TNH: Tensor, action: Tensor, reward_TN: Tensor) -> Tensor:
        """The state after an action (T, N) or (T, N, A), as drawn, and its reward."""
        if self.spec.discrete:
            # one_hot would copy to the host
            action = (action.unsqueeze(-1) == torch.arange(self.spec.action, device=action.device)).to(reward_TN.dtype)
        played_TN1 = torch.ones_like(reward_TN).unsqueeze(-1)
        return torch.cat([state_TNH[..., : self.units], action, reward_TN.unsqueeze(-1), played_TN1], dim=-1)

    def _read(self, obs: Tensor, state: Tensor) -> Tensor:
        """What the unit's gates get from outside, for observations (..., O) and states (..., H)."""
        action, reward, played = state[..., self.units :].split([self.spec.action, 1, 1], dim=-1)
        limit = self.normaliser.limit
        scaled = (reward / self.normaliser.value_scale).clamp(-limit, limit)
        x = torch.cat([self.normaliser(obs), action, scaled, 1 - played], dim=-1)
        if len(self.trunk):
            x = ACTIVATIONS[self.spec.activation](shared_mlp(list(self.trunk), x, self.spec.activation))
        return nn.functional.linear(x, self.input_weight, self.input_bias)

    def _unit(self, gates_TNG: Tensor, hidden_TNU: Tensor) -> Tensor:
        """The next hidden vectors, as by ``torch.nn.GRUCell``."""
        reset, update, new = gates_TNG.chunk(GATES, dim=-1)
        own_reset, own_update, own_new = nn.functional.linear(hidden_TNU, self.weight, self.bias).chunk(GATES, dim=-1)
        keep = torch.sigmoid(update + own_update)
        candidate = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        return candidate + keep * (hidden_TNU - candidate)

    def _answer(self, hidden_TNU: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions, and values (T, N) in units of return."""
        output_TNA = shared_mlp(list(self.policy), hidden_TNU, self.spec.activation)
        value_TN = shared_mlp(list(self.value), hidden_TNU, self.spec.activation).squeeze(-1)
        return action_distribution(output_TNA, self.log_std), value_TN * self.normaliser.value_scale
