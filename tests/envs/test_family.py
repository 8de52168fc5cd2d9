"""Families: what they refuse, and their variants as tables."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from hyperrl.envs import Family, GymnasiumFamily, InputError, Parameter, registry

FAMILIES = [registry.get(name) for name in registry.families()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")
SIGNED = Parameter("power", "W", 1.0, train=(-1, 3), wide=(-5, 5))


def family_of(*parameters, **changes):
    return dataclasses.replace(registry.get("cartpole"), parameters=parameters, **{"held_out": {}} | changes)


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


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".hidden", "-x", "a\nb", "a\0b", "[red]", "\x1b[2J", "a b", 65 * "x", 5000 * "x", None, 3]
)
def test_a_name_is_part_of_names_of_files(name):
    with pytest.raises(InputError, match=r"the name must be letters, digits, .* at most 64") as error:
        dataclasses.replace(registry.get("cartpole"), name=name)
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["plant", "Pendel-größer", "v2.1", "_mine", 64 * "x"])
def test_other_names_are_free(name):
    assert dataclasses.replace(registry.get("cartpole"), name=name).name == name


@pytest.mark.parametrize("unit", ["a\nb", "\x1b[2J", "a\0b", 65 * "m", None, 3])
def test_a_unit_is_one_short_line(unit):
    with pytest.raises(InputError, match=r"unit=.*: must be one line of printable characters, at most 64") as error:
        dataclasses.replace(registry.get("cartpole")["length"], unit=unit)
    assert str(error.value).isprintable()
    for shown in ("[m/s]", "°C", "$/kWh", "", "m s⁻¹"):
        assert dataclasses.replace(registry.get("cartpole")["length"], unit=shown).unit == shown
