"""What the tests of single arms share: an arm away from its start, played on random inputs."""

from types import SimpleNamespace

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec


@pytest.fixture
def played():
    """The arm of a name with random weights in double precision, what it read, and its answers.

    Continuous actions; the normaliser leaves observations as they are, and values count in threes.
    """

    def make(arm, **sizes):
        torch.manual_seed(0)
        sizes = {"hidden": (16, 8), "generator_hidden": (12,), **sizes}
        agent = ARMS[arm](AgentSpec(6, 3, False, 4, **sizes)).double()
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        agent.normaliser.var.fill_(1 - 1e-8)
        agent.normaliser.return_var.fill_(9 - 1e-8)
        agent.requires_grad_(False)
        context_TC, obs_TNO = torch.randn(5, 4).double(), torch.randn(5, 7, 6).double()
        weights_TD = agent.generate(context_TC)
        distribution, value_TN, _ = agent(weights_TD, obs_TNO, agent.begin(5, 7))
        return SimpleNamespace(
            agent=agent, context_TC=context_TC, obs_TNO=obs_TNO, mean=distribution.mean, value=value_TN / 3
        )

    return make
