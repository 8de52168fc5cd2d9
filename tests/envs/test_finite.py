"""A family that gives NaN or infinity: one line says what, where the family is checked, audited or given experts."""

import math
import re
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from hyperrl.envs import Attribute, GymnasiumFamily, InputError, Parameter, PhysicsFamily
from hyperrl.envs.audit import audit
from hyperrl.envs.finite import require_finite

GAIN = Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0))


def step(state, action, p):
    after = (0.9 * state + p["gain"].unsqueeze(-1) * action).clamp(-2, 2)
    return after, -after.squeeze(-1).square(), torch.zeros_like(state[..., 0], dtype=torch.bool)


PLANT = PhysicsFamily(
    "plant", (GAIN,), Box(-2, 2, (1,)), Box(-1, 1, (1,)), 8, draws=1, start=lambda draws, p: 2 * draws - 1, step=step
)


def spoiled(where, value, wrong=lambda state, p: torch.ones_like(state[..., 0], dtype=torch.bool)):
    """The plant with another reward, observation or last observation at the states that are wrong."""

    def other(state, action, p):
        after, reward, ends = step(state, action, p)
        here = wrong(state, p)
        if where == "end":
            return after.where(~here.unsqueeze(-1), value), reward, here
        return after, reward.where(~here, value) if where == "reward" else reward, ends

    def observe(state, p):
        return state.where(~wrong(state, p).unsqueeze(-1), value) if where == "observe" else state

    return replace(PLANT, step=other, observe=observe)


class Cart(gymnasium.Env):
    """Counts its steps; what ``bad`` names is NaN."""

    observation_space, action_space = Box(-9, 9, (1,), np.float32), Box(-1, 1, (1,), np.float32)
    gain, bad, t = 1.0, "", 0

    def obs(self, name):
        return np.full(1, math.nan if name == self.bad else self.t, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.obs("start"), {}

    def step(self, action):
        self.t += 1
        reward = math.nan if self.bad == "reward" else self.gain
        return self.obs("next"), reward, self.bad == "end", False, {}


def cart(bad):
    def make(render_mode=None):
        env = Cart()
        env.bad = bad
        return env

    return GymnasiumFamily(
        name="cart", parameters=(GAIN,), make=make, apply={"gain": Attribute("gain")}, max_episode_steps=8
    )


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (lambda: spoiled("reward", math.nan), "a reward of the first step is nan"),
        (lambda: spoiled("reward", -math.inf), "a reward of the first step is -inf"),
        (lambda: spoiled("observe", math.inf), "an observation of a start is inf"),
        (lambda: cart("start"), "an observation of a start is nan"),
        (lambda: cart("next"), "the observation after the first step is nan"),
        (lambda: cart("reward"), "the reward of the first step is nan"),
    ],
)
def test_a_check_says_what_is_not_finite(family, said):
    with pytest.raises(InputError, match=rf"^family '\w+' at gain=\S+: {said}: must be finite; mend the family there$"):
        family().check()


def test_what_an_episode_terminates_in_may_be_anything():
    spoiled("end", math.nan).check()
    cart("end").check()
    assert audit(spoiled("end", math.nan, lambda state, p: state[..., 0] > 1.5)).not_finite == ()


@pytest.mark.parametrize("where", ["reward", "observe"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_audit_of_training_variants_that_are_not_finite_is_one_line(where, value):
    """Also where a check does not come: in states that are met later."""
    for wrong in ({}, {"wrong": lambda state, p: state[..., 0] > 1.5}):
        with pytest.raises(InputError, match=rf"^family 'plant' at gain=\S+: an? \w+.* is {value}: must be finite"):
            audit(spoiled(where, value, **wrong))


def test_an_audit_names_a_parameter_whose_starts_are_not_finite():
    far = replace(PLANT, start=lambda draws, p: draws * (3 - p["gain"]).sqrt().unsqueeze(-1))
    found = audit(far)
    assert found.not_finite == ("gain",)
    assert not found.passed


def test_numbers_beyond_a_largest_size_are_named():
    require_finite(PLANT, "a reward", [[1.0], [1e15]], np.array([[1.0], [2.0]]), 1e15)
    told = "family 'plant' at gain=2: a reward is -1e+16: must be finite and at most 1e+15 in size; mend the family"
    with pytest.raises(InputError, match=re.escape(told)):
        require_finite(PLANT, "a reward", [[1.0], [-1e16]], np.array([[1.0], [2.0]]), 1e15)
