"""The FiLM arm against its paper's formula, one variant and one observation at a time."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec


def by_hand(layers, film_D, obs_O):
    """act(gamma * (W h + b) + beta) in each of two hidden layers of 16 and 8, then the last layer."""
    h = obs_O
    for (weight, bias), gamma, beta in zip(
        [layers[:2], layers[2:4]], (film_D[:16], film_D[32:40]), (film_D[16:32], film_D[40:48]), strict=True
    ):
        h = torch.tanh(gamma * (weight @ h + bias) + beta)
    return layers[4] @ h + layers[5]


def test_hidden_layers_are_scaled_and_shifted_before_the_activation(played):
    one = played("film")
    policy, value = list(one.agent.policy), list(one.agent.value)
    for t, context_C in enumerate(one.context_TC):
        for n in range(7):
            film = one.agent.policy_film(context_C[None])[0]
            torch.testing.assert_close(one.mean[t, n], by_hand(policy, film, one.obs_TNO[t, n]))
            film = one.agent.value_film(context_C[None])[0]
            torch.testing.assert_close(one.value[t, n], by_hand(value, film, one.obs_TNO[t, n])[0])
    assert one.agent.policy_film(one.context_TC).std(0).min() > 0.01  # so that the test tells variants apart


def test_at_first_it_is_its_shared_network():
    agent = ARMS["film"](AgentSpec(6, 3, True, 4))
    policy, value = agent.split(agent.generate(torch.randn(5, 4)))
    for found, shared in ((policy, agent.policy), (value, agent.value)):
        for layer, expected in zip(found, shared, strict=True):
            torch.testing.assert_close(layer, expected.expand_as(layer))


def test_parameters_are_counted_by_hand():
    """Two networks, and of each 2 (H1 + H2) scales and shifts behind the features of the context."""
    agent = ARMS["film"](AgentSpec(6, 3, False, 4, hidden=(16, 8), generator_hidden=(12,)))
    networks = (7 * 16 + 17 * 8 + 9 * 3 + 3) + (7 * 16 + 17 * 8 + 9 * 1)
    assert sum(parameter.numel() for parameter in agent.parameters()) == networks + 2 * (5 * 12 + 13 * 2 * 24)


def test_without_hidden_layers_it_is_refused():
    with pytest.raises(ValueError, match=r"^hidden=\(\): this arm modulates hidden layers; choose one or more$"):
        ARMS["film"](AgentSpec(6, 3, True, 4, hidden=()))
