"""The recurrent arm against torch.nn.GRUCell, and against episodes played step by step."""

import pytest
import torch

from hyperrl.agents import AgentSpec
from hyperrl.agents.arms.recurrent import RecurrentAgent

T, S, N, OBS, A = 2, 7, 3, 4, 2


@pytest.fixture(params=["discrete", "continuous"])
def agent(request):
    torch.manual_seed(0)
    agent = RecurrentAgent(AgentSpec(OBS, A, request.param == "discrete", 3, hidden=(6, 5), log_std=-0.5))
    for parameter in agent.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    agent.normaliser.mean.fill_(0.5)
    agent.normaliser.var.fill_(4.0)
    agent.normaliser.return_var.fill_(9.0)
    return agent


def played(agent, seed=0):
    """Observations and states of S steps, played step by step; some episodes end on the way."""
    random = torch.Generator().manual_seed(seed)
    obs_TSNO = torch.randn(T, S, N, OBS, generator=random)
    ended_STN = torch.rand(S, T, N, generator=random) < 0.3
    state_TNH, states, values = agent.begin(T, N), [], []
    for s in range(S):
        states.append(state_TNH)
        distribution, value_TN, after_TNH = agent(torch.empty(T, 0), obs_TSNO[:, s], state_TNH)
        action = distribution.sample(random)
        values.append(value_TN)
        after_TNH = agent.remember(after_TNH, action, torch.randn(T, N, generator=random))
        state_TNH = agent.restart(after_TNH, ended_STN[s])
    return obs_TSNO, torch.stack(states, 1).detach(), torch.stack(values, 1), ended_STN


def test_its_unit_is_pytorchs(agent):
    """The gates, from what is read to the next hidden vector."""
    cell = torch.nn.GRUCell(5, 5)
    state = {"weight_ih": agent.input_weight, "bias_ih": agent.input_bias, "weight_hh": agent.weight}
    cell.load_state_dict({**state, "bias_hh": agent.bias})
    read_NI, hidden_NU = torch.randn(N, 5), torch.randn(N, 5)
    gates_NG = torch.nn.functional.linear(read_NI, agent.input_weight, agent.input_bias)
    torch.testing.assert_close(agent._unit(gates_NG, hidden_NU), cell(read_NI, hidden_NU))


def test_it_reads_observation_action_reward_and_ending_by_hand(agent):
    obs_TNO, state_TNH = torch.randn(1, 1, OBS), agent.begin(1, 1)
    action = torch.tensor([[1]]) if agent.spec.discrete else torch.tensor([[[0.3, -0.7]]])
    state_TNH = agent.remember(state_TNH, action, torch.tensor([[6.0]]))
    encoded = [0.0, 1.0] if agent.spec.discrete else [0.3, -0.7]
    expected = torch.cat([(obs_TNO[0, 0] - 0.5) / 2, torch.tensor([*encoded, 6.0 / 3, 0.0])])
    torch.testing.assert_close(agent._read(obs_TNO, state_TNH)[0, 0], gates(agent, expected), rtol=1e-4, atol=1e-5)
    begun = agent._read(obs_TNO, agent.begin(1, 1))[0, 0]
    fresh = torch.cat([(obs_TNO[0, 0] - 0.5) / 2, torch.tensor([0.0, 0.0, 0.0, 1.0])])
    torch.testing.assert_close(begun, gates(agent, fresh), rtol=1e-4, atol=1e-5)


def gates(agent, read):
    """Two hidden layers, and the unit's weights."""
    first, first_bias, second, second_bias = agent.trunk
    features = torch.tanh(second @ torch.tanh(first @ read + first_bias) + second_bias)
    return agent.input_weight @ features + agent.input_bias


def test_a_sequence_is_the_steps_as_they_were_played(agent):
    obs_TSNO, state_TSNH, value_TSN, ended_STN = played(agent)
    assert ended_STN[:-1].any()
    distribution, value_TN = agent.sequence(torch.empty(T, 0), obs_TSNO, state_TSNH)
    torch.testing.assert_close(value_TN.view(T, S, N), value_TSN)
    stepwise, _, _ = agent(torch.empty(T, 0), obs_TSNO.flatten(1, 2), state_TSNH.flatten(1, 2))
    torch.testing.assert_close(distribution.mode, stepwise.mode)


def test_gradients_go_through_time_and_not_over_the_end_of_an_episode(agent):
    obs_TSNO, state_TSNH, _, ended_STN = played(agent)
    obs_TSNO.requires_grad_()
    _, value_TN = agent.sequence(torch.empty(T, 0), obs_TSNO, state_TSNH)
    (gradient,) = torch.autograd.grad(value_TN.view(T, S, N)[:, -1].sum(), obs_TSNO)
    reached_TSN = gradient.abs().sum(-1) > 0
    for t in range(T):
        for n in range(N):
            ends = ended_STN[: S - 1, t, n].nonzero().flatten()
            begins = int(ends[-1]) + 1 if len(ends) else 0
            assert reached_TSN[t, :, n].tolist() == [s >= begins for s in range(S)]


def test_stored_hidden_vectors_but_the_first_do_not_matter(agent):
    """They are computed anew with the weights of now."""
    obs_TSNO, state_TSNH, _, _ = played(agent)
    other = state_TSNH.clone()
    other[:, 1:, :, : agent.units] = 9.0
    _, expected = agent.sequence(torch.empty(T, 0), obs_TSNO, state_TSNH)
    _, found = agent.sequence(torch.empty(T, 0), obs_TSNO, other)
    torch.testing.assert_close(found, expected)
    other[:, 0, :, : agent.units] = 9.0
    other[:, 0, :, -1] = 1.0
    _, found = agent.sequence(torch.empty(T, 0), obs_TSNO, other)
    assert (found - expected).abs().max() > 1e-3
