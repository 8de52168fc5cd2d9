"""The cGate arm against its formula: the last layer of h(s) * g(c)."""

import torch

from hyperrl.agents import ARMS, AgentSpec


def by_hand(layers, gate_TH, obs_TNO):
    h = obs_TNO
    for weight, bias in (layers[:2], layers[2:4]):
        h = torch.tanh(torch.einsum("tni,oi->tno", h, weight) + bias)
    return torch.einsum("tni,oi->tno", h * gate_TH[:, None, :], layers[4]) + layers[5]


def test_features_of_the_observation_are_multiplied_by_those_of_the_context(played):
    one = played("cgate")
    gates = [gate(one.context_TC) for gate in (one.agent.policy_gate, one.agent.value_gate)]
    torch.testing.assert_close(one.mean, by_hand(list(one.agent.policy), gates[0], one.obs_TNO))
    torch.testing.assert_close(one.value, by_hand(list(one.agent.value), gates[1], one.obs_TNO)[..., 0])
    assert min(gate.std(0).min() for gate in gates) > 0.01  # so that the test tells variants apart


def test_parameters_are_counted_by_hand():
    """Two networks, and of each a gate of the last hidden layer's width behind the features of the context."""
    agent = ARMS["cgate"](AgentSpec(6, 3, True, 4, hidden=(16, 8), generator_hidden=(12,)))
    networks = (7 * 16 + 17 * 8 + 9 * 3) + (7 * 16 + 17 * 8 + 9 * 1)
    assert sum(parameter.numel() for parameter in agent.parameters()) == networks + 2 * (5 * 12 + 13 * 8)


def test_without_hidden_layers_observations_are_gated(played):
    one = played("cgate", hidden=())
    gate = one.agent.policy_gate(one.context_TC)
    weight, bias, _ = one.agent.policy
    torch.testing.assert_close(one.mean, (one.obs_TNO * gate[:, None]) @ weight.T + bias)
