"""Families where one policy cannot serve all variants: their physics, and that variants want opposite actions."""

import cmath
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import Continuous_MountainCarEnv, PendulumEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from hypothesis import given
from hypothesis import strategies as st

from hyperrl.envs import InputError, PhysicsVectorEnv, registry
from hyperrl.envs.tasks.ode import evaluation_grid

ODE1, ODE2, POINT = (registry.get(name) for name in ("ode1", "ode2", "point"))
CARTPOLE, PENDULUM = registry.get("cartpole_continuous"), registry.get("pendulum_signed")
SPIN, CAR = registry.get("pendulum_spin"), registry.get("mountain_car_continuous_signed")
odes = pytest.mark.parametrize("family", [ODE1, ODE2], ids=["ode1", "ode2"])
unit = st.floats(-1, 1)
beyond = st.floats(-2, 2)


def one_step(family, state, action, **parameters):
    """One copy of one variant in float64: next state (X,), reward, terminated."""
    p = family.values(torch.as_tensor(family.table([parameters])))
    given = (torch.tensor(values, dtype=torch.float64).view(1, 1, -1) for values in (state, action))
    after, reward, terminated = family.step(*given, p)
    return after[0, 0].numpy(), float(reward), bool(terminated)


# ODE-1 and ODE-2


@pytest.mark.parametrize(
    ("x", "action", "c0", "c1", "after", "reward"),
    [
        (1.0, (0.0, 0.0), 3, 4, 1.0, 0.05),  # nothing moves it
        (1.0, (-1.0, 0.0), 5, 0, 0.5, 0.05),  # 1 + .01 * 5 * -10; .5 is not below .5
        (0.5, (-1.0, 0.0), 1, 0, 0.4, 0.25),
        (0.5, (0.7, 0.0), -5, 0, 0.15, 1 / 3),  # a negative factor: the same push goes the other way
        (1.0, (0.0, 1.0), 7, 1, 0.0, 1.0),  # u^2 = (10i)^2 = -100
        (1.0, (0.6, 0.8), 1, 1, 0.78, 0.05),  # .06 + .01 (36 - 64)
        (-1.0, (1.0, 0.0), 0, 0.91, -0.09, 0.5),
        (1.0, (9.0, 0.0), 1, 0, 1.1, 0.05),  # actions are clipped
        (19.0, (1.0, 0.0), 10, 10, 20.0, 0.0),  # 19 + 1 + 10, and x is clipped
    ],
)
def test_ode2_by_hand(x, action, c0, c1, after, reward):
    state, pay, terminated = one_step(ODE2, [x], action, c0=c0, c1=c1)
    np.testing.assert_allclose(state, [after], atol=1e-12)
    assert pay == pytest.approx(reward)
    assert not terminated


def bands(size):
    for bound, pay in [(0.05, 1), (0.1, 1 / 2), (0.2, 1 / 3), (0.5, 1 / 4), (2, 0.05)]:
        if size < bound:
            return pay
    return 0


@given(st.floats(-20, 20), beyond, beyond, st.floats(-10, 10), st.floats(-10, 10))
def test_odes_agree_with_complex_numbers(x, a0, a1, c0, c1):
    push = complex(min(max(a0, -1), 1), min(max(a1, -1), 1))
    for family, u, factors in ((ODE1, 100 * push, {"c0": c0}), (ODE2, 10 * push, {"c0": c0, "c1": c1})):
        rate = sum(factor * u**power for power, factor in enumerate(factors.values(), 1)).real
        want = min(max(x + 0.01 * rate, -20), 20)
        state, reward, _ = one_step(family, [x], (a0, a1), **factors)
        np.testing.assert_allclose(state[0], want, atol=1e-9)
        assert reward == pytest.approx(bands(abs(state[0])))


@given(st.floats(-20, 20), unit, unit, st.floats(-10, 10), st.floats(-10, 10))
def test_ode2_under_the_opposite_factors_moves_the_opposite_way(x, a0, a1, c0, c1):
    state, reward, _ = one_step(ODE2, [x], (a0, a1), c0=c0, c1=c1)
    mirrored, same, _ = one_step(ODE2, [-x], (a0, a1), c0=-c0, c1=-c1)
    np.testing.assert_allclose(mirrored, -state, atol=1e-12)
    assert same == reward


def rows(table):
    return {tuple(row) for row in table.tolist()}


def test_ode_grids_are_the_published_ones():
    trained = {(a, b) for size in (1, 5) for a in (size, 0, -size) for b in (size, 0, -size) if (a, b) != (0, 0)}
    assert len(trained) == 16
    assert rows(ODE2.fixed["train"]) == trained
    assert rows(ODE1.fixed["train"]) == {(-5,), (-1,), (1,), (5,)}
    assert rows(evaluation_grid(ODE2)) == {(a, b) for a in range(-10, 11) for b in range(-10, 11)}
    assert rows(evaluation_grid(ODE1)) == {(i / 10,) for i in range(-100, 101)}


@odes
def test_ode_splits_divide_the_grid(family):
    train, validation, inside, outside = (
        rows(family.variants(split, 1000)) for split in ("train", "validation", "interpolation", "extrapolation")
    )
    assert family.splits == ("validation", "interpolation", "extrapolation")
    assert train | inside | outside == rows(evaluation_grid(family))
    assert len(train) + len(inside) + len(outside) == len(evaluation_grid(family))
    assert all(max(map(abs, row)) <= 5 for row in inside)
    assert all(max(map(abs, row)) > 5 for row in outside)
    assert len(validation) == 1000
    assert not validation & rows(evaluation_grid(family))
    assert all(max(map(abs, row)) <= 5 for row in validation)
    assert rows(family.sample(1000, np.random.default_rng(0))) == train


@odes
def test_ode_trains_from_four_starts_and_is_judged_from_one(family):
    env = PhysicsVectorEnv(family, family.variants("train", 4), copies=500)
    values, counts = env.reset(seed=0)[0].unique(return_counts=True)
    assert values.tolist() == [-1, -0.5, 0.5, 1]
    assert counts.min() > 400
    for options in ({"paired": True}, {"judged": True}, {"paired": False, "judged": True}):
        assert (env.reset(seed=0, options=options)[0] == 1).all()
    single = gymnasium.make(family.env_id)
    assert {single.reset(seed=seed)[0].item() for seed in range(20)} == {1}
    action = torch.zeros(2000, 2)
    for _ in range(200):
        obs, _, terminated, truncated, _ = env.step(action)
    assert truncated.all()
    assert not terminated.any()
    assert obs.unique().tolist() == [-1, -0.5, 0.5, 1]  # what follows a judged episode is training's


def test_a_family_without_judged_starts_is_judged_from_those_of_training():
    starts = [PhysicsVectorEnv(POINT, POINT.table([{}]), copies=3) for _ in range(2)]
    plain, paired = starts[0].reset(seed=0)[0], starts[1].reset(seed=0, options={"paired": True})[0]
    assert torch.equal(plain, paired)


def ceiling(family, points):
    """Mean return over the grid of the action that brings x nearest to 0, of points^2 tried at each step."""
    grid = torch.as_tensor(evaluation_grid(family))
    p = family.values(grid)
    ends = torch.linspace(-1, 1, points, dtype=torch.float64)
    actions = torch.cartesian_prod(ends, ends).expand(len(grid), -1, -1)
    x = torch.ones(len(grid), 1, 1, dtype=torch.float64)
    total = torch.zeros(len(grid), dtype=torch.float64)
    for _ in range(family.max_episode_steps):
        after, reward, _ = family.step(x.expand(-1, points**2, -1), actions, p)
        best = after.abs().argmin(1, keepdim=True)
        x, total = after.gather(1, best), total + reward.gather(1, best[..., 0])[:, 0]
    return total


@pytest.mark.parametrize("points", [21, pytest.param(41, marks=pytest.mark.slow)])
def test_ode2s_ceiling_is_the_published_one(points):
    total = ceiling(ODE2, points)
    assert round(float(total.mean()), 1) == 199.5
    # without control x stays at 1, where a step pays 1/20
    uncontrolled = (evaluation_grid(ODE2) == 0).all(1)
    np.testing.assert_allclose(total[uncontrolled], [10])
    assert total[~uncontrolled].min() > 190


# Point


def test_point_by_hand():
    """Turned by 90 degrees, a push along x acts along y: 1.2 N on 0.5 kg for 0.1 s against a drag of 0.5 v."""
    state, reward, terminated = one_step(
        POINT, [1, 1.5, 0.4, -0.2], (1.0, 0.0), phi=90, gain=1.2, mass=0.5, goal_x=-1, goal_y=0.5
    )
    vx, vy = 0.4 - 0.1 * 0.5 * 0.4 / 0.5, -0.2 + 0.1 * (1.2 + 0.5 * 0.2) / 0.5
    x, y = 1 + 0.1 * vx, 1.5 + 0.1 * vy
    np.testing.assert_allclose(state, [x, y, vx, vy], atol=1e-12)
    assert reward == pytest.approx(-math.sqrt((x + 1) ** 2 + (y - 0.5) ** 2) - 0.01)
    assert not terminated


@pytest.mark.parametrize("side", [1, -1])
def test_points_walls_stop_what_moves_into_them_and_nothing_else(side):
    state, *_ = one_step(POINT, [side * 1.95, 0, side * 1.0, 0.6], (0, 0))
    np.testing.assert_allclose(state, [side * 2.0, 0.057, 0, 0.57], atol=1e-12)
    back, *_ = one_step(POINT, state, (-side, 0))
    np.testing.assert_allclose(back[[0, 2]], [side * 1.99, -side * 0.1], atol=1e-12)


point_states = st.tuples(*[st.floats(-1, 1)] * 4)
angles = st.floats(-360, 360)


def turned(values, degrees):
    """Pairs of coordinates, each turned about the origin."""
    numbers = [
        complex(*pair) * cmath.exp(1j * math.radians(degrees)) for pair in zip(values[::2], values[1::2], strict=True)
    ]
    return [part for number in numbers for part in (number.real, number.imag)]


@given(point_states, st.tuples(*[st.floats(-0.7, 0.7)] * 2), angles, angles)
def test_turning_points_actuators_is_undone_by_turning_the_action(state, action, phi, angle):
    plain = one_step(POINT, state, action, phi=phi)
    other = one_step(POINT, state, turned(action, phi - angle), phi=angle)
    np.testing.assert_allclose(plain[0], other[0], atol=1e-9)
    assert plain[1] == pytest.approx(other[1])


@given(point_states, st.tuples(unit, unit), angles, angles)
def test_point_knows_no_direction(state, action, phi, angle):
    """Far from walls, goal, state, actuators and what comes of it may be turned as a whole."""
    goal, phi = (0.3, -0.8), phi / 2
    plain = one_step(POINT, state, action, phi=phi, goal_x=goal[0], goal_y=goal[1])
    goal_x, goal_y = turned(goal, angle / 2)
    other = one_step(POINT, turned(state, angle / 2), action, phi=phi + angle / 2, goal_x=goal_x, goal_y=goal_y)
    np.testing.assert_allclose(turned(plain[0], angle / 2), other[0], atol=1e-9)
    assert plain[1] == pytest.approx(other[1])


@given(point_states, st.tuples(unit, unit), angles)
def test_half_a_turn_of_the_actuators_turns_the_right_action_round(state, action, phi):
    push = [one_step(POINT, state, action, phi=turn)[0][2:] for turn in (phi / 2, phi / 2 + 180)]
    idle = one_step(POINT, state, (0, 0), phi=0)[0][2:]
    np.testing.assert_allclose(push[0] - idle, idle - push[1], atol=1e-9)


def test_gain_and_mass_of_the_point_do_not_act_as_one():
    def final_speed(**parameters):
        state = np.zeros(4)
        for _ in range(500):
            state, *_ = one_step(POINT, [0, 0, *state[2:]], (1, 0), **parameters)
        return state[2]

    assert final_speed(gain=1, mass=1) == pytest.approx(2)  # gain / drag
    assert final_speed(gain=2, mass=2) == pytest.approx(4, rel=1e-4)


def test_points_arcs_are_never_trained_on():
    phi = POINT.names.index("phi")
    for split in ("train", "validation", "interpolation", "extrapolation"):
        third = POINT.variants(split, 2000)[:, phi] % 120
        if split != "extrapolation":
            assert (third <= 60).all()
        assert (third < 60).any()
    held_out = POINT.variants("combination", 2000)[:, phi]
    assert (held_out % 120 >= 60).all()
    assert {int(angle // 120) for angle in held_out} == {0, 1, 2}
    assert POINT.in_training_ranges(POINT.variants("combination", 2000)).all()


def test_points_observation_does_not_tell_the_goal():
    env = PhysicsVectorEnv(POINT, POINT.variants("train", 2), copies=50)
    obs, _ = env.reset(seed=0, options={"paired": True})
    assert obs.shape == (100, 4)
    assert torch.equal(obs[:50], obs[50:])


# What ODE and Point look like


def centre(frame, colour):
    """Mean row and column of the pixels of one colour."""
    return np.argwhere((frame == colour).all(2)).mean(0)


@pytest.mark.parametrize(
    ("family", "state", "goal"),
    [(ODE2, [-1.0], {}), (POINT, [-1.0, 0.5, 9, 9], {"goal_x": 1.5, "goal_y": -1})],
    ids=["ode2", "point"],
)
def test_frames_show_the_state_and_the_goal(family, state, goal):
    env = gymnasium.make(family.env_id, render_mode="rgb_array", **goal).unwrapped
    env.reset(seed=0)
    env.state = np.array(state)
    family.show(env._twin, env.state, None)
    frame = env.render()
    assert (frame.shape, frame.dtype) == ((400, 400, 3), np.uint8)
    # 188 pixels are 2 units; rows count from the top
    height = state[1] if family is POINT else 0
    np.testing.assert_allclose(centre(frame, (190, 60, 50)), [200 - 94 * height, 200 + 94 * state[0]], atol=1)
    want = [200 - 94 * goal.get("goal_y", 0), 200 + 94 * goal.get("goal_x", 0)]
    np.testing.assert_allclose(centre(frame, (60, 160, 80)), want, atol=1)
    first = env.render()
    env.step(np.array([1.0, 1.0], dtype=np.float32))
    assert (env.render() != first).any()
    with pytest.raises(InputError, match="render_mode='human': cannot be drawn; use 'rgb_array' or None"):
        gymnasium.make(family.env_id, render_mode="human")


# Signed families: a negative sign turns the action round, and nothing else

cartpole_states = st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(-0.2, 0.2), st.floats(-2, 2))
pendulum_states = st.tuples(st.floats(-10, 10), st.floats(-8, 8))
car_states = st.tuples(st.floats(-1.2, 0.6), st.floats(-0.07, 0.07))
SIGNED = {
    "cartpole_continuous": ("force", cartpole_states, st.floats(-25, 25)),
    "pendulum_signed": ("max_torque", pendulum_states, st.floats(-4, 4)),
    "mountain_car_continuous_signed": ("power", car_states, st.floats(-0.00375, 0.00375)),
}


@pytest.mark.parametrize("name", SIGNED)
@given(st.data())
def test_the_opposite_action_under_the_opposite_sign_does_the_same(name, data):
    family, (parameter, states, values) = registry.get(name), SIGNED[name]
    state, action, value = data.draw(states), data.draw(st.floats(-6, 6)), data.draw(values)
    after, reward, terminated = one_step(family, state, [action], **{parameter: value})
    mirrored, same, ended = one_step(family, state, [-action], **{parameter: -value})
    np.testing.assert_allclose(mirrored, after, rtol=0, atol=1e-9)
    assert (same, ended) == (pytest.approx(reward), terminated)


@pytest.mark.parametrize("name", SIGNED)
def test_both_signs_are_trained_on_and_nothing_near_zero(name):
    family, parameter = registry.get(name), SIGNED[name][0]
    gap, column = family[parameter].gap, family.names.index(parameter)
    assert gap > 0
    for split in ("train", *family.splits):
        values = family.variants(split, 400)[:, column]
        assert (np.abs(values) >= gap).all()
        assert 0.3 < (values > 0).mean() < 0.7


@given(cartpole_states, beyond, st.floats(5, 25), st.floats(0.1, 2))
def test_a_dosed_push_is_gymnasiums_push_of_that_size(state, action, force, length):
    share = min(max(action, -1), 1)
    env = CartPoleEnv()
    env.length, env.force_mag = length, abs(share) * force
    env.polemass_length = env.masspole * length
    env.reset()
    env.state = np.array(state)
    _, want_reward, want_terminated, *_ = env.step(int(share > 0))
    after, reward, terminated = one_step(CARTPOLE, state, [action], force=force, length=length)
    np.testing.assert_allclose(after, env.state, rtol=0, atol=1e-9)
    assert (reward, terminated) == (want_reward, want_terminated)


@given(pendulum_states, st.floats(-6, 6), st.floats(3, 18), st.floats(1, 4))
def test_a_rightly_wired_pendulum_is_gymnasiums(state, action, g, strength):
    env = PendulumEnv()
    env.g, env.max_torque = g, strength
    env.reset()
    env.state = np.array(state)
    _, want_reward, *_ = env.step(np.array([action]))
    after, reward, _ = one_step(PENDULUM, state, [action], g=g, max_torque=strength)
    np.testing.assert_allclose(after, env.state, rtol=0, atol=1e-9)
    assert reward == pytest.approx(want_reward)


@given(car_states, beyond, st.floats(0.00105, 0.00375))
def test_a_forward_engine_is_gymnasiums(state, action, power):
    env = Continuous_MountainCarEnv()
    env.power = power
    env.reset()
    env.state = np.array(state)
    _, want_reward, want_terminated, *_ = env.step(np.array([action]))
    after, reward, terminated = one_step(CAR, state, [action], power=power)
    np.testing.assert_allclose(after, env.state, rtol=0, atol=1e-9)
    assert (reward, terminated) == (pytest.approx(want_reward), want_terminated)


@pytest.mark.parametrize(("wired", "arrow"), [(2.0, 1.5), (-2.0, -1.5)])
def test_the_arrow_shows_the_torque_and_not_the_action(wired, arrow):
    env = gymnasium.make(PENDULUM.env_id, render_mode="rgb_array", max_torque=wired).unwrapped
    assert env.action_space == gymnasium.spaces.Box(-2, 2, (1,), np.float32)
    env.reset(seed=0)
    env.step(np.array([1.5], dtype=np.float32))
    assert env._twin.last_u == arrow
    env.close()


# Pendulum to a target spin


@given(pendulum_states, st.floats(-25, 25), st.floats(-7.5, 7.5))
def test_spin_moves_as_gymnasiums_pendulum_and_pays_for_the_speed(state, action, target):
    env = PendulumEnv()
    env.max_torque = 14.0
    env.reset()
    env.state = np.array(state)
    env.step(np.array([action]))
    after, reward, terminated = one_step(SPIN, state, [action], target=target)
    np.testing.assert_allclose(after, env.state, rtol=0, atol=1e-9)
    torque = min(max(action, -14), 14)
    assert reward == pytest.approx(-(0.1 * (env.state[1] - target) ** 2 + 0.0001 * torque**2))
    assert not terminated


def keep_speed(variants_TP):
    """Mean reward a step, after 4 s, of the torque that makes up for gravity and what the speed lacks."""
    p = SPIN.values(torch.as_tensor(variants_TP))
    state = SPIN.start(torch.full((len(variants_TP), 1, 2), 0.3, dtype=torch.float64), p)
    total = torch.zeros(len(variants_TP), 1, dtype=torch.float64)
    for step in range(200):
        theta, speed = state.unbind(-1)
        inertia = p["m"] * p["l"].square() / 3
        torque = inertia * (p["target"] - speed) / 0.05 - p["m"] * p["g"] * p["l"] / 2 * theta.sin()
        state, reward, _ = SPIN.step(state, torque.unsqueeze(-1), p)
        total += reward if step >= 80 else 0
    return total[:, 0] / 120


def test_every_target_spin_of_training_can_be_kept():
    low, high = SPIN.box("train")
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(len(low), -1).T
    assert len(corners) == 32
    assert keep_speed(corners).min() > -0.02
    assert keep_speed(SPIN.variants("train", 200)).min() > -0.02


def test_opposite_spins_want_opposite_torques():
    state = (0.4, 1.0)
    after, reward, _ = one_step(SPIN, state, [3.0], target=5.0)
    mirrored, same, _ = one_step(SPIN, [-x for x in state], [-3.0], target=-5.0)
    np.testing.assert_allclose(mirrored, -after)
    assert same == pytest.approx(reward)
