"""The physics of every shipped family agrees with Gymnasium's own environment."""

import dataclasses
import math
from types import FunctionType, MethodType

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from hyperrl.envs import PhysicsVectorEnv, registry

# Ends of the states that are tried: past every limit, so that clips, walls and terminations are among them.
STATES = {
    "cartpole": ([-2.5, -4, -0.25, -4], [2.5, 4, 0.25, 4]),
    "pendulum": ([-10, -8], [10, 8]),
    "acrobot": ([-math.pi, -math.pi, -13, -29], [math.pi, math.pi, 13, 29]),
    "mountain_car": ([-1.2, -0.07], [0.6, 0.07]),
    "mountain_car_continuous": ([-1.2, -0.07], [0.6, 0.07]),
}
FAMILIES = [registry.get(name) for name in STATES]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

# Constants that Gymnasium hard-codes: the method, and the default of the parameter that it stands for.
HARD_CODED = {"acrobot": ("_dsdt", "gravity"), "mountain_car_continuous": ("step", "gravity")}


def gymnasium_env(family, **parameters):
    """Gymnasium's own environment; a constant that it hard-codes is replaced in its compiled code."""
    env = family.twin(**parameters)
    if family.name in HARD_CODED:
        method, name = HARD_CODED[family.name]
        function = getattr(type(env), method)
        constants = function.__code__.co_consts
        assert constants.count(family[name].default) == 1
        constants = tuple(parameters[name] if c == family[name].default else c for c in constants)
        code = function.__code__.replace(co_consts=constants)
        setattr(env, method, MethodType(FunctionType(code, function.__globals__), env))
    return env


def gymnasium_step(env, state, action):
    env.state, env.steps_beyond_terminated = state.copy(), None
    _, reward, terminated, *_ = env.step(action)
    return np.array(env.state, dtype=np.float64), reward, terminated


def random_variants(family, n, rng):
    return rng.uniform(*family.box("wide"), size=(n, len(family.names)))


def random_states(family, shape, rng):
    low, high = STATES[family.name]
    return rng.uniform(low, high, size=(*shape, len(low)))


def random_actions(family, shape, rng):
    """Discrete actions, or float64 ones that reach beyond the box."""
    space = family.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(space.n, size=shape)
    return rng.uniform(1.5 * space.low, 1.5 * space.high, size=(*shape, *space.shape)).astype(np.float64)


def our_step(family, state, action, variants_TP, dtype=torch.float64):
    values = family.values(torch.as_tensor(variants_TP, dtype=dtype))
    action = torch.as_tensor(action)
    return family.step(
        torch.as_tensor(state, dtype=dtype),
        action.to(dtype) if action.is_floating_point() else action,
        values,
    )


@each_family
@pytest.mark.parametrize("seed", range(3))
def test_one_step_agrees_with_gymnasium_to_1e_9(family, seed):
    rng = np.random.default_rng(seed)
    T, E = 40, 10
    variants_TP = random_variants(family, T, rng)
    state, action = random_states(family, (T, E), rng), random_actions(family, (T, E), rng)
    after, reward, terminated = our_step(family, state, action, variants_TP)
    assert after.dtype == reward.dtype == torch.float64
    assert after.shape == state.shape
    assert reward.shape == terminated.shape == (T, E)
    for t, parameters in enumerate(family.untable(variants_TP)):
        env = gymnasium_env(family, **parameters)
        for e in range(E):
            want_state, want_reward, want_terminated = gymnasium_step(env, state[t, e], action[t, e])
            np.testing.assert_allclose(after[t, e], want_state, rtol=0, atol=1e-9)
            np.testing.assert_allclose(reward[t, e], want_reward, rtol=0, atol=1e-9)
            assert terminated[t, e] == want_terminated
    assert terminated.any() == (family.name != "pendulum")
    assert not terminated.all()


# Over whole random episodes: chaos multiplies what rounding leaves of one step.
EPISODE_TOLERANCE = {
    "cartpole": 1e-12,
    "pendulum": 1e-9,
    "acrobot": 1e-4,
    "mountain_car": 1e-12,
    "mountain_car_continuous": 1e-12,
}


@each_family
def test_whole_episodes_agree_with_gymnasium(family):
    rng = np.random.default_rng(0)
    T = 6
    variants_TP = random_variants(family, T, rng)
    envs = [gymnasium_env(family, **parameters) for parameters in family.untable(variants_TP)]
    for t, env in enumerate(envs):
        env.reset(seed=t)
    state = torch.as_tensor(np.array([[env.state] for env in envs], dtype=np.float64))
    running = np.ones(T, dtype=bool)
    for _ in range(family.max_episode_steps):
        action = random_actions(family, (T, 1), rng)
        state, reward, terminated = our_step(family, state, action, variants_TP)
        for t in np.flatnonzero(running):
            # Continuous_MountainCarEnv rounds its state to float32, and would go on in mixed precision
            envs[t].state = np.array(envs[t].state, dtype=np.float64)
            _, want_reward, want_terminated, *_ = envs[t].step(action[t, 0])
            tolerance = EPISODE_TOLERANCE[family.name]
            np.testing.assert_allclose(state[t, 0], envs[t].state, rtol=0, atol=tolerance)
            np.testing.assert_allclose(reward[t, 0], want_reward, rtol=0, atol=100 * tolerance)
            assert terminated[t, 0] == want_terminated
            running[t] = not want_terminated


@each_family
def test_start_is_the_one_that_gymnasium_draws(family):
    ours = gymnasium.make(family.env_id)
    theirs = gymnasium.make(family.env_id.removeprefix("hyperrl/"))
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps == family.max_episode_steps
    for seed in [0, 1, 2, 1234, None]:
        obs, _ = ours.reset(seed=seed)
        want, _ = theirs.reset(seed=seed)
        np.testing.assert_array_equal(obs, want)
        np.testing.assert_array_equal(ours.unwrapped.state, theirs.unwrapped.state)
        assert obs.dtype == want.dtype


@each_family
def test_spaces_are_gymnasiums(family):
    theirs = gymnasium.make(family.env_id.removeprefix("hyperrl/"))
    ours = gymnasium.make(family.env_id)
    assert ours.observation_space == theirs.observation_space == family.observation_space
    assert ours.action_space == theirs.action_space


@each_family
def test_vector_env_steps_like_gymnasium(family):
    rng = np.random.default_rng(0)
    T, E, limit = 3, 2, 30
    variants_TP = random_variants(family, T, rng)
    vector = PhysicsVectorEnv(
        dataclasses.replace(family, max_episode_steps=limit), variants_TP, copies=E, dtype=torch.float64
    )
    envs = [gymnasium_env(family, **p) for p in family.untable(variants_TP) for _ in range(E)]

    def restart(row):
        envs[row].reset()
        envs[row].state = vector.state_dict()["state_TEX"].reshape(T * E, -1)[row].numpy()
        elapsed[row] = 0

    elapsed = np.zeros(T * E, dtype=int)
    vector.reset(seed=1)
    for row in range(T * E):
        restart(row)
    for _ in range(2 * limit + 5):
        action = random_actions(family, (T * E,), rng)
        obs, reward, terminated, truncated, info = vector.step(torch.as_tensor(action))
        elapsed += 1
        for row, env in enumerate(envs):
            want_obs, want_reward, want_terminated, *_ = env.step(action[row])
            np.testing.assert_allclose(info["final_obs"][row], want_obs, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(reward[row], want_reward, rtol=1e-6, atol=1e-6)
            assert terminated[row] == want_terminated
            assert truncated[row] == (elapsed[row] == limit)
            done = bool(terminated[row] | truncated[row])
            assert info["_final_obs"][row] == done
            assert torch.equal(obs[row], info["final_obs"][row]) != done
            if done:
                restart(row)


@each_family
def test_float32_stays_close_to_float64(family):
    rng = np.random.default_rng(0)
    T, E = 30, 10
    variants_TP = random_variants(family, T, rng).astype(np.float32)
    state = random_states(family, (T, E), rng).astype(np.float32)
    action = random_actions(family, (T, E), rng)
    action = action.astype(np.float32) if action.dtype == np.float64 else action
    after, reward, terminated = our_step(family, state, action, variants_TP, torch.float32)
    assert after.dtype == reward.dtype == torch.float32
    want_after, want_reward, want_terminated = our_step(family, state, action, variants_TP)
    assert torch.equal(terminated, want_terminated)
    torch.testing.assert_close(after.double(), want_after, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(reward.double(), want_reward, rtol=1e-5, atol=1e-5)
    values = family.values(torch.as_tensor(variants_TP))
    assert family.observe(after, values).shape == (T, E, *family.observation_space.shape)


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in FAMILIES for name in family.names])
def test_each_parameter_alone_changes_the_motion(family, name):
    rng = np.random.default_rng(0)
    state, action = random_states(family, (1, 50), rng), random_actions(family, (1, 50), rng)
    default = our_step(family, state, action, family.table([{}]))
    changed = our_step(family, state, action, family.table([{name: 1.1 * family[name].default}]))
    assert max((default[i] - changed[i]).abs().max() for i in range(2)) > 1e-5


def test_setting_an_attribute_of_cartpole_alone_is_not_enough():
    family = registry.get("cartpole")
    state = np.array([0.1, 0.2, 0.05, -0.3])
    naive = CartPoleEnv()
    naive.masscart = 2.0
    after, *_ = our_step(family, state[None, None], np.array([[1]]), family.table([{"masscart": 2.0}]))
    wrong, *_ = gymnasium_step(naive, state, 1)
    right, *_ = gymnasium_step(family.twin(masscart=2.0), state, 1)
    assert np.abs(after[0, 0].numpy() - wrong).max() > 1e-2
    np.testing.assert_allclose(after[0, 0], right, rtol=0, atol=1e-12)


def test_acrobot_gravity_agrees_with_gymnasiums_in_scaled_time():
    """With time in units of 1 / sqrt(k), gravity 9.8 acts like 9.8 k; Runge-Kutta steps scale exactly."""
    family = registry.get("acrobot")
    rng = np.random.default_rng(0)
    for parameters in family.untable(random_variants(family, 20, rng)):
        state, action = random_states(family, (1, 1), rng), random_actions(family, (1, 1), rng)
        after, reward, terminated = our_step(family, state, action, family.table([parameters]))
        k = parameters["gravity"] / 9.8
        scale = np.array([1, 1, math.sqrt(k), math.sqrt(k)])
        env = family.twin(**parameters)
        env.dt = AcrobotEnv.dt * math.sqrt(k)
        env.AVAIL_TORQUE = [torque / k for torque in AcrobotEnv.AVAIL_TORQUE]
        env.MAX_VEL_1, env.MAX_VEL_2 = (
            AcrobotEnv.MAX_VEL_1 / math.sqrt(k),
            AcrobotEnv.MAX_VEL_2 / math.sqrt(k),
        )
        want, want_reward, want_terminated = gymnasium_step(env, state[0, 0] / scale, action[0, 0])
        np.testing.assert_allclose(after[0, 0], want * scale, rtol=0, atol=1e-9)
        assert (reward, terminated) == (want_reward, want_terminated)


def test_mountain_car_continuous_gravity_agrees_with_a_push_that_makes_up_for_it():
    family = registry.get("mountain_car_continuous")
    rng = np.random.default_rng(0)
    for parameters in family.untable(random_variants(family, 20, rng)):
        state, action = random_states(family, (1, 1), rng), random_actions(family, (1, 1), rng)
        after, *_ = our_step(family, state, action, family.table([parameters]))
        env = Continuous_MountainCarEnv()
        env.power, env.min_action, env.max_action = parameters["power"], -np.inf, np.inf
        pull = (0.0025 - parameters["gravity"]) * np.cos(3 * state[0, 0, 0])
        want, *_ = gymnasium_step(env, state[0, 0], np.clip(action[0, 0], -1, 1) + pull / env.power)
        np.testing.assert_allclose(after[0, 0], want, rtol=0, atol=1e-9)
