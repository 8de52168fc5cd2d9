"""The low-rank hypernetwork arm against its formula: (W + B S(c) A) x, biases in the last column."""

import pytest
import torch

from hyperrl.agents import ARMS, AgentSpec


def by_hand(network, context_C, obs_O):
    """One observation under one variant: the change is applied to the features, no matrix of it is built."""
    h = obs_O
    cores = network.core(context_C[None])[0].view(3, 4, 4)
    for i in range(3):
        x = torch.cat([torch.tanh(h) if i else h, torch.ones(1).double()])
        h = network.weights[i] @ x + network.left[i] @ (cores[i] @ (network.right[i] @ x))
    return h


def test_each_layer_is_a_shared_one_and_a_generated_change(played):
    one = played("hyper_lowrank")
    for t, context_C in enumerate(one.context_TC):
        for n in range(7):
            obs_O = one.obs_TNO[t, n]
            torch.testing.assert_close(one.mean[t, n], by_hand(one.agent.policy, context_C, obs_O))
            torch.testing.assert_close(one.value[t, n], by_hand(one.agent.value, context_C, obs_O)[0])


def test_changes_between_variants_have_rank_4(played):
    one = played("hyper_lowrank", hidden=(32, 16))
    policy, _ = one.agent.split(one.agent.generate(one.context_TC))
    for weight, bias in (policy[:2], policy[2:4]):
        both = torch.cat([weight, bias.unsqueeze(2)], dim=2)
        assert torch.linalg.matrix_rank(both[1] - both[0], rtol=1e-9) == 4


@pytest.mark.parametrize(
    "spec", [AgentSpec(4, 2, True, 5, generator_hidden=(32,)), AgentSpec(6, 2, False, 5), AgentSpec(17, 6, False, 7)]
)
def test_it_has_fewer_than_twice_the_parameters_of_concat(spec):
    counts = {
        arm: sum(parameter.numel() for parameter in ARMS[arm](spec).parameters()) for arm in ("hyper_lowrank", "concat")
    }
    assert counts["concat"] < counts["hyper_lowrank"] < 2 * counts["concat"]
