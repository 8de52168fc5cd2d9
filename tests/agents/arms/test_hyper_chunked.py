"""The chunked hypernetwork arm against its formula: chunk k of the weights is w0_k + h(c, e_k)."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.hypernetwork import ChunkedHypernetwork


def h(generator, x):
    """The generator on one input, by hand: a hidden layer of 12 and the head, features of size 1 / sqrt(12)."""
    features = torch.tanh(generator.trunk[0].weight @ x + generator.trunk[0].bias)
    return generator.head.weight @ (features / 12**0.5) + generator.head.bias


def test_weights_are_written_chunk_by_chunk(played):
    one = played("hyper_chunked")
    weights_TD = one.agent.generate(one.context_TC)
    for t, context_C in enumerate(one.context_TC):
        rows = []
        for network in (one.agent.policy, one.agent.value):
            chunks = [h(network.generator, torch.cat([context_C, e_k])) for e_k in network.embedding_KZ]
            rows.append(network.initial + torch.cat(chunks)[: len(network.initial)])
        torch.testing.assert_close(weights_TD[t], torch.cat(rows))
    assert weights_TD.std(0).median() > 0.01  # so that the test tells variants apart


def test_its_networks_play_as_ordinary_ones(played):
    one = played("hyper_chunked")
    value = one.agent.split(one.agent.generate(one.context_TC)).value
    for t in range(5):
        x = one.obs_TNO[t]
        for i in (0, 2):
            x = torch.tanh(x @ value[i][t].T + value[i + 1][t])
        torch.testing.assert_close(one.value[t], (x @ value[4][t].T + value[5][t])[:, 0])


def test_it_starts_at_the_given_weights_and_scales_the_last_of_them():
    layers = [torch.randn(5, 3), torch.randn(5), torch.randn(2, 5), torch.randn(2)]
    network = ChunkedHypernetwork(4, layers, (6,), chunk=7, embedding=2)
    context_TC = torch.randn(3, 4)
    flat = torch.cat([layer.flatten() for layer in layers])
    torch.testing.assert_close(network(context_TC), flat.expand(3, -1))
    assert len(network.embedding_KZ) == 5  # 32 weights
    torch.nn.init.normal_(network.generator.head.weight)
    before = network(context_TC)
    network.scale_last(2, torch.tensor(3.0))
    torch.testing.assert_close(network(context_TC), torch.cat([before[:, :20], 3 * before[:, 20:]], dim=1))


@pytest.mark.parametrize(
    "spec", [AgentSpec(4, 2, True, 5, generator_hidden=(32,)), AgentSpec(6, 2, False, 5), AgentSpec(17, 6, False, 7)]
)
def test_it_has_fewer_than_twice_the_parameters_of_concat(spec):
    counts = {
        arm: sum(parameter.numel() for parameter in ARMS[arm](spec).parameters()) for arm in ("hyper_chunked", "concat")
    }
    assert counts["concat"] < counts["hyper_chunked"] < 2 * counts["concat"]
