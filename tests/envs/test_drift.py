"""Parameters that change within an episode."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperrl.envs import InputError, PhysicsVectorEnv, registry
from hyperrl.envs.drift import Schedule, Walk, drifted

CARTPOLE = registry.get("cartpole")
WEARING = dataclasses.replace(CARTPOLE, drift={"force_mag": Schedule(lambda start, step: start * 0.99**step)})
WALKING = registry.get("cartpole_drift")


def test_a_schedule_is_followed_step_by_step_by_the_physics():
    env = PhysicsVectorEnv(WEARING, CARTPOLE.table([{"force_mag": 10.0}, {"force_mag": 6.0}]), dtype=torch.float64)
    env.reset(seed=0)
    plain = PhysicsVectorEnv(CARTPOLE, CARTPOLE.table([{}, {}]), dtype=torch.float64)
    for step in range(8):
        forces = np.array([10.0, 6.0]) * 0.99**step
        np.testing.assert_allclose(env.variants_TP[:, CARTPOLE.names.index("force_mag")], forces, rtol=1e-12)
        state = {**plain.state_dict(), "state_TEX": env.state_dict()["state_TEX"]}
        state["variants_TP"] = torch.as_tensor(CARTPOLE.table([{"force_mag": force} for force in forces]))
        plain.load_state_dict(state)
        action = torch.tensor([step % 2, 1])
        drifting, standing = env.step(action)[4]["final_obs"], plain.step(action)[4]["final_obs"]
        torch.testing.assert_close(drifting, standing, rtol=0, atol=1e-15)


def test_the_drift_begins_anew_with_a_reset_and_with_a_replacement():
    variants_TP = CARTPOLE.variants("train", 3)
    env = PhysicsVectorEnv(WALKING, variants_TP, copies=2, dtype=torch.float64)
    env.reset(seed=0)
    for _ in range(5):
        env.step(torch.ones(6, dtype=torch.int64))
    assert (env.variants_TP.numpy() != variants_TP).all()
    fresh_TP = CARTPOLE.variants("validation", 3)
    before = env.variants_TP.clone()
    env.replace(fresh_TP, np.array([False, True, False]))
    np.testing.assert_array_equal(env.variants_TP[1], fresh_TP[1])
    assert torch.equal(env.variants_TP[[0, 2]], before[[0, 2]])
    env.reset()
    np.testing.assert_array_equal(env.variants_TP, [variants_TP[0], fresh_TP[1], variants_TP[2]])


def test_a_drift_goes_on_from_its_state():
    env, resumed = (PhysicsVectorEnv(WALKING, CARTPOLE.variants("train", 2), copies=2, seed=seed) for seed in (0, 1))
    env.reset(seed=0)
    env.step(torch.ones(4, dtype=torch.int64))
    resumed.load_state_dict(env.state_dict())
    for _ in range(4):
        action = torch.zeros(4, dtype=torch.int64)
        assert torch.equal(env.step(action)[0], resumed.step(action)[0])
        assert torch.equal(env.variants_TP, resumed.variants_TP)


@given(st.floats(2.5, 25), st.integers(0, 2**32 - 1))
def test_a_walk_stays_between_its_start_and_the_training_range(start, seed):
    generator = torch.Generator().manual_seed(seed)
    start_TP = torch.as_tensor(CARTPOLE.table([{"gravity": start}]))
    now_TP, low, high = start_TP, min(start, 5.0), max(start, 15.0)
    family = dataclasses.replace(CARTPOLE, drift={"gravity": Walk(0.5)})
    for step in range(1, 20):
        normal_TP = torch.randn(1, 5, generator=generator, dtype=torch.float64)
        now_TP = drifted(family, now_TP, start_TP, torch.tensor([step]), normal_TP)
        assert low <= now_TP[0, 0] <= high
        assert torch.equal(now_TP[0, 1:], start_TP[0, 1:])


def test_a_walk_has_the_deviation_that_it_says():
    start_TP = torch.as_tensor(CARTPOLE.table([{"gravity": 10.0}])).expand(20_000, -1)
    normal_TP = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step_T = torch.ones(20_000, dtype=torch.int64)
    after_TP = drifted(WALKING, start_TP, start_TP, step_T, normal_TP)
    assert after_TP[:, 0].std().item() == pytest.approx(0.03 * 5, rel=0.02)
    assert after_TP[:, 0].mean().item() == pytest.approx(10, abs=0.01)


def test_an_angle_walks_round():
    parameter = dataclasses.replace(CARTPOLE["gravity"], train=(0, 10), wide=(0, 10), period=10)
    after = Walk(1.0)(torch.tensor([9.0]), torch.tensor([9.0]), torch.tensor([1]), torch.tensor([0.5]), parameter)
    assert after.item() == pytest.approx(1.5)


def test_the_single_environment_drifts_and_starts_anew():
    env = WEARING.single(force_mag=10.0)
    env.reset(seed=0)
    state = env.state
    env.step(1)
    assert env.parameters["force_mag"] == pytest.approx(9.9)
    env.state = state
    obs, *_ = env.step(1)
    plain = CARTPOLE.single(force_mag=9.9)
    plain.reset(seed=0)
    plain.state = state
    np.testing.assert_array_equal(obs, plain.step(1)[0])
    env.reset(seed=0)
    assert env.parameters["force_mag"] == 10.0


@pytest.mark.parametrize("deviation", [0, -1, 1.5])
def test_a_walk_has_a_deviation_within_bounds(deviation):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        Walk(deviation)


def test_mistakes_are_named():
    with pytest.raises(InputError, match="mass: unknown parameter"):
        dataclasses.replace(CARTPOLE, drift={"mass": Walk(0.1)})
    growing = dataclasses.replace(CARTPOLE, drift={"length": Schedule(lambda start, step: start + step)})
    with pytest.raises(InputError, match=r"length=499.25: must be within \(0, 10\]"):
        growing.check()
