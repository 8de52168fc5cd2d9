"""Probe families whose values and best actions are known train every arm through the shipped trainer."""

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from hyperrl.config import Config
from hyperrl.envs import Parameter, PhysicsFamily
from hyperrl.training.trainer import Trainer

GAMMA = 0.9
READS_CONTEXT = ["hyper", "concat", "film"]
ARMS = [*READS_CONTEXT, "blind"]
"""Some that differ: learning takes its time."""
SETTINGS = {
    "variants": 8,
    "copies": 16,
    "rollout": 8,
    "gamma": GAMMA,
    "learning_rate": 3e-3,
    "hidden": (32, 32),
    "generator_hidden": (32,),
    "log_std": -0.5,
    "target_kl": 0.05,
    "device": "cpu",
}
SIGN = Parameter("sign", "1", 1.0, (-1, 1), (-1, 1), gap=1)
SIZE = Parameter("size", "1", 1.0, (0.5, 1.5), (0.5, 1.5))


def probe(step, parameters=(SIGN,), actions=None, limit=1, start=None):
    """A family of one number, which is what is observed."""
    return PhysicsFamily(
        "probe",
        parameters,
        Box(-4, 4, (1,)),
        actions or Discrete(2),
        max_episode_steps=limit,
        draws=1,
        start=start or (lambda draws, p: 0 * draws),
        step=step,
    )


def trained(family, arm, iterations, **settings):
    """An arm after so many iterations, and its trainer."""
    settings = {**SETTINGS, **settings}
    steps = iterations * settings["variants"] * settings["copies"] * settings["rollout"]
    trainer = Trainer(family, Config(family="probe", agent=arm, steps=steps, **settings))
    for _ in range(iterations):
        trainer.iterate()
    return trainer.agent.requires_grad_(False)


def asked(agent, family, variants, obs):
    """Distribution (T, N, ...) and values (T, N) for some variants, each at all the observations."""
    context_TC = family.encode(torch.as_tensor(family.table(variants), dtype=torch.float32))
    obs_TNO = torch.tensor(obs).view(1, -1, 1).expand(len(variants), -1, 1)
    distribution, value_TN, _ = agent(agent.generate(context_TC), obs_TNO, agent.begin(*obs_TNO.shape[:2]))
    return distribution, value_TN


SIGNS = [{"sign": -1.0}, {"sign": 1.0}]


def ended(x):
    return torch.ones_like(x[..., 0], dtype=torch.bool)


def going_on(x):
    return torch.zeros_like(x[..., 0], dtype=torch.bool)


@pytest.mark.parametrize("arm", ARMS)
def test_a_known_value_is_learned(arm):
    """One step pays ``size`` whatever is done: the value is the size, or of an arm without context the mean size, 1."""
    family = probe(lambda x, action, p: (x, p["size"] + 0 * x[..., 0], ended(x)), (SIZE,))
    agent = trained(family, arm, 60)
    _, value_TN = asked(agent, family, [{"size": 0.6}, {"size": 1.4}], [0.0])
    expected = [[1.0], [1.0]] if arm == "blind" else [[0.6], [1.4]]
    torch.testing.assert_close(value_TN, torch.tensor(expected), rtol=0, atol=0.08)


@pytest.mark.parametrize("arm", ARMS)
def test_a_reward_to_come_is_discounted(arm):
    """The second of two steps pays 1 and ends: values gamma and 1."""
    family = probe(lambda x, action, p: (x + 1, x[..., 0], x[..., 0] >= 1), limit=2)
    _, value_TN = asked(trained(family, arm, 60), family, SIGNS, [0.0, 1.0])
    torch.testing.assert_close(value_TN, torch.tensor([[GAMMA, 1.0]] * 2), rtol=0, atol=0.05)


@pytest.mark.parametrize("arm", ARMS)
def test_an_end_is_worth_nothing(arm):
    """Each of four steps, told apart by the observation, pays 1: 1 + gamma + gamma^2 + gamma^3 first, 1 last."""
    family = probe(lambda x, action, p: (x + 1, torch.ones_like(x[..., 0]), x[..., 0] >= 3), limit=5)
    _, value_TN = asked(trained(family, arm, 80), family, SIGNS, [0.0, 3.0])
    expected = [sum(GAMMA**k for k in range(4)), 1.0]
    torch.testing.assert_close(value_TN, torch.tensor([expected] * 2), rtol=0.05, atol=0)


@pytest.mark.parametrize("arm", ARMS)
def test_a_time_limit_is_bootstrapped(arm):
    """Every step pays 1 and nothing ends but by the limit of four steps: 1 / (1 - gamma)."""
    family = probe(lambda x, action, p: (x, torch.ones_like(x[..., 0]), going_on(x)), limit=4)
    _, value_TN = asked(trained(family, arm, 120), family, SIGNS, [0.0])
    torch.testing.assert_close(value_TN, torch.full((2, 1), 1 / (1 - GAMMA)), rtol=0.05, atol=0)


@pytest.mark.parametrize("arm", ARMS)
def test_the_context_decides_the_action(arm):
    """The action that equals the sign earns 1; one policy without context earns 1/2 on average whatever it does."""
    family = probe(lambda x, action, p: (x, ((2 * action - 1) == p["sign"]).float(), ended(x)))
    distribution, value_TN = asked(trained(family, arm, 60), family, SIGNS, [0.0])
    if arm == "blind":
        torch.testing.assert_close(distribution.probs[0], distribution.probs[1])
        torch.testing.assert_close(value_TN, torch.full((2, 1), 0.5), rtol=0, atol=0.15)
    else:
        assert distribution.mode.tolist() == [[0], [1]]
        assert distribution.probs.max(2).values.min() > 0.9
        torch.testing.assert_close(value_TN, torch.ones(2, 1), rtol=0, atol=0.1)


@pytest.mark.parametrize("arm", ["hyper"])  # one network for all is slow to find a product
def test_the_variant_turns_what_an_observation_means(arm):
    """The action that equals observation times sign earns 1: a product of the context and the observation."""

    def step(x, action, p):
        return x, ((2 * action - 1) == x[..., 0] * p["sign"]).float(), ended(x)

    family = probe(step, start=lambda draws, p: 2 * (draws < 0.5).float() - 1)
    distribution, _ = asked(trained(family, arm, 120), family, SIGNS, [-1.0, 1.0])
    assert distribution.mode.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("arm", READS_CONTEXT)
def test_continuous_actions_reach_each_variants_optimum(arm):
    """The optimum is half the sign, in the units of an action space that is not centred at 0."""

    def step(x, action, p):
        return x, -((action[..., 0] - 2) - p["sign"]).square(), ended(x)

    family = probe(step, actions=Box(0, 4, (1,)))
    distribution, _ = asked(trained(family, arm, 120), family, SIGNS, [0.0])
    torch.testing.assert_close(distribution.mode[..., 0], torch.tensor([[-0.5], [0.5]]), rtol=0, atol=0.1)
    assert distribution.stddev.max() < 0.5
