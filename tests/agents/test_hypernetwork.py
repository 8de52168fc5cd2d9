"""Generation: at first an orthogonally initialised network for every variant; gradients reach all of it."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import vector_to_parameters

from hyperrl.agents import AgentSpec
from hyperrl.agents.arms.hyper import HyperAgent
from hyperrl.agents.hypernetwork import Hypernetwork
from hyperrl.agents.spec import orthogonal_layers, policy_layers, value_layers

MODULES = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}
NETWORKS = [((64, 64), "tanh"), ((32,), "relu"), ((16, 24, 8), "silu"), ((5, 5, 5, 5), "elu"), ((), "tanh")]


def plain_network(sizes, activation):
    """A fully connected network as anyone would write it in PyTorch."""
    modules = []
    for fan_in, fan_out in pairwise(sizes):
        modules += [nn.Linear(fan_in, fan_out), MODULES[activation]()]
    return nn.Sequential(*modules[:-1])


def assert_orthogonal(network, last_gain):
    """W W^T = gain^2 I (W^T W where W is tall), gain sqrt 2 but for the last layer; biases 0."""
    linears = [module for module in network if isinstance(module, nn.Linear)]
    for linear in linears:
        gain = last_gain if linear is linears[-1] else math.sqrt(2)
        weight = linear.weight if linear.weight.shape[0] <= linear.weight.shape[1] else linear.weight.T
        gram = weight @ weight.T / gain**2
        torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=1e-5)
        assert not linear.bias.any()


@pytest.mark.parametrize("hidden", [(), (8,), (8, 16)])
def test_at_first_every_context_gets_the_initial_weights_bit_for_bit(hidden):
    initial = [torch.randn(5, 3), torch.randn(5), torch.randn(2, 5, 7), torch.randn(())]
    weights_TD = Hypernetwork(4, initial, hidden)(100 * torch.randn(9, 4))
    assert torch.equal(weights_TD, torch.cat([layer.flatten() for layer in initial]).expand(9, -1))


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize(("hidden", "activation"), NETWORKS)
def test_policies_at_initialisation_equal_an_orthogonally_initialised_network(hidden, activation, discrete):
    spec = AgentSpec(6, 3, discrete, context=4, hidden=hidden, activation=activation, log_std=-0.7)
    agent = HyperAgent(spec).double()
    context_TC, obs_TNO = 10 * torch.randn(5, 4).double(), torch.randn(5, 11, 6).double()
    weights_TD = agent.generate(context_TC)
    distribution, value_TN, _ = agent(weights_TD, obs_TNO, agent.begin(5, 11))

    policy = plain_network([6, *hidden, 3], activation).double()
    value = plain_network([6, *hidden, 1], activation).double()
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (policy, value)]
    policy_D, log_std_A, value_D = weights_TD[2].detach().split([sizes[0], 0 if discrete else 3, sizes[1]])
    vector_to_parameters(policy_D, policy.parameters())
    vector_to_parameters(value_D, value.parameters())
    assert_orthogonal(policy, last_gain=0.01)
    assert_orthogonal(value, last_gain=1.0)

    output, exact = policy(agent.normaliser(obs_TNO)), {"rtol": 1e-12, "atol": 1e-14}
    if discrete:
        torch.testing.assert_close(distribution.logits, output.log_softmax(2), **exact)
    else:
        assert torch.equal(log_std_A, torch.full((3,), -0.7).double())
        torch.testing.assert_close(distribution.mean, output, **exact)
        torch.testing.assert_close(distribution.stddev, log_std_A.exp().expand(5, 11, 3), **exact)
    expected = value(agent.normaliser(obs_TNO)).squeeze(2) * agent.normaliser.value_scale
    torch.testing.assert_close(value_TN, expected, **exact)


def test_initial_weights_are_what_torch_draws_from_the_same_seed():
    torch.manual_seed(7)
    agent = HyperAgent(AgentSpec(6, 3, True, context=4, hidden=(64, 32)))
    torch.manual_seed(7)
    drawn = [
        nn.init.orthogonal_(torch.empty(shape), gain)
        for shape, gain in (((64, 6), math.sqrt(2)), ((32, 64), math.sqrt(2)), ((3, 32), 0.01))
    ]
    parts = agent.policy.split(agent.policy(torch.randn(2, 4)))
    for expected, part_THI in zip(drawn, parts[::2], strict=True):
        assert torch.equal(part_THI, expected.expand(2, -1, -1))


def test_an_agents_layers_have_ppos_shapes_and_gains():
    spec = AgentSpec(6, 3, False, context=4, hidden=(8, 5), log_std=0.3)
    shapes = [(8, 6), (8,), (5, 8), (5,)]
    assert [tuple(layer.shape) for layer in policy_layers(spec, 6)] == [*shapes, (3, 5), (3,), (3,)]
    assert torch.equal(policy_layers(spec, 6)[-1], torch.full((3,), 0.3))
    assert [tuple(layer.shape) for layer in value_layers(spec, 6)] == [*shapes, (1, 5), (1,)]
    # a single row is orthogonal when its norm is the gain
    assert value_layers(spec, 6)[-2].norm().item() == pytest.approx(1.0)
    assert orthogonal_layers(9, (), 1, gain=3.0)[0].norm().item() == pytest.approx(3.0)


def test_gradients_reach_trunk_and_head_of_both_generators_after_one_step():
    """At the very first step the head's weights are 0 and shield the trunk; from the second on nothing is."""
    torch.manual_seed(0)
    agent = HyperAgent(AgentSpec(6, 3, True, context=4, hidden=(8, 8), generator_hidden=(12, 10)))
    optimiser = torch.optim.Adam(agent.parameters(), lr=1e-2)
    context_TC, obs_TNO, action_TN = torch.randn(5, 4), torch.randn(5, 7, 6), torch.randint(3, (5, 7))
    for step in range(2):
        distribution, value_TN, _ = agent(agent.generate(context_TC), obs_TNO, agent.begin(5, 7))
        optimiser.zero_grad()
        (-distribution.log_prob(action_TN).mean() + (value_TN - context_TC[:, :1]).square().mean()).backward()
        for generator in (agent.policy, agent.value):
            assert generator.head.weight.grad.abs().sum() > 0
            assert generator.head.bias.grad.abs().sum() > 0
            trunk = [parameter.grad.abs().sum() > 0 for parameter in generator.trunk.parameters()]
            assert len(trunk) == 4
            assert trunk == [step == 1] * 4
        optimiser.step()
    weights_TD = agent.generate(context_TC)
    assert (weights_TD[0] - weights_TD[1]).abs().max() > 1e-4


def test_no_gradient_flows_between_the_two_generators():
    agent = HyperAgent(AgentSpec(6, 3, True, context=4, hidden=(8,)))
    _, value_TN, _ = agent(agent.generate(torch.randn(5, 4)), torch.randn(5, 7, 6), agent.begin(5, 7))
    value_TN.sum().backward()
    assert agent.value.head.bias.grad.any()
    assert not agent.policy.head.bias.grad.any()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5),
    variants=st.integers(1, 5),
)
def test_any_shapes_are_generated_and_split_takes_the_flat_weights_apart_again(shapes, variants):
    initial = [torch.randn(shape) for shape in shapes]
    generator = Hypernetwork(3, initial, (5,))
    nn.init.normal_(generator.head.weight)
    weights_TD = generator(torch.randn(variants, 3))
    assert weights_TD.shape == (variants, sum(layer.numel() for layer in initial))
    parts = generator.split(weights_TD)
    assert [tuple(part.shape) for part in parts] == [(variants, *shape) for shape in shapes]
    assert torch.equal(torch.cat([part.reshape(variants, -1) for part in parts], dim=1), weights_TD)


def test_at_first_split_gives_back_the_initial_layers():
    initial = orthogonal_layers(3, (4, 5), 2, gain=1.0)
    generator = Hypernetwork(2, initial)
    for part, layer in zip(generator.split(generator(torch.randn(6, 2))), initial, strict=True):
        assert torch.equal(part, layer.expand(6, *layer.shape))


def test_a_hypernetwork_holds_a_copy_of_the_initial_weights():
    initial = [torch.ones(3)]
    generator = Hypernetwork(2, initial)
    initial[0].zero_()
    assert torch.equal(generator(torch.randn(1, 2)), torch.ones(1, 3))


@pytest.mark.parametrize("width", [16, 256])
def test_one_step_of_adam_moves_generated_weights_at_the_same_pace_whatever_the_trunks_width(width):
    """Each column of the head moves by the learning rate; scaled features sum up to sqrt(width) of it."""
    torch.manual_seed(0)
    generator = Hypernetwork(4, [torch.zeros(50)], (width,))
    context_TC = torch.randn(8, 4).sign()
    before = generator(context_TC)
    optimiser = torch.optim.Adam(generator.parameters(), lr=1e-3)
    generator(context_TC).sum().backward()
    optimiser.step()
    moved = (generator(context_TC) - before).abs().max().item()
    assert 1e-3 < moved < 1e-3 * (1 + width**0.5)
