"""Variants as contexts and as coordinates."""

import dataclasses
import math

import pytest
import torch

from hyperrl.envs import Parameter, registry

FAMILIES = [registry.get(name) for name in registry.families()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")
SIGNED = Parameter("power", "W", 1.0, train=(-1, 3), wide=(-5, 5))
DECADE = Parameter("drag", "1/s", 1.0, train=(0.1, 10), wide=(0.1, 10), bounds="(0, inf)")


def family_of(*parameters, **changes):
    return dataclasses.replace(registry.get("cartpole"), parameters=parameters, **{"held_out": {}} | changes)


def test_features_of_each_kind_of_parameter():
    family = family_of(PLAIN, SIGNED, DECADE)
    context_TC = family.encode(torch.tensor([[2.0, -1.0, 1.0], [3.0, 2.0, 10.0], [0.5, 0.0, 0.1]]))
    expected = [
        # mass, power, its sign, drag, its logarithm, its reciprocal
        [0.0, -1.0, -1.0, (1 - 5.05) / 4.95, 0.0, (1 - 5.05) / -4.95],
        [1.0, 0.5, 1.0, 1.0, 1.0, 1.0],
        [-1.5, -0.5, 0.0, -1.0, -1.0, -1.0],
    ]
    torch.testing.assert_close(context_TC, torch.tensor(expected))
    assert family.context_size == 6


@each_family
def test_contexts_of_training_variants_lie_within_one(family):
    train = family.variants("train", 64)
    context_TC = family.encode(torch.as_tensor(train))
    assert context_TC.shape == (len(train), family.context_size)
    assert context_TC.abs().max() <= 1 + 1e-9


def test_nearest_is_clamped_to_the_training_ranges_but_for_angles():
    angle = Parameter("phi", "rad", 0.0, train=(-1, 1), wide=(-4, 4), period=2 * math.pi)
    family = family_of(PLAIN, SIGNED, angle)
    variants = torch.tensor([[0.5, -5.0, 3.0], [2.0, 0.25, -0.5], [4.0, 3.5, 9.0]])
    expected = torch.tensor([[1.0, -1.0, 3.0], [2.0, 0.25, -0.5], [3.0, 3.0, 9.0]])
    torch.testing.assert_close(family.nearest(variants), expected, atol=0, rtol=0)


def test_the_context_expected_from_one_draw_is_its_own():
    angle = Parameter("phi", "rad", 0.0, train=(-1, 1), wide=(-4, 4), period=2 * math.pi)
    family = family_of(PLAIN, SIGNED, DECADE, angle)
    variants_TP = torch.tensor([[1.5, -0.5, 0.3, 2.5], [2.5, 2.0, 7.0, -1.0]])
    draws_BMP = torch.stack([variants_TP, variants_TP.flip(0)], dim=1)
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(family.expected_context(draws_BMP, first), family.encode(variants_TP))


def test_in_the_context_expected_from_several_draws_a_sign_in_doubt_is_none():
    angle = Parameter("phi", "deg", 0.0, train=(-90, 90), wide=(-180, 180), period=360)
    family = family_of(SIGNED, angle)
    draws_BMP = torch.tensor([[[-1.0, 80.0], [0.2, 100.0], [2.0, 90.0]]])
    (context,) = family.expected_context(draws_BMP, torch.tensor([[0.5, 0.25, 0.25]])).tolist()
    # power trains on -1 to 3: (value - 1) / 2, and its sign; phi's is the direction of the mean vector
    x = 0.5 * math.cos(math.radians(80)) + 0.25 * math.cos(math.radians(100))
    y = 0.5 * math.sin(math.radians(80)) + 0.25 * math.sin(math.radians(100)) + 0.25
    expected = [0.5 * -1 + 0.25 * -0.4 + 0.25 * 0.5, 0.0, x / math.hypot(x, y), y / math.hypot(x, y)]
    assert context == pytest.approx(expected, abs=1e-6)
