"""Parameters, encodings, splits and their errors."""

import dataclasses
import math
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from hyperrl.envs import Family, GymnasiumFamily, InputError, Parameter, PhysicsFamily, registry
from hyperrl.envs.family import SPLITS

FAMILIES = [registry.get(name) for name in registry.families()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")
SIGNED = Parameter("power", "W", 1.0, train=(-1, 3), wide=(-5, 5))
DECADE = Parameter("drag", "1/s", 1.0, train=(0.1, 10), wide=(0.1, 10), bounds="(0, inf)")


def family_of(*parameters, **changes):
    return dataclasses.replace(registry.get("cartpole"), parameters=parameters, **{"held_out": {}} | changes)


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


def test_ranges_may_be_any_pair_of_numbers():
    listed = dataclasses.replace(PLAIN, train=[1, 3], wide=np.array([1, 3], dtype=np.float32))
    assert listed.train == listed.wide == (1.0, 3.0)
    assert {type(end) for end in (*listed.train, *listed.wide)} == {float}
    family = family_of(listed, SIGNED, held_out={"mass": [2, 3]})
    assert dict(family.held_out) == {"mass": ((2.0, 3.0),)}
    with pytest.raises(InputError, match="held_out mass=2: must be two numbers"):
        family_of(PLAIN, held_out={"mass": 2})
    with pytest.raises(InputError, match="held_out leaves nothing to train on; make it smaller"):
        family_of(PLAIN, held_out={"mass": [1, 3]})


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


def test_a_negative_decade_has_the_same_features():
    parameter = Parameter("drag", "1/s", -1.0, train=(-10, -0.1), wide=(-10, -0.1), bounds="(-inf, 0)")
    scaled, log, reciprocal = parameter.features(torch.tensor([-10.0, -1.0, -0.1]))
    torch.testing.assert_close(scaled, torch.tensor([-1.0, (-1 + 5.05) / 4.95, 1.0]))
    torch.testing.assert_close(log, torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(reciprocal, torch.tensor([-1.0, (-1 + 5.05) / -4.95, 1.0]))


@each_family
def test_contexts_of_training_variants_lie_within_one(family):
    train = family.variants("train", 64)
    context_TC = family.encode(torch.as_tensor(train))
    assert context_TC.shape == (len(train), family.context_size)
    assert context_TC.abs().max() <= 1 + 1e-9


@each_family
def test_splits_keep_to_their_regions(family):
    variants = {split: family.variants(split, 64) for split in ("train", *family.splits)}
    for split in ("train", "validation", "interpolation"):
        assert family.in_training_ranges(variants[split]).all()
        assert not family.is_held_out(variants[split]).any()
    assert ("combination" in variants) == bool(family.held_out)
    if family.held_out:
        assert family.in_training_ranges(variants["combination"]).all()
        assert family.is_held_out(variants["combination"]).all()
    if "extrapolation" in variants:
        assert not family.in_training_ranges(variants["extrapolation"]).any()
        low, high = family.box("wide")
        assert ((variants["extrapolation"] >= low) & (variants["extrapolation"] <= high)).all()
    rows = np.concatenate(list(variants.values()))
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert all(len(variants[split]) == min(64, len(family.fixed.get(split, rows))) for split in variants)


@pytest.mark.parametrize(
    ("family", "split"), [(family, split) for family in FAMILIES for split in ("train", *family.splits)]
)
def test_splits_are_fixed_and_nested(family, split):
    many = family.variants(split, 300)
    assert many.shape == (min(300, len(family.fixed.get(split, range(300)))), len(family.names))
    np.testing.assert_array_equal(many, family.variants(split, 300))
    np.testing.assert_array_equal(many[:8], family.variants(split, 8))


@each_family
def test_training_samples_are_never_held_out(family):
    low, high = family.box("train")
    unit = np.random.default_rng(0).random((4000, len(low)))
    anywhere = np.stack([p.place(unit[:, i], p.train) for i, p in enumerate(family.parameters)], axis=1)
    most = 0.55 if any(p.period for p in family.parameters) else 0.2  # of an angle, every other arc may be held out
    assert not family.held_out or 1 / 12 < family.is_held_out(anywhere).mean() < most
    sample = family.sample(2000, np.random.default_rng(1))
    assert family.in_training_ranges(sample).all()
    assert not family.is_held_out(sample).any()
    straight = [not p.period for p in family.parameters]
    atol = 0.01 * (high - low).max()
    np.testing.assert_allclose(sample.min(0)[straight], low[straight], atol=atol)
    np.testing.assert_allclose(sample.max(0)[straight], high[straight], atol=atol)


def test_splits_that_a_family_lacks_are_said():
    family = family_of(dataclasses.replace(PLAIN, train=[1, 3], wide=(1, 3)))
    assert family.splits == ("validation", "interpolation")
    assert family_of(PLAIN).splits == ("validation", "interpolation", "extrapolation")
    assert family_of(PLAIN, held_out={"mass": (1, 2)}).splits == SPLITS[1:]
    with pytest.raises(InputError, match="split 'extrapolation': family 'cartpole' has no variants in it"):
        family.variants("extrapolation", 1)
    with pytest.raises(InputError, match="split 'combination': family 'cartpole' has no variants in it"):
        family.variants("combination", 1)
    with pytest.raises(InputError, match="split 'test': unknown; choose from train, validation"):
        family.variants("test", 1)


def test_splits_with_hardly_any_variants_do_not_hang():
    family = family_of(dataclasses.replace(PLAIN, wide=(1, 3 + 1e-9)))
    with pytest.raises(InputError, match=r"'extrapolation': family 'cartpole' has hardly any variants .* wide wider"):
        family.variants("extrapolation", 1)
    family = family_of(PLAIN, held_out={"mass": (1, 3 - 1e-9)})
    with pytest.raises(InputError, match=r"'train': family 'cartpole' has hardly any .* make held_out smaller"):
        family.sample(1, np.random.default_rng(0))


def test_distance_counts_half_ranges_of_the_worst_parameter():
    family = family_of(PLAIN, SIGNED)
    table_TP = np.array([[2.0, 1.0], [3.0, 3.0], [4.0, 1.0], [0.5, 5.0], [0.5, 3.5]])
    np.testing.assert_allclose(family.distance(table_TP), [0, 0, 1, 1, 0.5])
    np.testing.assert_array_equal(family.in_training_ranges(table_TP), [True, True, False, False, False])


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


def test_variants_and_tables_turn_into_each_other():
    family = family_of(PLAIN, SIGNED)
    variants = [{"power": -1}, {}, {"power": 0.5, "mass": 3}]
    table_TP = family.table(variants)
    np.testing.assert_array_equal(table_TP, [[2, -1], [2, 1], [3, 0.5]])
    assert family.untable(table_TP) == [
        {"mass": 2.0, "power": -1.0},
        family.defaults,
        {"mass": 3.0, "power": 0.5},
    ]
    assert family.table([]).shape == (0, 2)
    values = family.values(torch.as_tensor(table_TP))
    assert values["power"].tolist() == [[-1.0], [1.0], [0.5]]


def test_errors_name_the_value_the_bound_and_the_remedy():
    family = registry.get("cartpole")
    with pytest.raises(InputError) as error:
        family.variant(length=-1.0)
    assert str(error.value) == ("length=-1.0: must be within (0, 10] m for family 'cartpole'; the default is 0.5")
    with pytest.raises(InputError, match="gravity=heavy: must be a number within"):
        family.variant(gravity="heavy")
    with pytest.raises(InputError, match="gravity=None: must be a number within"):
        family.table([{"gravity": None}])
    with pytest.raises(InputError, match=r"weight: unknown .* choose from gravity, masscart"):
        family.variant(weight=1.0)
    with pytest.raises(InputError, match=r"family 'cartpool': unknown; choose from cartpole, .*pendulum"):
        registry.get("cartpool")


def test_family_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match=r"needs one or more parameters with different names, got \[\]"):
        family_of()
    with pytest.raises(InputError, match=r"different names, got \['mass', 'mass'\]"):
        family_of(PLAIN, PLAIN)
    with pytest.raises(InputError, match=r"held_out mass=\(0\.5, 2\) must lie within its training range \(1, 3\)"):
        family_of(PLAIN, held_out={"mass": (0.5, 2)})
    with pytest.raises(InputError, match="power: unknown parameter"):
        family_of(PLAIN, held_out={"power": (0.5, 2)})
    with pytest.raises(InputError, match="held_out leaves nothing to train on; make it smaller"):
        family_of(PLAIN, SIGNED, held_out={"mass": (1, 3)})
    for parameters in (PLAIN, "mass", ("mass",), 3, None):
        with pytest.raises(InputError, match=r"^family 'cartpole': parameters=.*: must be a tuple of Parameter$"):
            dataclasses.replace(registry.get("cartpole"), parameters=parameters, held_out={})
        with pytest.raises(InputError, match=r"^family 'carts': parameters=.*: must be a tuple of Parameter$"):
            GymnasiumFamily(name="carts", parameters=parameters, make="CartPole-v1")
    assert family_of(*[PLAIN]).parameters == dataclasses.replace(family_of(PLAIN), parameters=[PLAIN]).parameters
    for steps in (0, -3, 2.7, float("nan"), float("inf")):
        with pytest.raises(InputError, match=rf"^family 'cartpole': max_episode_steps={steps} must be 1 or more, a wh"):
            family_of(PLAIN, max_episode_steps=steps)
    with pytest.raises(InputError, match=r"^family 'cartpole': max_episode_steps='x': must be a number$"):
        family_of(PLAIN, max_episode_steps="x")


def test_a_family_cannot_be_changed_by_accident():
    family = registry.get("cartpole")
    with pytest.raises(dataclasses.FrozenInstanceError):
        family.name = "other"
    with pytest.raises(TypeError):
        family.expert["n_envs"] = 1
    assert isinstance(family, Family)


@each_family
def test_shipped_families_pass_the_check(family):
    family.check()


def leak(level, pump, p):
    """The likeliest slip: a parameter (T, 1) against a state (T, E, X)."""
    return level - p["mass"] * pump, -level[..., 0], level[..., 0] < 0


def ended(reward, terminated):
    """A step with another reward or end."""
    return lambda state, action, p: (state, reward(state), terminated(state))


def zeros(state):
    return state[..., 0] * 0


def never(state):
    return state[..., 0] > 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": leak}, r"step raised RuntimeError: .*it got \(2, 3, 1\), \(2, 3, 1\) and parameters \(2, 1\)"),
        ({"step": lambda state, action: None}, "step raised TypeError: .* positional arguments"),
        ({"step": lambda state, action, p: (state, state[..., 0])}, "step must return .*next state, reward, term"),
        ({"step": ended(lambda state: state, never)}, r"step's reward must be \(T, E\) = \(2, 3\), .*got \(2, 3, 1\)"),
        ({"step": ended(lambda state: 1.0, never)}, "step's reward must be .*; got float$"),
        ({"step": ended(lambda state: zeros(state).double(), never)}, "step's reward must be .*got .*torch.float64"),
        (
            {"step": ended(zeros, zeros)},
            r"step's terminated must be \(T, E\) = \(2, 3\), torch\.bool, .*torch\.float32",
        ),
        (
            {"step": lambda s, a, p: (s[..., 0], zeros(s), never(s))},
            r"step's next state must be \(T, E, X\) = \(2, 3, 1\)",
        ),
        ({"start": lambda draws, p: draws[..., 0]}, r"start's state must be \(T, E, X\)"),
        ({"start": lambda draws, p: draws.double()}, "start's state must be .*torch.float32.*; got .*torch.float64"),
        ({"start": lambda draws, p: p["weight"] * draws}, "start raised KeyError: 'weight'"),
        ({"observe": lambda state, p: state.repeat(1, 1, 2)}, r"observe's .* \(2, 3, 1\), .*; got \(2, 3, 2\)"),
        ({"observation_space": Box(-1, 1, (1, 1))}, r"observation_space must be a Box of shape \(O,\)"),
        ({"action_space": Discrete(2, start=1)}, "action_space must be .* a Discrete from 0"),
        ({"action_space": Box(-1, 1, ())}, r"action_space must be a Box of shape \(A,\)"),
    ],
)
def test_the_check_names_the_function_and_what_it_must_answer(changes, message):
    family = PhysicsFamily(
        name="tank",
        parameters=(PLAIN,),
        observation_space=Box(-9, 9, (1,)),
        action_space=Box(-1, 1, (1,)),
        max_episode_steps=10,
        draws=1,
        start=lambda draws, p: draws,
        step=ended(zeros, never),
    )
    family.check()
    with pytest.raises(InputError, match=f"^family 'tank': {message}") as error:
        dataclasses.replace(family, **changes).check()
    assert "\n" not in str(error.value)


def register(monkeypatch, value, name="toy"):
    """Let other packages register values under a name."""
    points = [EntryPoint(name, one, registry.ENTRY_POINT_GROUP) for one in value.split()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.ENTRY_POINT_GROUP else [])


def test_other_packages_register_families_by_entry_point(monkeypatch, tmp_path):
    """An installed package, as far as Python can tell."""
    package = tmp_path / "toys-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[hyperrl.families]\ntoy = toys_of_a_test:family\n")
    (tmp_path / "toys_of_a_test.py").write_text("from hyperrl.envs.pendulum import signed as family\n")
    assert "toy" not in registry.families()
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.families()[-1] == "toy"
    assert registry.get("toy").name == "pendulum_signed"
    assert registry.env_id("toy") == registry.extra("toy") == ""


def test_a_name_that_is_taken_is_listed_once_and_said(monkeypatch):
    register(monkeypatch, "mine.tank:family", "cartpole")
    said = (
        "family 'cartpole': entry point 'mine.tank:family' of another package is left out, since the name is that of "
    )
    with pytest.warns(UserWarning, match=f"^{said}this package; register it under another name$"):
        assert registry.families().count("cartpole") == 1
    with pytest.warns(UserWarning, match=said):
        assert registry.get("cartpole") is registry.get("cartpole")
    register(monkeypatch, "hyperrl.envs.pendulum:family hyperrl.envs.ode:ode1")
    with pytest.warns(UserWarning, match="entry point 'hyperrl.envs.ode:ode1' .* that of hyperrl.envs.pendulum:family"):
        assert registry.families().count("toy") == 1
    with pytest.warns(UserWarning, match="left out"):
        assert registry.get("toy").name == "pendulum"
    register(monkeypatch, "hyperrl.envs.pendulum:family hyperrl.envs.pendulum:family")
    assert registry.families().count("toy") == 1


@each_family
def test_ids_are_known_without_the_family(family):
    assert registry.env_id(family.name) == family.env_id


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:family", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'; mend"),
        ("hyperrl.envs.pendulum:famly", "cannot be loaded: AttributeError: .*; mend or uninstall that package"),
        ("hyperrl.envs.pendulum:step", "is no hyperrl.envs.Family but a function"),
    ],
)
def test_a_broken_entry_point_is_named(monkeypatch, value, reason):
    register(monkeypatch, value)
    with pytest.raises(InputError, match=f"^family 'toy': entry point '{value}' of another package {reason}"):
        registry.get("toy")


def test_numpy_numbers_and_float64_boxes_are_taken():
    parameter = Parameter("mass", "kg", np.float32(1), train=(0.5, 2), wide=(0.5, 2))
    assert type(parameter.default) is float
    cartpole = registry.get("cartpole")
    family = dataclasses.replace(cartpole, max_episode_steps=np.int64(10))
    assert type(family.max_episode_steps) is int
    pendulum = registry.get("pendulum")
    dataclasses.replace(pendulum, action_space=Box(-4, 4, (1,), dtype=np.float64)).check()
    with pytest.raises(InputError, match="max_episode_steps=0 must be 1 or more"):
        dataclasses.replace(cartpole, max_episode_steps=0)
    with pytest.raises(InputError, match="default='x': must be a number"):
        Parameter("mass", "kg", "x", train=(0.5, 2), wide=(0.5, 2))
