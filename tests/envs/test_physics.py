"""The check of a family of pure functions."""

import dataclasses

import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from hyperrl.envs import InputError, Parameter, PhysicsFamily

PLAIN = Parameter("mass", "kg", 2.0, train=(1, 3), wide=(0.5, 4), bounds="(0, 10]")


def leak(level, pump, p):
    """The likeliest slip: a parameter (T, 1) against a state (T, E, X)."""
    return level - p["mass"] * pump, -level[..., 0], level[..., 0] < 0


def ended(reward, terminated):
    """A step with another reward or end."""
    return lambda state, action, p: (state, reward(state), terminated(state))


def bend(state, action, p):
    """An action that is limited where it stands."""
    action[action > -1] = 0.5
    return state, zeros(state), never(state)


WEIGHT = torch.ones(1, requires_grad=True)
"""Of a network that somebody trained."""


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
        ({"observation_space": Box(-1, 1, (1, 1))}, r"observation_space Box of shape \(1, 1\) must be a Box .* \(O,\)"),
        ({"observation_space": Discrete(3)}, r"observation_space Discrete of shape \(\) must be a Box"),
        (
            {"action_space": MultiDiscrete([2, 2])},
            r"action_space MultiDiscrete of shape \(2,\) must be .* or a Discrete",
        ),
        ({"action_space": Box(-1, 1, ())}, r"action_space Box of shape \(\) must be a Box of numbers of shape \(A,\)"),
        ({"action_space": Box(-1, 1, (2, 3))}, r"action_space Box of shape \(2, 3\) must be .*; make one vector of it"),
        ({"start": lambda draws, p: draws.mul_(2)}, "start changes its argument 1 in place; compute a new tensor"),
        ({"step": ended(lambda state: zeros(state.add_(1)), never)}, "step changes its argument 1 in place"),
        ({"step": bend}, "step changes its argument 2 in place"),
        (
            {"observe": lambda state, p: state + p["mass"].mul_(2)[..., None]},
            r"observe changes its p\['mass'\] in place",
        ),
        ({"start": lambda draws, p: draws * WEIGHT}, r"start's state asks for gradients; detach\(\) what it is"),
        ({"step": ended(lambda state: zeros(state) * WEIGHT[0], never)}, "step's reward asks for gradients"),
        ({"observe": lambda state, p: state.to("meta")}, "observe's observation is on meta, but .* were on cpu"),
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
