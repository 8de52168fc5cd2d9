"""The actuator-inversion benchmark's splits and its tasks without a simulator, written anew in plain Python."""

import numpy as np
import pytest
import torch

from hyperrl.envs import aib, registry

DOUBLE = ["double_integrator_signed", "double_integrator_friction"]


def values(family, parameters):
    return family.values(torch.as_tensor(family.table([parameters])))


@pytest.mark.parametrize("name", DOUBLE)
@pytest.mark.parametrize("which", range(6))
def test_double_integrators_step_as_published(name, which):
    family = registry.get(name)
    parameters = family.untable(family.variants("extrapolation", 6))[which]
    p, rng = values(family, parameters), np.random.default_rng(which)
    mass, friction = parameters["mass"], parameters.get("friction", 0.0)
    x, v = np.array([0.9, -0.85]), np.zeros(2)
    state, paid = torch.as_tensor(np.concatenate((x, v))).view(1, 1, 4), 0.0
    for step in range(200):
        action = rng.uniform(-1.5, 1.5, 2) if step % 40 < 20 else -parameters.get("action_sign", 1) * 3 * (x + v)
        force = np.clip(parameters.get("action_sign", 1.0) * action, -1, 1)
        x, v = x + 0.1 * v, v * (1 - 0.1 * friction / mass) + 0.1 * force / mass
        x, v = np.clip(x, -1, 1), np.clip(v, -1, 1)
        state, reward, terminated = family.step(state, torch.as_tensor(action).view(1, 1, 2), p)
        np.testing.assert_allclose(state[0, 0], np.concatenate((x, v)), rtol=0, atol=1e-9)
        assert reward == (np.hypot(*x) <= 0.1)
        assert not terminated
        paid += float(reward)
    assert paid > 0


def test_double_integrators_start_far_from_the_middle_and_at_rest():
    family = registry.get("double_integrator_signed")
    draws = torch.rand(1, 4000, family.draws, generator=torch.Generator().manual_seed(0))
    position, velocity = family.start(draws, values(family, {}))[0].chunk(2, dim=-1)
    assert (velocity == 0).all()
    assert ((position.abs() >= 0.8) & (position.abs() <= 1)).all()
    assert torch.histc(position, 4, -1, 1).tolist() == pytest.approx([4000, 0, 0, 4000], abs=300)
    assert position.abs().mean() == pytest.approx(0.9, abs=0.003)


def test_weak_ode_moves_by_a_hundredth_of_the_complex_polynomial():
    family = registry.get("ode2_weak")
    rng = np.random.default_rng(0)
    bands = [(0.05, 1), (0.1, 1 / 2), (0.2, 1 / 3), (0.5, 1 / 4), (2, 0.05), (np.inf, 0)]
    for parameters in family.untable(family.variants("extrapolation", 20)):
        p, x = values(family, parameters), rng.uniform(-1, 1)
        state = torch.tensor([[[x]]], dtype=torch.float64)
        for _ in range(40):
            a = complex(*rng.uniform(-1, 1, 2))
            x += 0.01 * (parameters["c0"] * a + parameters["c1"] * a**2).real
            state, reward, _ = family.step(state, torch.tensor([[[a.real, a.imag]]], dtype=torch.float64), p)
            assert float(state) == pytest.approx(x, abs=1e-9)
            assert float(reward) == next(pay for bound, pay in bands if abs(x) < bound)
    draws = torch.linspace(0, 1, 5).view(1, 5, 1)
    assert family.start(draws, p).flatten().tolist() == [-1, -0.5, 0, 0.5, 1]


def test_splits_of_length_and_sign():
    family = registry.get("double_integrator_signed")
    train, inside, outside = (family.fixed[split] for split in ("train", "interpolation", "extrapolation"))
    assert {split: rows.shape for split, rows in family.fixed.items()} == {
        "train": (100, 2), "interpolation": (100, 2), "extrapolation": (100, 2),
    }  # fmt: skip
    mass = np.unique(train[:, 0])
    np.testing.assert_allclose(mass[[0, 1, -1]], [0.5, 0.5204, 1.5])
    assert all(np.unique(rows[:, 1]).tolist() == [-1, 1] for rows in (train, inside, outside))
    assert (inside[:, 0].min(), inside[:, 0].max()) == (0.51, 1.49)
    lower, upper = (np.unique(outside[:, 0][side]) for side in (outside[:, 0] < 1, outside[:, 0] > 1))
    assert (len(lower), lower[0], lower[-1]) == (25, 0.1, 0.49)
    assert (len(upper), upper[0], upper[-1]) == (25, 1.51, 2)
    assert family.in_training_ranges(np.concatenate((train, inside))).all()
    assert not family.in_training_ranges(outside).any()


def test_out_of_range_is_out_in_every_parameter():
    family = registry.get("double_integrator_friction")
    outside = family.fixed["extrapolation"]
    assert len(outside) == 2500
    assert ((outside < 0.5) | (outside > 1.5)).all()


def test_the_variants_that_are_played_lie_equally_far_apart():
    rows = registry.get("double_integrator_signed").fixed["train"]
    played = aib.chosen(rows[::-1], 20)
    assert played[[0, -1]].tolist() == [[0.5, -1], [1.5, 1]]
    places = [int(np.flatnonzero((rows == row).all(1))[0]) for row in played]
    assert len(places) == 20
    assert set(np.diff(places)) <= {5, 6}


@pytest.mark.parametrize("name", [*DOUBLE, "ode2_weak"])
def test_they_pass_the_check(name):
    registry.get(name).check()
