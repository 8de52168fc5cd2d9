"""One variant's policy, as Stable-Baselines3 sees it."""

import inspect

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from hyperrl.agents import ARMS
from hyperrl.api import Policy
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.play.actors import AgentActor, to_env_units
from hyperrl.storage.agent import build_agent

CPU = torch.device("cpu")
FAMILIES = {name: registry.get(name) for name in ("cartpole", "pendulum")}
OBSERVATIONS = {
    name: np.random.default_rng(0).normal(0, 0.5, size=(50, *family.observation_space.shape))
    for name, family in FAMILIES.items()
}


@pytest.fixture
def policy_of(shaken):
    def make(family, scale=0.1, agent="hyper", log_std=-0.5, **parameters):
        family = FAMILIES[family]
        config = Config(family=family.name, agent=agent, log_std=log_std)
        agent = shaken(build_agent(family, config, CPU), scale)
        return Policy(agent, family, family.variant(**parameters))

    return make


def batched_actions(agent, family, table_TP, obs_NO):
    """Greedy actions of all variants at once, for as many observations (T * E, O) of each."""
    env = family.vector(table_TP, len(obs_NO) // len(table_TP), CPU)
    actor = AgentActor(agent, family)
    actor.begin(env)
    return actor.act(torch.as_tensor(obs_NO, dtype=torch.float32))


def test_predict_has_the_signature_of_stable_baselines3():
    theirs, ours = (inspect.signature(cls.predict).parameters for cls in (BaseAlgorithm, Policy))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@pytest.mark.parametrize(
    ("name", "env_id", "parameters"),
    [
        ("cartpole", "hyperrl/CartPole-v1", {"gravity": 12.0, "length": 0.8}),
        ("pendulum", "hyperrl/Pendulum-v1", {"g": 12.0, "max_torque": 1.5}),
    ],
)
def test_evaluate_policy_accepts_it(policy_of, name, env_id, parameters):
    policy = policy_of(name, **parameters)
    env = Monitor(gymnasium.make(env_id, **parameters))
    env.reset(seed=3)
    returns, lengths = evaluate_policy(policy, env, n_eval_episodes=3, return_episode_rewards=True)
    env = gymnasium.make(env_id, **parameters)
    env.reset(seed=3)
    for expected, length in zip(returns, lengths, strict=True):
        obs, total, steps, done = env.reset()[0], 0.0, 0, False
        while not done:
            obs, reward, terminated, truncated, _ = env.step(policy.predict(obs, deterministic=True)[0])
            total, steps, done = total + reward, steps + 1, terminated or truncated
        assert (steps, total) == (length, pytest.approx(expected, rel=1e-5))


def test_a_run_hands_out_policies(tiny_run):
    policy = tiny_run.policy(gravity=12, length="0.8")
    assert policy.parameters == {**tiny_run.family.defaults, "gravity": 12.0, "length": 0.8}
    obs = OBSERVATIONS["cartpole"]
    table_TP = tiny_run.family.table([{"gravity": 12, "length": 0.8}])
    expected = batched_actions(tiny_run.agent, tiny_run.family, table_TP, obs)
    action, _ = policy.predict(obs, deterministic=True)
    np.testing.assert_array_equal(action, expected.numpy())
    with pytest.raises(InputError, match=r"length=-1\.0: must be within \(0, 10\] m for family 'cartpole'"):
        tiny_run.policy(length=-1)


@pytest.mark.parametrize("agent", ARMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_agrees_with_the_batched_greedy_actions(shaken, name, agent):
    family = FAMILIES[name]
    table_TP = family.variants("interpolation", 6)
    arm = shaken(build_agent(family, Config(family=name, agent=agent), CPU), 0.3)
    obs = OBSERVATIONS[name]
    batched = batched_actions(arm, family, table_TP, np.tile(obs, (6, 1)))
    batched_TN = batched.view(6, len(obs), *batched.shape[1:]).numpy()
    for row, variant in zip(batched_TN, family.untable(table_TP), strict=True):
        action, _ = Policy(arm, family, variant).predict(obs, deterministic=True)
        space = family.variant_action_space(variant)
        own = row if family.action_space == space else np.clip(row, space.low, space.high)
        np.testing.assert_allclose(action, own, atol=1e-4)  # sums of terms of up to some hundreds, in float32
    if arm.generate(torch.zeros(1, arm.spec.context)).shape[1]:
        one, two = (Policy(arm, family, variant).weights_1D for variant in family.untable(table_TP)[:2])
        assert not torch.allclose(one, two)  # so the test tells variants apart


def test_weights_are_generated_once(tiny_run, monkeypatch):
    calls = []
    generate = tiny_run.agent.generate
    monkeypatch.setattr(tiny_run.agent, "generate", lambda context: calls.append(context) or generate(context))
    policy = tiny_run.policy(gravity=12.0)
    assert len(calls) == 1
    for obs in OBSERVATIONS["cartpole"]:
        policy.predict(obs, deterministic=True)
        policy.predict(obs)
    assert len(calls) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_one_observation_or_a_batch(policy_of, name):
    policy, obs_NO = policy_of(name), OBSERVATIONS[name]
    batch, state = policy.predict(obs_NO, state="kept", deterministic=True)
    space = FAMILIES[name].action_space
    assert batch.shape == (len(obs_NO), *space.shape)
    assert state == "kept"
    for obs, expected in zip(obs_NO, batch, strict=True):
        action, _ = policy.predict(obs, deterministic=True)
        assert np.shape(action) == space.shape
        np.testing.assert_allclose(action, expected, atol=1e-5)
        assert space.contains(action)
    if isinstance(space, Discrete):
        assert set(batch.tolist()) == {0, 1}


@pytest.mark.parametrize("shape", [(), (3,), (5,), (2, 3), (1, 2, 4), (4, 2)])
def test_other_shapes_are_refused(policy_of, shape):
    with pytest.raises(ValueError, match=r"observation of shape .*: must be \(4,\) or \(N, 4\)"):
        policy_of("cartpole").predict(np.zeros(shape))


def test_discrete_samples_have_the_right_distribution(policy_of):
    policy, count = policy_of("cartpole", scale=0.2), 20_000
    for obs in OBSERVATIONS["cartpole"][:3]:
        with torch.no_grad():
            obs_11O = torch.tensor(obs, dtype=torch.float32).view(1, 1, -1)
            distribution, _, _ = policy.agent(policy.weights_1D, obs_11O, policy.agent.begin(1, 1))
        p = float(distribution.probs[0, 0, 1])
        assert 0.02 < p < 0.98
        action, _ = policy.predict(np.tile(obs, (count, 1)))
        assert action.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / count))
        assert len(set(policy.predict(np.tile(obs, (5, 1)), deterministic=True)[0])) == 1


def test_continuous_samples_have_the_right_distribution(policy_of):
    policy, count = policy_of("pendulum", scale=0.02, log_std=-2.0), 20_000
    obs = np.tile(OBSERVATIONS["pendulum"][0], (count, 1))
    mean = policy.predict(obs[0], deterministic=True)[0][0]
    with torch.no_grad():
        obs_11O = torch.tensor(obs[:1], dtype=torch.float32).view(1, 1, -1)
        distribution, _, _ = policy.agent(policy.weights_1D, obs_11O, policy.agent.begin(1, 1))
    std = 4 * float(distribution.stddev)  # in half-ranges of the torque's +-4 N m
    assert 4 * float(distribution.mean) == pytest.approx(mean, abs=1e-5)
    assert 0.3 < std < 0.8
    action, _ = policy.predict(obs)
    assert action.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(count))
    assert action.std() == pytest.approx(std, rel=0.03)
    assert abs(np.corrcoef(action[:-1, 0], action[1:, 0])[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("space", "drawn", "expected"),
    [
        (Box(-1, 3, shape=(2,)), [[0.0, 1.0], [-1.0, 0.5], [7.0, -7.0]], [[1, 3], [-1, 2], [3, -1]]),
        (Box(np.float32([-2, 0]), np.float32([2, 10])), [[0.5, 0.5]], [[1.0, 7.5]]),
        (Box(-np.inf, np.inf, shape=(1,)), [[123.0], [-4.0]], [[123.0], [-4.0]]),
        (Box(np.float32([0]), np.float32([np.inf])), [[5.0], [-5.0]], [[5.0], [0.0]]),
        (Discrete(3), [0, 2, 1], [0, 2, 1]),
    ],
)
def test_actions_in_the_environments_units(space, drawn, expected):
    drawn = torch.tensor(drawn)
    np.testing.assert_allclose(to_env_units(space, CPU)(drawn).numpy(), expected)
