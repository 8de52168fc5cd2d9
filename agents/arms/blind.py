"""The blind arm (domain randomisation): one policy and one value network for every variant, no context."""

from __future__ import annotations

from torch import Tensor

from hyperrl.agents.arms.concat import ConcatAgent
from hyperrl.agents.spec import AgentSpec


class BlindAgent(ConcatAgent):
    """Generates nothing: D is 0."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec, context=0)

    def generate(self, context_TC: Tensor) -> Tensor:
        """Weights (T, 0)."""
        return context_TC[:, :0]
