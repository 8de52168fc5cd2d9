"""Networks and losses.

Arms answer two calls: ``generate(context_TC) -> weights_TD``, and
``forward(weights_TD, obs_TNO) -> (distribution, value_TN)``. ``whole(weights_TD)``
takes variants out of their arm as ordinary networks, which ``target`` plays.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.distributions import Distribution

from hyperrl.agents.actor_critic import Normaliser
from hyperrl.agents.blind import BlindAgent
from hyperrl.agents.concat import ConcatAgent
from hyperrl.agents.hyper import HyperAgent
from hyperrl.agents.spec import AgentSpec
from hyperrl.agents.target import TargetNetworks

__all__ = ["ARMS", "Agent", "AgentSpec"]

ARMS = {"hyper": HyperAgent, "concat": ConcatAgent, "blind": BlindAgent}


class Agent(Protocol):
    """What every arm answers."""

    spec: AgentSpec
    normaliser: Normaliser

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, D), once per variant."""

    def __call__(self, weights_TD: Tensor, obs_TNO: Tensor) -> tuple[Distribution, Tensor]:
        """Distribution over actions (T, N) or (T, N, A), and values (T, N) in units of return."""

    @property
    def target(self) -> TargetNetworks:
        """Plays what ``whole`` answers as this arm plays what it was made of."""

    def whole(self, weights_TD: Tensor) -> Tensor:
        """Weights (T, W) of an ordinary policy and value network for each variant, taken out of the arm."""
