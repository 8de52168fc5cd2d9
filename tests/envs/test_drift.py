"""Parameters that change within an episode."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperrl.envs import Argument, Attribute, GymnasiumFamily, InputError, PhysicsVectorEnv, registry
from hyperrl.envs.drift import Schedule, Walk, drifted, walking

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


PENDULUM = registry.get("pendulum")
LOSING = dataclasses.replace(PENDULUM, drift={"m": Schedule(lambda start, step: start - 0.002 * step)})
GYM_CARTPOLE = GymnasiumFamily(
    name="cart",
    make="CartPole-v1",
    parameters=(CARTPOLE["gravity"], CARTPOLE["force_mag"]),
    apply={"gravity": Attribute("gravity"), "force_mag": Attribute("force_mag")},
)


def test_a_schedule_begins_anew_once_an_episode_may_have_ended():
    """So that what ``check`` has tried is what is played: without an end, m would be -1.03 kg after 900 steps."""
    LOSING.check()
    env = PhysicsVectorEnv(LOSING, PENDULUM.table([{"m": 0.8}, {"m": 1.0}]), dtype=torch.float64)
    env.reset(seed=0)
    masses_ST = []
    for step in range(1, 902):
        *_, truncated, _ = env.step(torch.zeros(2, 1, dtype=torch.float64))
        assert truncated.all() == (step % 200 == 0)
        masses_ST.append(env.variants_TP[:, 1].tolist())
    steps_S = np.arange(1, 902) % 200
    np.testing.assert_allclose(masses_ST, np.array([0.8, 1.0]) - 0.002 * steps_S[:, None], rtol=1e-12)
    # copies that fall before leave their variant's clock alone
    env = PhysicsVectorEnv(WEARING, CARTPOLE.table([{}]), copies=2, dtype=torch.float64)
    env.reset(seed=0)
    ends = [bool(env.step(torch.tensor([1, step % 2]))[2].any()) for step in range(30)]
    assert any(ends)
    assert env.variants_TP[0, 4] == pytest.approx(10 * 0.99**30)


def test_a_schedule_begins_anew_with_the_copies_of_gymnasiums_environments():
    wearing = dataclasses.replace(GYM_CARTPOLE, max_episode_steps=7, drift={"force_mag": WEARING.drift["force_mag"]})
    env = wearing.vector(wearing.table([{"force_mag": 6.0}]), 2)
    env.reset(seed=0)
    for step in range(1, 20):
        env.step(torch.full((2,), step % 2))
        assert env.variants_TP[0, 1] == pytest.approx(6 * 0.99 ** (step % 7))
        assert [context["force_mag"] for context in env.env.get_attr("context")] == env.variants_TP[0, 1:].tolist() * 2


@given(st.floats(-4, 4).filter(lambda value: value != 0), st.integers(0, 2**32 - 1))
def test_a_walk_does_not_enter_the_gap(start, seed):
    """Beyond its start: one that lies within the gap may only walk away from 0."""
    family = dataclasses.replace(registry.get("pendulum_signed"), drift={"max_torque": Walk(1.0)})
    generator = torch.Generator().manual_seed(seed)
    start_TP = torch.as_tensor(family.table([{"max_torque": start}]))
    now_TP, nearest, furthest, seen = start_TP, min(abs(start), 1.0), max(abs(start), 3.0), set()
    for step in range(1, 20):
        normal_TP = torch.randn(1, 4, generator=generator, dtype=torch.float64)
        now_TP = drifted(family, now_TP, start_TP, torch.tensor([step]), normal_TP)
        assert nearest <= now_TP[0, 3] * np.sign(start) <= furthest
        seen.add(now_TP[0, 3].item())
    assert len(seen) > 1


def test_a_walk_is_reflected_at_the_gap():
    parameter = registry.get("pendulum_signed")["max_torque"]
    now_T, zero_T = torch.tensor([1.2, -1.2]), torch.zeros(2)
    after_T = Walk(0.1)(now_T, now_T, zero_T, torch.tensor([-1.0, 1.0]), parameter)  # 0.3 towards 0
    assert after_T.tolist() == pytest.approx([1.1, -1.1])


def test_a_sign_has_no_room_to_walk():
    direction = registry.get("half_cheetah_direction")["direction"]
    ends_T = torch.tensor([-1.0, 1.0])
    for normal in (-3.0, 0.5, 2.0):
        assert torch.equal(Walk(0.5)(ends_T, ends_T, ends_T, torch.full((2,), normal), direction), ends_T)


def test_what_cannot_drift_is_left_out_of_a_walk():
    half = dataclasses.replace(GYM_CARTPOLE, apply={**GYM_CARTPOLE.apply, "gravity": Argument("sutton_barto_reward")})
    assert list(walking(half, 0.1).drift) == ["force_mag"]
    none = dataclasses.replace(half, parameters=half.parameters[:1], apply={"gravity": half.apply["gravity"]})
    assert walking(none, 0.0).drift == {}
    with pytest.raises(
        InputError, match=r"^drift=0\.1: no parameter of family 'cart' can change within an episode; le"
    ):
        walking(none, 0.1)


def test_the_single_environment_of_a_gymnasium_family_drifts():
    """Against Gymnasium's own, whose attribute is set by hand at every step."""
    env = dataclasses.replace(GYM_CARTPOLE, drift={"force_mag": WEARING.drift["force_mag"]}).single(force_mag=12.0)
    plain = gymnasium.make("CartPole-v1").unwrapped
    for seed in range(2):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], plain.reset(seed=seed)[0])
        assert env.context["force_mag"] == 12
        for step in range(6):
            plain.force_mag = 12.0 * 0.99**step
            np.testing.assert_array_equal(env.step(step % 2)[0], plain.step(step % 2)[0])
    env.context = {"force_mag": 6.0}
    env.reset()
    env.step(0)
    assert env.context["force_mag"] == pytest.approx(6 * 0.99)


@pytest.mark.parametrize("family", [WALKING, walking(GYM_CARTPOLE, 0.03)], ids=["physics", "gymnasium"])
def test_walks_of_single_environments_are_seeded_and_begin_anew(family):
    def walk(seed):
        env = family.single(gravity=8.0)
        env.reset(seed=seed)
        contexts = [env.context]
        for step in range(5):
            env.step(step % 2)
            contexts.append(env.context)
        env.reset()
        assert env.context == contexts[0] == family.variant(gravity=8)
        return [list(context.values()) for context in contexts]

    assert walk(0) == walk(0) != walk(1)
    assert (np.diff(walk(0), axis=0) != 0).all()


def test_an_angle_walks_round():
    parameter = dataclasses.replace(CARTPOLE["gravity"], train=(0, 10), wide=(0, 10), period=10)
    after = Walk(1.0)(torch.tensor([9.0]), torch.tensor([9.0]), torch.tensor([1]), torch.tensor([0.5]), parameter)
    assert after.item() == pytest.approx(1.5)


def test_the_single_environment_drifts_and_starts_anew():
    env = WEARING.single(force_mag=10.0)
    env.reset(seed=0)
    state = env.state
    env.step(1)
    assert env.context["force_mag"] == pytest.approx(9.9)
    env.state = state
    obs, *_ = env.step(1)
    plain = CARTPOLE.single(force_mag=9.9)
    plain.reset(seed=0)
    plain.state = state
    np.testing.assert_array_equal(obs, plain.step(1)[0])
    env.reset(seed=0)
    assert env.context["force_mag"] == 10.0


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
    with pytest.raises(InputError, match=r"^drift='a': must be a number$"):
        Walk("a")
    with pytest.raises(InputError, match=r"^drift=0.1: must be a function \(start, step\) -> values$"):
        Schedule(0.1)
    for change in (0.1, None, lambda start, step: start):
        with pytest.raises(
            InputError, match=r"^family 'cartpole': drift of 'length' is .*; must be a Walk or a Schedule$"
        ):
            dataclasses.replace(CARTPOLE, drift={"length": change})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda start: start, r"raised TypeError: .*; a Schedule's function takes \(start \(T,\), step \(T,\)\)"),
        (lambda start, step: 1.0, r"must return a tensor \(T,\) = \(500,\); got float"),
        (lambda start, step: start[:1], r"must return a tensor \(T,\) = \(500,\); got \(1,\)"),
        (lambda start, step: start[:, None] * step, r"must return .*; got \(500, 500\)"),
    ],
)
def test_a_schedule_that_cannot_be_followed_fails_the_check(function, message):
    family = dataclasses.replace(CARTPOLE, drift={"length": Schedule(function)})
    with pytest.raises(InputError, match=f"^family 'cartpole': drift of 'length' {message}$"):
        family.check()
