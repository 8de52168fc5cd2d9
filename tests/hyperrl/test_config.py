"""Settings of the wrong type are refused, and equal ones of another type are made right."""

import numpy as np
import pytest

from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.families import tuned


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("steps", "100", "a whole number"),
        ("steps", 1000.5, "a whole number"),
        ("steps", float("nan"), "a whole number"),
        ("steps", True, "a whole number"),
        ("gamma", "0.9", "a number"),
        ("gamma", None, "a number"),
        ("agent", 3, "a string"),
        ("hidden", 64, "a list of whole numbers"),
        ("hidden", "64", "a list of whole numbers"),
        ("hidden", (64, 0.5), "a list of whole numbers"),
    ],
)
def test_settings_of_the_wrong_type(setting, value, kind):
    with pytest.raises(InputError) as error:
        Config(family="cartpole", **{setting: value})
    assert str(error.value) == f"{setting}={value!r}: must be {kind}; choose another value"


def test_equal_numbers_of_another_type_are_made_right():
    config = Config(family="cartpole", steps=4e5, copies=np.int64(8), gamma=1, clip=np.float32(0.25), hidden=[8.0, 8])
    assert config == Config(family="cartpole", steps=400_000, copies=8, gamma=1.0, clip=0.25, hidden=(8, 8))
    assert [type(value) for value in (config.steps, config.copies, config.gamma, config.clip)] == [
        int,
        int,
        float,
        float,
    ]
    assert {type(width) for width in config.hidden} == {int}


def test_minibatches_are_even():
    with pytest.raises(InputError, match=r"^minibatches=3: must be a divisor of copies x rollout = 256"):
        Config(family="cartpole", minibatches=3)
    assert Config(family="cartpole", copies=3, rollout=5, minibatches=15).minibatches == 15


@pytest.mark.parametrize("name", registry.families())
def test_tuned_settings_are_settings(name):
    Config(family=name).updated(tuned(registry.get(name)).training)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 10**30}, "steps"),
        ({"steps": 10**400}, "steps"),
        ({"evaluations": 10**12}, "evaluations"),
        ({"variants": 10**9}, "variants"),
        ({"copies": 10**6, "minibatches": 10**6}, "copies"),
        ({"rollout": 10**6, "variants": 1000}, "rollout"),
        ({"hidden": (10**6,)}, "hidden"),
        ({"hidden": (2000, 2000)}, "hidden"),
        ({"hidden": (1,) * 65}, "hidden"),
        ({"generator_hidden": (10**5, 10**5)}, "generator_hidden"),
        ({"generator_hidden": (10**9,)}, "generator_hidden"),
        ({"learning_rate": 1e30}, "learning_rate"),
        ({"clip": float("inf")}, "clip"),
        ({"value_coef": float("nan")}, "value_coef"),
        ({"log_std": 1e3}, "log_std"),
    ],
)
def test_what_memory_and_time_cannot_bear_is_refused(settings, named):
    with pytest.raises(InputError, match=rf"^{named}=.*: must be (.*at most|.*within|a whole)") as error:
        Config(family="cartpole", **settings)
    assert "\n" not in str(error.value)


def test_what_they_can_bear_is_not():
    Config(family="cartpole", steps=10**10, variants=1000, copies=64, rollout=128)
    Config(family="cartpole", hidden=(512, 512, 512), generator_hidden=(256, 256))
