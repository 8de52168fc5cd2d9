"""The contract that every arm keeps, and probe tasks whose answers are known."""

import math

import pytest
import torch
from torch import nn

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.arms.concat import ConcatAgent
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.objective import Batch
from hyperrl.agents.losses.ppo import ppo_loss

T, N, OBS, A, C = 5, 7, 6, 3, 4

on_every_device = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here"),
        ),
    ],
)


@pytest.fixture(params=["discrete", "continuous"])
def spec(request):
    return AgentSpec(OBS, A, request.param == "discrete", C, hidden=(16, 8), log_std=-0.5, generator_hidden=(12,))


def build(arm, spec, seed=0, device="cpu"):
    torch.manual_seed(seed)
    return ARMS[arm](spec).to(device)


def inputs(device="cpu"):
    random = torch.Generator().manual_seed(1)
    return torch.randn(T, C, generator=random).to(device), torch.randn(T, N, OBS, generator=random).to(device)


def answer(agent, context_TC, obs_TNO, began=0):
    """Distribution and values of an arm that has just begun, or whose state, where it has one, is full of ones."""
    state_TNH = agent.begin(*obs_TNO.shape[:2]) + began
    distribution, value_TN, after_TNH = agent(agent.generate(context_TC), obs_TNO, state_TNH)
    assert after_TNH.shape == state_TNH.shape
    return distribution, value_TN


def outputs(agent, context_TC, obs_TNO):
    """Everything that an arm answers: the distribution's numbers and the values."""
    distribution, value_TN = answer(agent, context_TC, obs_TNO)
    policy = distribution.logits if agent.spec.discrete else torch.cat([distribution.mean, distribution.stddev], dim=2)
    return policy, value_TN


def train_step(agent, context_TC, obs_TNO):
    """One PPO step towards actions and values that differ between variants; leaves its gradients."""
    device = obs_TNO.device
    with torch.no_grad():
        distribution, _ = answer(agent, context_TC, obs_TNO, began=1)
        action = distribution.sample(torch.Generator(device).manual_seed(2))
        log_prob_TN = distribution.log_prob(action)
    random = torch.Generator(device).manual_seed(3)
    advantage_TN, return_TN = (torch.randn(T, N, generator=random, device=device) for _ in range(2))
    batch = Batch(
        obs_TNO=obs_TNO,
        state_TNH=agent.begin(T, N),
        action_TN=action,
        log_prob_TN=log_prob_TN,
        advantage_TN=advantage_TN,
        return_TN=return_TN,
        return_scale_T1=torch.ones(T, 1, device=device),
    )
    distribution, value_TN = answer(agent, context_TC, obs_TNO, began=1)
    loss = ppo_loss(distribution, value_TN, batch, clip=0.2)
    optimiser = torch.optim.Adam(agent.parameters(), lr=1e-2)
    optimiser.zero_grad()
    (loss.policy + 0.5 * loss.value - 0.01 * loss.entropy).backward()
    optimiser.step()


@pytest.mark.parametrize("arm", ARMS)
class TestEveryArm:
    @on_every_device
    def test_shapes(self, arm, spec, device):
        agent = build(arm, spec, device=device)
        context_TC, obs_TNO = inputs(device)
        weights_TD = agent.generate(context_TC)
        assert weights_TD.dim() == 2
        assert len(weights_TD) == T
        state_TNH = agent.begin(T, N)
        assert state_TNH.shape == (T, N, agent.state_size)
        distribution, value_TN, after_TNH = agent(weights_TD, obs_TNO, state_TNH)
        assert after_TNH.shape == state_TNH.shape
        assert value_TN.shape == (T, N)
        action = distribution.sample(torch.Generator(device).manual_seed(0))
        assert action.shape == ((T, N) if spec.discrete else (T, N, A))
        assert distribution.mode.shape == action.shape
        assert distribution.log_prob(action).shape == (T, N)
        assert distribution.entropy().shape == (T, N)
        decided, decided_TNH = agent.decide(weights_TD, obs_TNO, state_TNH)
        assert torch.equal(decided.mode, distribution.mode)
        assert torch.equal(decided.log_prob(action), distribution.log_prob(action))
        assert torch.equal(decided_TNH, after_TNH)
        assert torch.equal(agent.values(weights_TD, obs_TNO, state_TNH), value_TN)
        assert {x.device.type for x in (weights_TD, value_TN, action, after_TNH)} == {device}

    @on_every_device
    def test_after_one_step_gradients_reach_every_parameter(self, arm, spec, device):
        agent = build(arm, spec, device=device)
        context_TC, obs_TNO = inputs(device)
        for _ in range(2):
            train_step(agent, context_TC, obs_TNO)
        for name, parameter in agent.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
            assert parameter.grad.isfinite().all(), name

    def test_after_a_step_all_that_generate_react_to_the_context(self, arm, spec):
        agent = build(arm, spec)
        context_TC, obs_TNO = inputs()
        train_step(agent, context_TC, obs_TNO)
        same_obs = obs_TNO[:1].expand(T, -1, -1)
        reacts = [(x - x[:1]).abs().max().item() for x in outputs(agent, context_TC, same_obs)]
        if arm in ("blind", "recurrent"):
            assert agent.generate(context_TC).shape == (T, 0)
            assert max(reacts) < 1e-5
        else:
            assert min(reacts) > 1e-4

    def test_variants_do_not_leak_into_one_another(self, arm, spec):
        agent = build(arm, spec)
        context_TC, obs_TNO = inputs()
        train_step(agent, context_TC, obs_TNO)
        order = torch.tensor([3, 0, 4])
        for whole, part in zip(
            outputs(agent, context_TC, obs_TNO),
            outputs(agent, context_TC[order], obs_TNO[order]),
            strict=True,
        ):
            torch.testing.assert_close(whole[order], part, rtol=1e-5, atol=1e-6)

    def test_observations_are_normalised_and_values_are_in_units_of_return(self, arm, spec):
        agent = build(arm, spec)
        context_TC, obs_TNO = inputs()
        policy, value_TN = outputs(agent, context_TC, obs_TNO)
        agent.normaliser.mean.fill_(50.0)
        agent.normaliser.var.fill_(9.0)
        agent.normaliser.return_var.fill_(400.0)
        shifted_policy, shifted_value_TN = outputs(agent, context_TC, 50 + 3 * obs_TNO)
        torch.testing.assert_close(shifted_policy, policy, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(shifted_value_TN, 20 * value_TN, rtol=1e-4, atol=1e-4)

    def test_at_first_the_policy_is_nearly_indifferent(self, arm, spec):
        policy, _ = outputs(build(arm, spec), *inputs())
        if spec.discrete:
            torch.testing.assert_close(policy.exp(), torch.full((T, N, A), 1 / A), rtol=0, atol=0.02)
        else:
            torch.testing.assert_close(policy[..., :A], torch.zeros(T, N, A), rtol=0, atol=0.05)
            torch.testing.assert_close(policy[..., A:], torch.full((T, N, A), math.exp(-0.5)))

    def test_at_first_all_variants_are_alike(self, arm, spec):
        """But for concat, whose networks read the context from the start."""
        if issubclass(ARMS[arm], ConcatAgent) and arm != "blind":
            pytest.skip("reads the context with random weights")
        context_TC, obs_TNO = inputs()
        for output in outputs(build(arm, spec), context_TC, obs_TNO[:1].expand(T, -1, -1)):
            torch.testing.assert_close(output, output[:1].expand_as(output))

    def test_state_dict_round_trip(self, arm, spec, tmp_path):
        agent = build(arm, spec)
        context_TC, obs_TNO = inputs()
        agent.normaliser.update(obs_TNO[None] * 3 + 1, torch.randn(1, T, N))
        train_step(agent, context_TC, obs_TNO)
        torch.save(agent.state_dict(), tmp_path / "agent.pt")
        other = build(arm, spec, seed=1)
        other.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True), strict=True)
        for one, two in zip(outputs(agent, *inputs()), outputs(other, *inputs()), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": 0}, "observation=0: must be 1 or more"),
        ({"action": -1}, "action=-1: must be 1 or more"),
        ({"context": 0}, "context=0: must be 1 or more"),
        ({"hidden": (64, 0)}, r"hidden=\(64, 0\): widths must be 1 or more"),
        ({"generator_hidden": (0,)}, r"generator_hidden=\(0,\): widths must be 1 or more"),
        ({"activation": "sine"}, "activation='sine': unknown; choose from tanh, relu, silu, elu"),
    ],
)
def test_a_wrong_spec_names_the_value_and_the_bound(changes, message):
    with pytest.raises(ValueError, match=message):
        AgentSpec(**({"observation": OBS, "action": A, "discrete": True, "context": C} | changes))


def learn(arm, spec, context_TC, play, iterations, copies=32, gamma=0.9):
    """PPO in a few lines; ``play`` gives observations (S, T, E, O) and a function from actions to rewards."""
    agent = build(arm, spec)
    optimiser = torch.optim.Adam(agent.parameters())
    random = torch.Generator().manual_seed(0)
    variants = len(context_TC)
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - iteration / iterations)
        obs_STEO, reward_of = play(variants, copies, random)
        steps = len(obs_STEO)
        obs_TNO = obs_STEO.transpose(0, 1).flatten(1, 2)
        with torch.no_grad():
            distribution, value_TN = answer(agent, context_TC, obs_TNO)
            action = distribution.sample(random)
            log_prob_TN = distribution.log_prob(action)
        reward_STE = reward_of(action.view(variants, steps, copies, -1).transpose(0, 1))
        value_STE = value_TN.view(variants, steps, copies).transpose(0, 1)
        last = torch.zeros_like(reward_STE, dtype=torch.bool)
        last[-1] = True
        next_value_STE = torch.cat([value_STE[1:], torch.full_like(value_STE[:1], 1e6)])
        advantage_STE = gae(reward_STE, value_STE, next_value_STE, last, last, gamma, 0.95)
        advantage_TN, return_TN = (x.transpose(0, 1).flatten(1) for x in (advantage_STE, advantage_STE + value_STE))
        advantage_TN = (advantage_TN - advantage_TN.mean(1, keepdim=True)) / (advantage_TN.std(1, keepdim=True) + 1e-6)
        batch = Batch(
            obs_TNO=obs_TNO,
            state_TNH=agent.begin(*obs_TNO.shape[:2]),
            action_TN=action,
            log_prob_TN=log_prob_TN,
            advantage_TN=advantage_TN,
            return_TN=return_TN,
            return_scale_T1=torch.ones(variants, 1),
        )
        for _ in range(4):
            distribution, value_TN = answer(agent, context_TC, obs_TNO)
            loss = ppo_loss(distribution, value_TN, batch, clip=0.2)
            optimiser.zero_grad()
            (loss.policy + 0.5 * loss.value).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimiser.step()
    return agent


CONFLICT_TC = torch.tensor([[-1.0], [1.0]])
PROBE_TNO = torch.tensor([[-1.0], [1.0]]).expand(2, 2, 1)


def conflicting_bandit(discrete, signs=(-1.0, 1.0)):
    """One step: what is right for an observation, +1 or -1, in one variant is its opposite in the other."""

    def play(variants, copies, random):
        obs_STEO = torch.tensor(signs)[torch.randint(len(signs), (1, variants, copies, 1), generator=random)]
        right_STE = obs_STEO[..., 0] * CONFLICT_TC.view(1, 2, 1)

        def reward_of(action_STEA):
            if discrete:
                return (action_STEA[..., 0] * 2 - 1 == right_STE).float()
            return -(action_STEA[..., 0] - right_STE / 2).square()

        return obs_STEO, reward_of

    return play


def small(discrete, actions):
    return AgentSpec(1, actions, discrete, 1, hidden=(32, 32), log_std=-0.5, generator_hidden=(32,))


@pytest.mark.parametrize("arm", ["hyper", "concat"])
def test_probe_each_variant_learns_its_own_action(arm):
    """The best policy earns 1 in both variants, so values go to 1."""
    agent = learn(arm, small(True, 2), CONFLICT_TC, conflicting_bandit(True, signs=(1.0,)), iterations=40)
    distribution, value_TN = answer(agent, CONFLICT_TC, torch.ones(2, 1, 1))
    assert distribution.mode.tolist() == [[0], [1]]
    assert distribution.probs.max(2).values.min() > 0.95
    torch.testing.assert_close(value_TN, torch.ones(2, 1), rtol=0, atol=0.1)


def test_probe_blind_cannot_learn_conflicting_actions():
    """One policy for both variants earns 1/2 on average, whatever it does."""
    agent = learn("blind", small(True, 2), CONFLICT_TC, conflicting_bandit(True, signs=(1.0,)), iterations=40)
    distribution, value_TN = answer(agent, CONFLICT_TC, torch.ones(2, 1, 1))
    torch.testing.assert_close(distribution.probs[0], distribution.probs[1])
    torch.testing.assert_close(value_TN, torch.full((2, 1), 0.5), rtol=0, atol=0.15)


def test_probe_the_variant_turns_what_an_observation_means():
    """Right is observation times variant: a product, which one network for all is slow to find."""
    agent = learn("hyper", small(True, 2), CONFLICT_TC, conflicting_bandit(True), iterations=80)
    distribution, value_TN = answer(agent, CONFLICT_TC, PROBE_TNO)
    assert distribution.mode.tolist() == [[1, 0], [0, 1]]
    assert distribution.probs.max(2).values.min() > 0.95
    torch.testing.assert_close(value_TN, torch.ones(2, 2), rtol=0, atol=0.1)


def test_probe_continuous_actions_reach_each_variants_optimum():
    """The optimum is half of observation times variant."""
    agent = learn("hyper", small(False, 1), CONFLICT_TC, conflicting_bandit(False), iterations=80)
    distribution, _ = answer(agent, CONFLICT_TC, PROBE_TNO)
    torch.testing.assert_close(distribution.mode[..., 0], torch.tensor([[0.5, -0.5], [-0.5, 0.5]]), rtol=0, atol=0.15)
    assert distribution.stddev.max() < 0.4


@pytest.mark.parametrize("arm", ["hyper", "concat", "film"])
def test_probe_rewards_to_come_are_discounted(arm):
    """Two steps, told apart by the observation, reward 1 at the second: values 0.9 and 1."""

    def play(variants, copies, random):
        obs_STEO = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, variants, copies, 1)
        return obs_STEO, lambda action_STEA: obs_STEO[..., 0] + 0 * action_STEA[..., 0]

    agent = learn(arm, small(True, 2), CONFLICT_TC, play, iterations=60, copies=4, gamma=0.9)
    _, value_TN = answer(agent, CONFLICT_TC, torch.tensor([[0.0], [1.0]]).expand(2, 2, 1))
    torch.testing.assert_close(value_TN, torch.tensor([[0.9, 1.0]] * 2), rtol=0, atol=0.03)
