"""The interface of every arm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperrl.agents.distributions import Distribution
from hyperrl.agents.normaliser import Normaliser
from hyperrl.agents.spec import AgentSpec


class Agent(nn.Module):
    """An arm: contexts in, and for each variant a policy and a value network that read observations.

    An arm may have a state (T, N, H): ``forward`` reads it and returns the next one, ``remember`` adds the action and
    its reward, and ``restart`` clears it at the end of an episode. Most arms have no state: their H is 0.
    """

    state_size: int = 0
    """H, entries of the state of one copy."""

    def __init__(self, spec: AgentSpec, normaliser: Normaliser | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.normaliser = normaliser or Normaliser(spec.observation)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D), once per variant."""
        raise NotImplementedError

    def forward(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor, Tensor]:
        """Distribution over actions (T, N) or (T, N, A), values (T, N) in units of return, and the next state."""
        raise NotImplementedError

    def sequence(self, weights_TD: Tensor, obs_TSNO: Tensor, state_TSNH: Tensor) -> tuple[Distribution, Tensor]:
        """What ``forward`` answers to S steps that N copies have played, in their order: (T, S * N).

        An arm with a state computes it anew from the first one, so that gradients go through time.

        Args:
            weights_TD: generated weights.
            obs_TSNO: observations.
            state_TSNH: the states in which each was read when it was played.
        """
        distribution, value_TN, _ = self(weights_TD, obs_TSNO.flatten(1, 2), state_TSNH.flatten(1, 2))
        return distribution, value_TN

    def decide(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> tuple[Distribution, Tensor]:
        """What ``forward`` answers, without the values: acting needs none."""
        distribution, _, state_TNH = self(weights_TD, obs_TNO, state_TNH)
        return distribution, state_TNH

    def values(self, weights_TD: Tensor, obs_TNO: Tensor, state_TNH: Tensor) -> Tensor:
        """The values (T, N) alone."""
        value_TN: Tensor = self(weights_TD, obs_TNO, state_TNH)[1]
        return value_TN

    def scale_values(self, factor: Tensor) -> None:
        """Multiply the outputs of the value networks, before ``Normaliser.value_scale``, by a scalar, in place.

        Values then stay the same when that scale changes (PopArt, van Hasselt et al., 2016).
        """
        raise NotImplementedError

    def begin(self, variants: int, copies: int) -> Tensor:
        """The state (T, N, H) before the first observation: zeros."""
        return self.normaliser.mean.new_zeros(variants, copies, self.state_size)

    def remember(self, state_TNH: Tensor, action: Tensor, reward_TN: Tensor) -> Tensor:
        """The state after an action (T, N) or (T, N, A), as drawn, and its reward: unchanged by default."""
        return state_TNH

    def restart(self, state_TNH: Tensor, ended_TN: Tensor) -> Tensor:
        """The state with the copies that are true at the start of an episode: zeros there by default."""
        return torch.where(ended_TN.unsqueeze(-1), 0.0, state_TNH) if self.state_size else state_TNH
