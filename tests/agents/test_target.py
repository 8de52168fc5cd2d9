"""Variants taken out of their arm play as they did within it."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.target import OrdinaryAgent


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("arm", [arm for arm, kind in ARMS.items() if issubclass(kind, OrdinaryAgent)])
def test_whole_networks_play_what_the_arm_plays(arm, discrete):
    generator = torch.Generator().manual_seed(0)
    agent = ARMS[arm](AgentSpec(3, 2, discrete, context=4, hidden=(8, 5)))
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    agent.normaliser.mean.add_(0.5)
    agent.normaliser.return_var.fill_(9.0)
    weights_TD = agent.generate(torch.randn(6, 4, generator=generator))
    obs_TNO = torch.randn(6, 7, 3, generator=generator)
    inside, value_TN, _ = agent(weights_TD, obs_TNO, agent.begin(6, 7))
    whole_TW = agent.whole(weights_TD)
    outside, again_TN, _ = agent.target(whole_TW, obs_TNO, agent.target.begin(6, 7))
    torch.testing.assert_close(again_TN, value_TN)
    action = outside.sample(generator)
    torch.testing.assert_close(outside.log_prob(action), inside.log_prob(action))
    policy, value = agent.target.split(whole_TW)
    a, b = agent.spec.hidden  # those given, or wider ones
    assert [tuple(layer.shape) for layer in value] == [(6, a, 3), (6, a), (6, b, a), (6, b), (6, 1, b), (6, 1)]
    assert torch.equal(agent.target.join(policy, value), whole_TW)
    assert "target" not in " ".join(agent.state_dict())
