"""The Decision Adapter arm against its formula: W (x + act(U act(V x + a) + b)) + c."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.spec import ACTIVATIONS
from hyperrl.agents.target import OrdinaryAgent


def by_hand(layers, adapter_D, obs_O, bottleneck=2, width=16):
    """One observation under one variant's adapter; the generated weights in the order V, a, U, b."""
    x = obs_O
    for weight, bias in (layers[:2], layers[2:4]):
        x = torch.tanh(weight @ x + bias)
    V, a, U, b = adapter_D.split([bottleneck * width, bottleneck, width * bottleneck, width])
    inner = torch.tanh(V.view(bottleneck, width) @ x + a)
    return layers[4] @ (x + torch.tanh(U.view(width, bottleneck) @ inner + b)) + layers[5]


def test_features_pass_a_generated_bottleneck_and_a_skip_before_the_last_layer(played):
    one = played("adapter", hidden=(8, 16))
    policy, value = list(one.agent.policy), list(one.agent.value)
    of_policy, of_value = one.agent.policy_adapter(one.context_TC), one.agent.value_adapter(one.context_TC)
    for t in range(5):
        for n in range(7):
            torch.testing.assert_close(one.mean[t, n], by_hand(policy, of_policy[t], one.obs_TNO[t, n]))
            torch.testing.assert_close(one.value[t, n], by_hand(value, of_value[t], one.obs_TNO[t, n])[0])
    assert of_policy.std(0).median() > 0.01  # so that the test tells variants apart


def test_the_bottleneck_is_an_eighth_of_the_features_and_both_adapters_are_generated():
    """32 of 256, as in the paper."""
    agent = ARMS["adapter"](AgentSpec(6, 3, True, 4, hidden=(256, 256)))
    assert [tuple(shape) for shape in agent.policy_adapter.shapes] == [(32, 256), (32,), (256, 32), (256,)]
    assert agent.generate(torch.randn(3, 4)).shape == (3, 2 * (2 * 32 * 256 + 32 + 256))


def test_at_first_the_adapter_changes_nothing():
    agent = ARMS["adapter"](AgentSpec(6, 3, True, 4, hidden=(16, 8)))
    obs_TNO = torch.randn(5, 7, 6)
    _, value_TN, _ = agent(agent.generate(torch.randn(5, 4)), obs_TNO, agent.begin(5, 7))
    x = obs_TNO
    value = list(agent.value)
    for weight, bias in (value[:2], value[2:4]):
        x = torch.tanh(x @ weight.T + bias)
    torch.testing.assert_close(value_TN, (x @ value[4].T + value[5])[..., 0])


def test_its_variants_are_no_ordinary_networks():
    assert not issubclass(ARMS["adapter"], OrdinaryAgent)


@pytest.mark.parametrize("spec", [AgentSpec(4, 2, True, 5), AgentSpec(17, 6, False, 7)])
def test_its_generators_are_smaller_than_its_networks(spec):
    agent = ARMS["adapter"](spec)
    networks = sum(layer.numel() for layer in (*agent.policy, *agent.value))
    assert sum(parameter.numel() for parameter in agent.parameters()) < 2 * networks


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_reach_both_generators_from_the_first_step(activation):
    agent = ARMS["adapter"](AgentSpec(6, 3, True, 4, hidden=(32,), activation=activation))
    distribution, value_TN, _ = agent(agent.generate(torch.randn(5, 4)), torch.randn(5, 7, 6), agent.begin(5, 7))
    (distribution.logits.square().sum() + value_TN.sum()).backward()
    for generator in (agent.policy_adapter, agent.value_adapter):
        assert generator.generator.head.weight.grad.abs().max() > 0
