"""Networks and losses.

Arms answer two calls: ``generate(context_TC) -> weights_TD``, and
``forward(weights_TD, obs_TNO) -> (distribution, value_TN)``. ``plain(weights_1D)`` takes one variant out of its arm.
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

    def plain(self, weights_1D: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What ``__call__`` does for one variant, as ordinary networks: those that a file can hold.

        Returns:
            Policy and value network, ``[weight (H, I), bias (H,), ...]`` from normalised observations to outputs and to
            values in the normaliser's scale; continuous actions add their log deviations (A,) to the policy's.
        """
