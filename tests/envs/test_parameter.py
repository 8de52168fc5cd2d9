"""One parameter: its ranges, bounds and features, and how far a value lies outside."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from hyperrl.envs import InputError, Parameter, registry

FAMILIES = [registry.get(name) for name in registry.families()]

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": (0.4, 3)}, "must lie within wide"),
        ({"train": (1, 5)}, "must lie within wide"),
        ({"train": (3, 1)}, "must lie within wide"),
        ({"train": (2, 2)}, "must lie within wide"),
        ({"wide": (-1, 4)}, r"wide within \(0, 10\]; mend the ranges"),
        ({"wide": (0, 4)}, r"parameter 'mass': 0 must be within \(0, 10\]"),
        ({"default": 11.0}, r"parameter 'mass': 11 must be within \(0, 10\]"),
        ({"name": "pole mass"}, "parameter 'pole mass': the name must be a Python identifier, no keyword of Python"),
        ({"name": 3}, "parameter 3: the name must be a Python identifier"),
        ({"name": "class"}, "parameter 'class': the name must be .* no keyword of Python"),
        ({"name": "render_mode"}, "parameter 'render_mode': the name must be .* none of self, family, render_mode"),
        ({"bounds": "0 to 10"}, r"parameter 'mass': bounds='0 to 10': must be an interval, as in '\(0, 10\]'"),
        ({"bounds": ""}, "parameter 'mass': bounds='': must be an interval"),
        ({"bounds": (0, 10)}, r"parameter 'mass': bounds=\(0, 10\): must be an interval"),
        ({"bounds": "(10, 0]"}, r"parameter 'mass': bounds='\(10, 0\]': must be an interval"),
        ({"bounds": "0, 10"}, "parameter 'mass': bounds='0, 10': must be an interval"),
        ({"bounds": "<0, 10>"}, "parameter 'mass': bounds='<0, 10>': must be an interval"),
        (
            {"gap": -1},
            r"parameter 'mass': gap=-1 must be above 0, and leave values of both signs within train \(1, 3\)",
        ),
        ({"gap": 1}, r"parameter 'mass': gap=1 must be .* both signs within train \(1, 3\); mend it"),
        ({"gap": "wide"}, "parameter 'mass': gap='wide': must be a number"),
        ({"period": -2}, r"parameter 'mass': period=-2 must be at least as long as train \(1, 3\)"),
        ({"period": 1.5}, r"parameter 'mass': period=1.5 must be at least as long as train \(1, 3\)"),
        ({"period": None}, "parameter 'mass': period=None: must be a number"),
        ({"train": 2}, r"parameter 'mass': train=2: must be two numbers, as in \(0\.5, 2\)"),
        ({"wide": (0.5, 2, 4)}, "parameter 'mass': wide=.*: must be two numbers"),
        ({"wide": (0.5, "far")}, "parameter 'mass': wide=.*: must be two numbers"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as error:
        dataclasses.replace(PLAIN, **changes)
    assert "\n" not in str(error.value)


def test_parameter_may_have_a_default_outside_training():
    assert dataclasses.replace(PLAIN, default=9.0).default == 9.0


@pytest.mark.parametrize(
    ("bounds", "admitted"),
    [
        ("[0, 1]", [True, True]),
        ("(0, 1]", [False, True]),
        ("[0, 1)", [True, False]),
        ("(0, 1)", [False, False]),
    ],
)
def test_bounds_are_open_or_closed_as_written(bounds, admitted):
    parameter = Parameter("share", "1", 0.5, (0.4, 0.6), (0.2, 0.8), bounds)
    assert [parameter.admits(0), parameter.admits(1)] == admitted
    assert parameter.admits(0.5)
    assert not any(parameter.admits(value) for value in (-0.1, 1.1, math.nan, math.inf))


def test_a_negative_decade_has_the_same_features():
    parameter = Parameter("drag", "1/s", -1.0, train=(-10, -0.1), wide=(-10, -0.1), bounds="(-inf, 0)")
    scaled, log, reciprocal = parameter.features(torch.tensor([-10.0, -1.0, -0.1]))
    torch.testing.assert_close(scaled, torch.tensor([-1.0, (-1 + 5.05) / 4.95, 1.0]))
    torch.testing.assert_close(log, torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(reciprocal, torch.tensor([-1.0, (-1 + 5.05) / -4.95, 1.0]))


def test_scales_of_a_range_with_both_signs_are_odd_and_1_or_the_reciprocal_at_its_end():
    every = ("linear", "sign", "log", "reciprocal")
    gap = Parameter("torque", "N m", 2.0, (-3, 3), (-4, 4), gap=1, scales=every)
    values = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    linear, sign, log, reciprocal = gap.features(values)
    torch.testing.assert_close(linear, values / 3)
    assert sign.tolist() == [-1, -1, 1, 1]
    half = math.log(2) / math.log(4)
    torch.testing.assert_close(log, torch.tensor([-1.0, -half, half, 1.0]))
    torch.testing.assert_close(reciprocal, torch.tensor([-0.25, -0.5, 0.5, 0.25]))
    plain = Parameter("c", "1", 1.0, (-5, 5), (-10, 10), scales=("reciprocal", "log"))
    reciprocal, log = plain.features(torch.tensor([0.0, 1.0, -5.0, 10.0]))  # a fifth of the half-range is 1
    torch.testing.assert_close(reciprocal, torch.tensor([0.0, 1 / 2, -1 / 6, 1 / 11]))
    torch.testing.assert_close(log, torch.tensor([0.0, math.log(2), -math.log(6), math.log(11)]) / math.log(6))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scales": ("cubic",)}, r"scales=\('cubic',\): must be some of linear, sign, log, reciprocal"),
        ({"scales": "log"}, "must be some of"),
        ({"scales": 3}, "must be some of"),
        ({"scales": ("linear",), "period": 10.0}, "it is an angle"),
        ({"scales": ("linear",), "train": (2, 2), "distractor": True}, "trained on one value"),
        ({"scales": ("log",)}, "infinite at 0"),
    ],
)
def test_scales_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        Parameter(**{"name": "m", "unit": "kg", "default": 2.0, "train": (1, 3), "wide": (1, 3), **changes})


EVERY = [(family.name, p) for family in FAMILIES for p in family.parameters if not p.distractor]
every_parameter = pytest.mark.parametrize(
    "parameter", [p for _, p in EVERY], ids=[f"{name}-{p.name}" for name, p in EVERY]
)


@every_parameter
def test_both_ends_of_a_training_range_lie_within_it_and_what_is_just_outside_does_not(parameter):
    ends = np.array(parameter.train)
    within = np.concatenate([ends, [-parameter.gap, parameter.gap]] if parameter.gap else [ends])
    assert parameter.outside(within).tolist() == [0.0] * len(within)
    assert [float(parameter.outside(end)) for end in within] == [0.0] * len(within)
    little = 1e-14 * (ends[1] - ends[0])
    beyond = np.array([ends[0] - little, ends[1] + little])
    if parameter.gap:
        beyond = np.concatenate([beyond, [-parameter.gap + little, parameter.gap - little]])
    if not parameter.period:  # a whole turn has no outside
        assert (parameter.outside(beyond) > 0).all()


@every_parameter
def test_what_is_drawn_lies_within_the_range_that_it_is_drawn_from(parameter):
    unit = np.array([0.0, 0.25, np.nextafter(0.5, 0.0), 0.5, np.nextafter(1.0, 0.0), 1.0])
    for low, high in (parameter.train, parameter.wide):
        drawn = parameter.place(unit, (low, high))
        assert ((low <= drawn) & (drawn <= high)).all()
    assert parameter.outside(parameter.place(unit, parameter.train)).tolist() == [0.0] * len(unit)


def test_an_angle_lies_as_far_outside_as_it_has_to_turn():
    angle = Parameter("phi", "deg", 0.0, train=(-90, 90), wide=(-180, 180), period=360)
    values = np.array([-90.0, 90.0, 270.0, -270.0, 360.0, 99.0, -99.0, 180.0, 261.0, 450.0 + 45.0])
    np.testing.assert_allclose(angle.outside(values), [0, 0, 0, 0, 0, 0.1, 0.1, 1, 0.1, 0.5], atol=1e-15)
    assert angle.outside(values)[:5].tolist() == [0.0] * 5
    uneven = dataclasses.replace(angle, train=(0.1, 0.7), wide=(0.1, 0.7), default=0.1, period=2 * math.pi)
    assert uneven.outside(np.array([0.1, 0.7])).tolist() == [0.0, 0.0]
