"""The audit of parameters: on every shipped family, on known mistakes, and on families whose answers are known."""

import dataclasses
import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

from hyperrl.envs import InputError, Parameter, PhysicsFamily, registry
from hyperrl.envs.audit import audit
from hyperrl.envs.drift import Walk
from hyperrl.envs.gymnasium_env import Argument, Attribute, GymnasiumFamily

TRAIN, WIDE = (0.5, 1.5), (0.25, 3.0)


def parameter(name, **changes):
    return Parameter(name, "1", **({"default": 1.0, "train": TRAIN, "wide": WIDE} | changes))


def never(x):
    return torch.zeros_like(x, dtype=torch.bool)


def plant(force, *parameters, start=None, reward=None, terminated=None, **changes):
    """A unit mass on a line under ``force(x, v, a, p)``; observations are position and velocity."""

    def step(state, action, p):
        x, v = state.unbind(-1)
        a = action.squeeze(-1)
        v = v + 0.1 * force(x, v, a, p)
        x = x + 0.1 * v
        paid = -x.square() if reward is None else reward(x, p)
        return torch.stack((x, v), -1), paid, never(x) if terminated is None else terminated(x, p)

    return PhysicsFamily(
        "plant",
        tuple(p if isinstance(p, Parameter) else parameter(p) for p in parameters),
        Box(-np.inf, np.inf, (2,)),
        Box(-1, 1, (1,)),
        max_episode_steps=changes.pop("max_episode_steps", 200),
        draws=2,
        start=start or (lambda draws, p: 2 * draws - 1),
        step=step,
        **changes,
    )


# the shipped families


SLOW = {"bipedal_walker", "ant"}


def shipped():
    for name in registry.families():
        try:
            yield pytest.param(registry.get(name), id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        except InputError as missing:
            yield pytest.param(None, id=name, marks=pytest.mark.skip(reason=str(missing)))


@pytest.mark.parametrize("family", list(shipped()))
def test_every_shipped_family_passes(family):
    found = audit(family)
    assert [name for name, effect in found.parameters.items() if not effect.passed] == []
    assert found.passed
    assert found.deterministic
    assert found.not_finite == ()
    assert [pair.parameters for pair in found.pairs] == []
    assert tuple(found.parameters) == family.names
    assert found.states >= 20


def test_what_is_known_of_cartpole():
    found = audit(registry.get("cartpole")).parameters
    assert found["force_mag"].next_state > found["gravity"].next_state > 0
    assert {effect.reward for effect in found.values()} == {0.0}  # the reward is 1, whatever happens
    assert {effect.reset for effect in found.values()} == {0.0}  # starts do not depend on the variant
    # explicit Euler: pushes reach the position and the angle one step later, so ends move in the steps after
    assert all(0 < found[name].termination < 0.9 for name in ("masscart", "length", "force_mag"))
    assert all(effect.states == 1 for effect in found.values())


# environments of others


def gym_cartpole(**changes):
    names = ("gravity", "masscart", "length")
    own = registry.get("cartpole")
    return GymnasiumFamily(
        name="carl",
        make="CartPole-v1",
        parameters=tuple(own[name] for name in names),
        apply={name: Attribute(name) for name in names},
        **changes,
    )


def test_setattr_alone_does_not_set_masscart():
    found = audit(gym_cartpole())
    assert not found.passed
    assert [name for name, effect in found.parameters.items() if not effect.passed] == ["masscart"]
    masscart = found.parameters["masscart"]
    assert (masscart.next_state, masscart.reward, masscart.termination, masscart.reset) == (0, 0, 0, 0)
    assert not masscart.acts


def test_masscart_acts_once_what_is_derived_is_computed_anew():
    def derive(env):
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length

    found = audit(gym_cartpole(derive=derive))
    assert found.passed
    assert found.pairs == ()


class Thrower(gymnasium.Env):
    """A mass pushed by ``force / mass``; its gravity is fixed when it is built. Observations are float32."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,)), Box(-1, 1, (1,))
    noise = 0.0

    def __init__(self, render_mode=None, gravity=1.0):
        self.gravity, self.force, self.mass = gravity, 1.0, 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.random(2)
        return self.state.astype(np.float32), {}

    def step(self, action):
        x, v = self.state
        v += 0.1 * (self.force / self.mass * float(action[0]) - self.gravity)
        v += self.noise * np.random.default_rng().random()
        self.state = np.array([x + 0.1 * v, v])
        return self.state.astype(np.float32), -abs(x), False, False, {}


def thrower(make=Thrower, **changes):
    apply = {"gravity": Argument("gravity"), "force": Attribute("force"), "mass": Attribute("mass")}
    parameters = tuple(map(parameter, apply))
    return GymnasiumFamily(
        name="thrower", make=make, parameters=parameters, apply=apply, max_episode_steps=100, **changes
    )


def test_an_argument_acts_only_at_reset_and_float32_shows_a_ratio():
    found = audit(thrower())
    assert found.passed
    only = {name: effect.acts_only_at_reset for name, effect in found.parameters.items()}
    assert only == {"gravity": True, "force": False, "mass": False}
    # a step takes 0.1 gravity off the velocity wherever it starts: how much is the same as were it an attribute
    gravity = found.parameters["gravity"]
    at_once = audit(dataclasses.replace(thrower(), apply={**thrower().apply, "gravity": Attribute("gravity")}))
    assert gravity.next_state == pytest.approx(at_once.parameters["gravity"].next_state, 1e-4)
    assert gravity.next_state > 0.05
    assert gravity.states == 1
    assert [(pair.parameters, pair.only) for pair in found.pairs] == [(("force", "mass"), "ratio")]


def test_noise_that_no_seed_governs_fails():
    class Noisy(Thrower):
        noise = 1e-3

    found = audit(thrower(Noisy))
    assert not found.deterministic
    assert not found.passed
    assert all(effect.acts for effect in found.parameters.values())


def test_copies_in_processes_are_audited_in_this_one():
    family = dataclasses.replace(gym_cartpole(), vectorization="async")
    assert audit(family) == audit(gym_cartpole())


# what acts, and what does not


def test_a_parameter_without_effect_fails_and_a_declared_distractor_passes():
    idle = parameter("idle")
    found = audit(plant(lambda x, v, a, p: p["gain"] * a, "gain", idle))
    assert not found.passed
    assert not found.parameters["idle"].acts
    assert found.parameters["gain"].passed
    declared = dataclasses.replace(idle, distractor=True)
    found = audit(plant(lambda x, v, a, p: p["gain"] * a, "gain", declared))
    assert found.passed
    assert found.parameters["idle"].distractor


def test_a_distractor_that_acts_fails():
    idle = parameter("idle", distractor=True)
    found = audit(plant(lambda x, v, a, p: p["gain"] * a + 1e-9 * p["idle"], "gain", idle))
    assert not found.passed
    assert found.parameters["idle"].acts
    assert not found.parameters["idle"].passed


def test_a_parameter_of_the_start_acts_only_at_reset():
    def start(draws, p):
        return (2 * draws - 1) * torch.stack((p["spread"], torch.ones_like(p["spread"])), -1)

    found = audit(plant(lambda x, v, a, p: p["gain"] * a, "gain", "spread", start=start))
    assert found.passed
    assert found.parameters["spread"].acts_only_at_reset
    assert found.parameters["spread"].reset > 0.01
    # what the start moves, the position keeps
    assert found.parameters["spread"].next_state == pytest.approx(found.parameters["spread"].reset)
    assert not found.parameters["gain"].acts_only_at_reset
    assert found.parameters["gain"].reset == 0


def test_what_acts_late_is_waited_for():
    """A wall that no copy reaches in the first steps of any round: a drift of 0.01 a step, from 0 to 1.5."""

    def force(x, v, a, p):
        return torch.where(x > 1.5, -p["wall"], 10 * (0.1 - v)) + 0 * a

    family = plant(force, "wall", start=lambda draws, p: 0 * draws, reward=lambda x, p: 0 * x)
    effect = audit(family).parameters["wall"]
    assert effect.acts
    assert not effect.acts_only_at_reset
    assert effect.next_state == effect.states == 0


@pytest.mark.parametrize("steps", [1, 5])
def test_short_episodes(steps):
    found = audit(plant(lambda x, v, a, p: p["gain"] * a, "gain", "idle", max_episode_steps=steps))
    assert [effect.acts for effect in found.parameters.values()] == [True, False]


def test_an_end_that_a_reset_decides_is_counted():
    """Starts lie evenly in +-1 and stay; episodes of wide ones end at once, which nothing but a reset brings about."""

    def start(draws, p):
        return (2 * draws - 1) * torch.stack((p["spread"], torch.ones_like(p["spread"])), -1)

    found = audit(plant(still, "spread", start=start, terminated=lambda x, p: x.abs() > 1.2))
    effect = found.parameters["spread"]
    assert effect.acts_only_at_reset
    assert 0.4 < effect.termination < 0.8  # at a spread of 3 six tenths of the starts are out, at 1 none


def test_drift_is_left_out():
    family = plant(lambda x, v, a, p: p["gain"] * a, "gain", "idle", drift={"idle": Walk(0.1)})
    found = audit(family)
    assert found.deterministic
    assert not found.parameters["idle"].acts


def test_values_where_the_physics_breaks_are_named():
    found = audit(plant(lambda x, v, a, p: a * p["k"] + (2 - p["root"]).sqrt() * x, "k", "root"))
    assert found.not_finite == ("root",)
    assert not found.passed


def test_an_angle_that_goes_round_and_a_gap():
    angle = Parameter("angle", "deg", 0.0, (0, 360), (0, 360), period=360)
    sign = Parameter("sign", "1", 1.0, (-2, 2), (-3, 3), gap=1)

    def force(x, v, a, p):
        assert (p["sign"].abs() > 0.99).all()
        return p["sign"] * a * (torch.pi / 180 * p["angle"]).cos()

    assert audit(plant(force, angle, sign)).passed


# the numbers, by hand


def still(x, v, a, p):
    """The velocity becomes 0 at once, and the position stays."""
    return -10 * v + 0 * a


def test_the_reward_by_hand():
    found = audit(plant(still, "price", reward=lambda x, p: 0 * x - p["price"]))
    price = found.parameters["price"]
    paid_B = np.array([variant["price"] for variant in found.variants])
    assert price.reward == pytest.approx(np.abs(np.linspace(*WIDE, 5)[:, None] - paid_B).mean(1).max())
    assert (price.next_state, price.termination, price.reset, price.states) == (0, 0, 0, 1)


def test_the_termination_by_hand():
    """Starts lie evenly in +-1; those between the default's limit and another are ended by one and not by the other."""
    limit = parameter("limit", default=0.0, train=(-0.01, 0.01), wide=(-0.5, 0.5))
    found = audit(plant(still, limit, reward=lambda x, p: 0 * x, terminated=lambda x, p: x > p["limit"]))
    effect = found.parameters["limit"]
    # a quarter of the starts; once those above 0 have ended, half of the others lie above -0.5
    assert 0.3 < effect.termination < 0.6
    assert effect.states == effect.termination
    assert (effect.next_state, effect.reward) == (0, 0)


def test_next_state_is_in_standard_deviations_of_what_is_observed():
    """The parameter itself is observed, beside a position that stays."""
    family = plant(lambda x, v, a, p: -10 * v + 0 * a, "shown")
    shown = dataclasses.replace(
        family, observe=lambda state, p: torch.stack((state[..., 0], p["shown"].expand(state.shape[:2])), -1)
    )
    found = audit(shown)
    shown_B = np.array([variant["shown"] for variant in found.variants])
    change_VB = np.abs(np.linspace(*WIDE, 5)[:, None] - shown_B) / shown_B.std()
    expected = np.median(change_VB, axis=1).max()
    assert found.parameters["shown"].next_state == pytest.approx(expected)
    assert found.parameters["shown"].reset == pytest.approx(expected)


# pairs

PAIRS = {
    "ratio": (lambda x, v, a, p: p["m"] / p["n"] * a, "m / n"),
    "product": (lambda x, v, a, p: (p["m"] * p["n"]).sin() * a, "m * n"),
    "sum": (lambda x, v, a, p: a - (p["m"] + p["n"]) * x, "m + n"),
    "difference": (lambda x, v, a, p: a + (p["m"] - p["n"]) * x, "m - n"),
    "combination": (lambda x, v, a, p: p["m"] ** 2 * p["n"] * a, "m^2 * n"),
    "combination of a square below": (lambda x, v, a, p: p["m"] / p["n"] ** 2 * a, "m / n^2"),
    "combination of both": (lambda x, v, a, p: (p["m"] ** 1.5 * p["n"]).cos() * a, "m^3 * n^2"),
    "combination of an odd power": (lambda x, v, a, p: p["m"] ** -0.3 * p["n"] * a, "m^-0.3 * n"),
    "combination of another form": (lambda x, v, a, p: (p["m"] + p["n"] ** 2) * a, ""),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs_that_act_as_one(kind):
    force, expression = PAIRS[kind]
    found = audit(plant(lambda x, v, a, p: force(x, v, a, p) + p["other"], "m", "other", "n"))
    assert found.passed
    (pair,) = found.pairs
    assert (pair.parameters, pair.only, pair.expression) == (("m", "n"), kind.partition(" ")[0], expression)


SEPARATE = {
    "drag": lambda x, v, a, p: (p["m"] * a - 0.05 * v) / p["n"],
    "reward": lambda x, v, a, p: p["m"] * a / p["n"],
    "nearly": lambda x, v, a, p: p["m"] * p["n"] * a + 0.01 * p["n"] * x,
}


@pytest.mark.parametrize("kind", SEPARATE)
def test_what_acts_otherwise_anywhere_is_no_pair(kind):
    reward = (lambda x, p: -p["m"] * x.square()) if kind == "reward" else None
    assert audit(plant(SEPARATE[kind], "m", "n", reward=reward)).pairs == ()


def test_signs_do_not_hide_a_product():
    signed = [Parameter(name, "1", 1.0, (-2, 2), (-3, 3), gap=0.5) for name in ("m", "n")]
    (pair,) = audit(plant(lambda x, v, a, p: p["m"] * p["n"] * a, *signed)).pairs
    assert pair.only == "product"


# the report


def test_json_is_plain_and_progress_rises():
    shares = []
    found = audit(plant(lambda x, v, a, p: p["m"] / p["n"] * a, "m", "n"), shares.append)
    content = json.loads(json.dumps(found.json(), allow_nan=False))
    assert list(content) == [
        "family", "passed", "parameters", "pairs", "states", "variants", "deterministic", "not_finite",
    ]  # fmt: skip
    fields = {"next_state", "reward", "termination", "states", "reset", "acts", "acts_only_at_reset", "distractor"}
    assert set(content["parameters"]["m"]) == fields
    assert content["pairs"] == [{"parameters": ["m", "n"], "only": "ratio", "expression": "m / n"}]
    assert content["variants"][0] == {"m": 1.0, "n": 1.0}
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_twice_the_same():
    family = registry.get("cartpole")
    assert audit(family) == audit(family)


def test_gymnasiums_own_cartpole_says_the_same_as_the_audit():
    """A parameter acts by the audit just where it changes Gymnasium's own next state."""
    effects = audit(registry.get("cartpole")).parameters
    for name, effect in effects.items():
        after = []
        for value in registry.get("cartpole")[name].wide:
            env = CartPoleEnv()
            env.reset(seed=0)
            setattr(env, name, value)
            env.total_mass, env.polemass_length = env.masspole + env.masscart, env.masspole * env.length
            after.append(env.step(1)[0])
        assert effect.acts == (not np.array_equal(*after))
