"""The registered single environments are ordinary Gymnasium environments."""

import copy
import dataclasses
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_env_gymnasium
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from hyperrl.envs import Argument, InputError, Parameter, PhysicsFamily, VariantEnv, registry

FAMILIES = [family for family in map(registry.get, registry.families()) if isinstance(family, PhysicsFamily)]
FAMILIES = [family for family in FAMILIES if family.env_id]
# what needs MuJoCo's renderer is tested in test_mujoco.py
OURS = [family for family in FAMILIES if not family.simulated]
GYMNASIUMS = [family for family in OURS if family.env_id.removeprefix("hyperrl/") in gymnasium.registry]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
each_of_gymnasium = pytest.mark.parametrize("family", GYMNASIUMS, ids=lambda family: family.name)


def changed(family):
    """Every parameter away from its default, within the wider range."""
    return {p.name: 0.5 * (p.default + p.wide[1]) for p in family.parameters}


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.parametrize("family", OURS, ids=lambda family: family.name)
@pytest.mark.parametrize("changes", [lambda family: {}, changed], ids=["default", "changed"])
@pytest.mark.parametrize("check_env", [check_env_gymnasium, check_env_sb3], ids=["gymnasium", "sb3"])
def test_environment_checkers_pass(family, changes, check_env):
    """Ours gives no warning, such as of infinite bounds, that Gymnasium's environment does not give too.

    Where Gymnasium has none, CartPole and Pendulum stand for it.
    """

    def warnings_of(env):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_env(env.unwrapped)
        return {str(warning.message) for warning in caught}

    theirs = [family.env_id.removeprefix("hyperrl/")] if family in GYMNASIUMS else ["CartPole-v1", "Pendulum-v1"]
    allowed = set.union(*(warnings_of(gymnasium.make(name)) for name in theirs))
    assert warnings_of(gymnasium.make(family.env_id, **changes(family))) <= allowed


@each_of_gymnasium
def test_frames_are_gymnasiums(family):
    ours = gymnasium.make(family.env_id, render_mode="rgb_array")
    theirs = gymnasium.make(family.env_id.removeprefix("hyperrl/"), render_mode="rgb_array")
    ours.action_space.seed(0)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    first = ours.render()
    np.testing.assert_array_equal(first, theirs.render())
    for _ in range(5):
        action = ours.action_space.sample()
        ours.step(action)
        theirs.step(action)
    np.testing.assert_array_equal(ours.render(), theirs.render())
    assert first.dtype == np.uint8
    assert (first != ours.render()).any()
    ours.close()
    theirs.close()


@each_family
def test_registration_matches_the_family(family):
    env = gymnasium.make(family.env_id)
    assert env.spec.max_episode_steps == family.max_episode_steps
    assert env.unwrapped.context == family.defaults
    env.reset(seed=0)
    env.action_space.seed(0)
    for step in range(1, family.max_episode_steps + 1):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        assert truncated == (step == family.max_episode_steps)
        if terminated or truncated:
            break


def test_parameters_are_keywords_and_act():
    env = gymnasium.make("hyperrl/CartPole-v1", gravity=12.0, length=0.8)
    assert env.unwrapped.context == registry.get("cartpole").variant(gravity=12, length=0.8)
    plain = gymnasium.make("hyperrl/CartPole-v1")
    env.reset(seed=0)
    plain.reset(seed=0)
    assert (env.step(1)[0] != plain.step(1)[0]).any()


@pytest.mark.parametrize("action", [5, 2, -1, 0.5, np.array([0, 1]), None])
def test_actions_outside_a_discrete_space_are_refused(action):
    ours, theirs = (gymnasium.make(name) for name in ("hyperrl/CartPole-v1", "CartPole-v1"))
    for env in (ours, theirs):
        env.reset(seed=0)
    with pytest.raises(AssertionError):
        theirs.step(action)
    with pytest.raises(InputError, match=r"^action=.*: must be a whole number from 0 to 1$"):
        ours.step(action)
    assert ours.step(np.int64(1))[0] in ours.observation_space


@each_of_gymnasium
def test_options_of_reset_are_gymnasiums(family):
    """Starts, and those that come after them from the same generator."""
    ours, theirs = (gymnasium.make(name) for name in (family.env_id, family.env_id.removeprefix("hyperrl/")))
    assert family.options
    ends = {"low": -0.01, "high": 0.02, "x_init": 0.3, "y_init": 0.1}
    options = {name: ends[name] for name in family.options}
    for given in ({"seed": 3, "options": options}, {"options": options}, {}, {"options": {}}, {"options": options}):
        np.testing.assert_allclose(ours.reset(**given)[0], theirs.reset(**given)[0], atol=1e-6)
    ours.reset(seed=3)
    unlike = ours.reset(seed=3, options=options)[0] != ours.reset(seed=3)[0]
    assert unlike.any()


def test_options_of_reset_that_nobody_knows_are_refused_and_not_ignored():
    env = gymnasium.make("hyperrl/CartPole-v1")
    with pytest.raises(
        InputError, match=r"^options=\{'lo': 1\}: family 'cartpole' has no such options .* from low, high$"
    ):
        env.reset(seed=0, options={"lo": 1})
    with pytest.raises(InputError, match=r"^options=\{'low': 1, 'high': 0\}: refused by the environment: ValueError: "):
        env.reset(seed=0, options={"low": 1, "high": 0})
    with pytest.raises(InputError, match=r"^options=\{'low': 1\}: family 'point' has no .*; leave them out$"):
        gymnasium.make("hyperrl/Point-v0").reset(options={"low": 1})


def test_pendulums_action_space_follows_max_torque():
    env = gymnasium.make("hyperrl/Pendulum-v1", max_torque=3.0)
    assert env.action_space == gymnasium.spaces.Box(-3, 3, (1,), np.float32)
    env.context = {"max_torque": 1.5}
    assert env.action_space == gymnasium.spaces.Box(-1.5, 1.5, (1,), np.float32)


# the context of a single environment

LANDER = registry.get("lunar_lander")
SETTABLE = pytest.mark.parametrize(
    ("family", "context"),
    [(registry.get("cartpole"), {"length": 1.5}), (LANDER, {"gravity": -3.0})],
    ids=["ours", "gym"],
)


def five_steps(env, **keywords):
    obs = [env.reset(**keywords)[0]]
    return np.array(obs + [env.step(1)[0] for _ in range(5)])


@SETTABLE
@pytest.mark.parametrize("made", [lambda family: family.single(), lambda family: gymnasium.make(family.env_id)])
def test_a_context_that_is_set_acts_as_one_from_the_start(family, context, made):
    env, default = made(family), five_steps(family.single(), seed=3)
    env.reset(seed=3)
    env.context = context
    assert env.context == family.variant(**context)
    np.testing.assert_array_equal(five_steps(env, seed=3), five_steps(family.single(**context), seed=3))
    env.get_wrapper_attr("set_context")({})
    assert env.context == family.defaults
    np.testing.assert_array_equal(five_steps(env, seed=3), default)
    for wrong in (3, None, [1.0], "gravity"):
        with pytest.raises(InputError, match=r"^context=.*: must map parameters to values, as in \{'gravity': "):
            env.context = wrong
    with pytest.raises(InputError, match=r"^weight: unknown parameter of family"):
        env.context = {"weight": 1.0}
    assert env.context == family.defaults


@SETTABLE
def test_gymnasiums_vector_environments_of_an_id_take_contexts(family, context):
    want = [five_steps(family.single(**one), seed=1) for one in (context, {})]
    envs = gymnasium.make_vec(family.env_id, num_envs=2, vectorization_mode="sync")
    envs.set_attr("context", [context, {}])
    assert envs.get_attr("context") == (family.variant(**context), family.defaults)
    seen = [envs.reset(seed=[1, 1])[0]] + [envs.step(np.array([1, 1]))[0] for _ in range(5)]
    np.testing.assert_array_equal(np.swapaxes(seen, 0, 1), np.array(want, dtype=np.float32))
    envs.call("set_context", context)
    assert envs.get_attr("context") == (family.variant(**context),) * 2


@SETTABLE
@pytest.mark.parametrize("monitored", [False, True])
def test_sb3s_vector_environments_of_an_id_take_contexts(family, context, monitored):
    """``make_vec_env`` puts a Monitor outside, whose attributes are nobody's business: there the method is called."""
    envs = make_vec_env(family.env_id, 2) if monitored else DummyVecEnv([lambda: gymnasium.make(family.env_id)] * 2)
    if monitored:
        envs.env_method("set_context", context, indices=[1])
    else:
        envs.set_attr("context", context, indices=[1])
    assert envs.get_attr("context") == [family.defaults, family.variant(**context)]
    envs.seed(0)
    seen = [envs.reset()] + [envs.step([1, 1])[0] for _ in range(5)]
    want = [five_steps(family.single(**one), seed=seed) for seed, one in enumerate(({}, context))]
    np.testing.assert_array_equal(np.swapaxes(seen, 0, 1), np.array(want, dtype=np.float32))


@SETTABLE
def test_single_environments_truncate_by_themselves(family, context):
    """As Gymnasium's ``TimeLimit``, so that none need stand between a context and who sets it."""
    short = dataclasses.replace(family, max_episode_steps=5)
    envs = DummyVecEnv([short.single] * 2)
    envs.set_attr("context", context)
    envs.reset()
    assert envs.get_attr("context") == [family.variant(**context)] * 2
    for step in range(1, 13):
        *_, dones, infos = envs.step([step % 2, step % 2])
        assert dones.tolist() == [step % 5 == 0] * 2
        assert [info["TimeLimit.truncated"] for info in infos] == dones.tolist()


@SETTABLE
def test_an_environment_is_made_again_from_its_specification(family, context):
    env = gymnasium.make(family.env_id, **context)
    assert gymnasium.spec(family.env_id).max_episode_steps == env.spec.max_episode_steps == family.max_episode_steps
    again = gymnasium.make(env.spec)
    assert again.context == family.variant(**context)
    assert again.spec.max_episode_steps == family.max_episode_steps
    short = gymnasium.make(family.env_id, max_episode_steps=3)
    short.reset(seed=0)
    assert [short.step(1)[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("name", ["cartpole", "acrobot"])
def test_frames_follow_the_context(name):
    family = registry.get(name)
    env, other = (family.single(render_mode="rgb_array", **context) for context in ({}, changed(family)))
    for one in (env, other):
        one.reset(seed=0)
    assert (env.render() != other.render()).any()
    env.context = changed(family)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), other.render())
    env.close()
    other.close()


@each_family
def test_wrong_parameters_name_value_bound_and_remedy(family):
    with pytest.raises(InputError, match=f"^weight: unknown parameter of family '{family.name}'; choose from .*"):
        gymnasium.make(family.env_id, weight=1.0)
    for parameter in family.parameters:
        for value in (parameter.limits[0] - 1, parameter.limits[1] + 1, float("nan"), float("inf"), "heavy"):
            with pytest.raises(InputError) as error:
                gymnasium.make(family.env_id, **{parameter.name: value})
            assert str(error.value).startswith(f"{parameter.name}={value}: must be ")
            assert f"within {parameter.bounds} {parameter.unit} for family {family.name!r}" in str(error.value)
            assert str(error.value).endswith(f"the default is {parameter.default:g}")


def test_the_bound_itself_is_in_or_out_as_written():
    with pytest.raises(InputError, match=r"^length=0\.0: must be within \(0, 10\] m for family 'cartpole'"):
        gymnasium.make("hyperrl/CartPole-v1", length=0.0)
    gymnasium.make("hyperrl/CartPole-v1", length=10.0, gravity=0.0)


def test_a_family_without_a_twin_runs_but_does_not_render():
    cartpole = registry.get("cartpole")
    family = PhysicsFamily(
        name="plain",
        parameters=(Parameter("gravity", "m/s2", 9.8, (5, 15), (2, 25)), *cartpole.parameters[1:]),
        observation_space=cartpole.observation_space,
        action_space=cartpole.action_space,
        max_episode_steps=10,
        draws=4,
        start=cartpole.start,
        step=cartpole.step,
    )
    env = VariantEnv(family, gravity=-3.0)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    assert env.render() is None
    env.close()
    with pytest.raises(InputError, match="render_mode='rgb_array': family 'plain' has no renderer; use None"):
        VariantEnv(family, render_mode="rgb_array")


# made by gymnasium.make, they are Gymnasium's in what surrounds the physics

ALL = [registry.get(name) for name in registry.families() if registry.env_id(name)]
each_registered = pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def moderate(family):
    """A little of each parameter away from its default."""
    return {p.name: 0.8 * p.default + 0.2 * p.train[1] for p in family.parameters if not (p.distractor or p.gap)}


@each_registered
def test_families_are_copied_and_pickled(family):
    assert copy.deepcopy(family) is family
    for again in (copy.copy(family), pickle.loads(pickle.dumps(family))):
        assert type(again) is type(family)
        for field in dataclasses.fields(family):
            left, right = getattr(again, field.name), getattr(family, field.name)
            assert type(left) is type(right)
            if field.name in ("parameters", "action_space", "max_episode_steps", "held_out", "drift", "arguments"):
                assert left == right
        with pytest.raises(TypeError):
            again.held_out["gravity"] = (0, 1)
        np.testing.assert_array_equal(again.variants("train", 3), family.variants("train", 3))


@each_registered
def test_environments_are_copied_pickled_and_made_again_from_their_specification(family):
    context = moderate(family)
    env = gymnasium.make(family.env_id, **context)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]

    def played(one, seed=None):
        obs = [] if seed is None else [one.reset(seed=seed)[0]]
        return np.array(obs + [one.step(action)[0] for action in actions[: 4 + len(obs)]])

    written = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    assert written == env.spec
    for spec in (env.spec, written):
        again = gymnasium.make(spec)
        assert again.context == family.variant(**context)
        np.testing.assert_array_equal(played(again, 1), played(env, 1))
    for copied in COPIES.values():
        try:
            again = copied(env)
        except TypeError:  # a simulator that cannot be copied: Gymnasium's own environment neither
            with pytest.raises(TypeError):
                copied(env.unwrapped)
            continue
        assert again.context == env.context
        # Gymnasium's Box2D environments copy what they were made of, and not their state
        seed = None if isinstance(family, PhysicsFamily) else 2
        np.testing.assert_array_equal(played(again, seed), played(env, seed))


@each_copy
def test_a_copy_draws_and_goes_its_own_way(copied):
    env = gymnasium.make("hyperrl/Pendulum-v1", render_mode="rgb_array", max_torque=1.0)
    env.reset(seed=0)
    env.step(np.array([0.5], dtype=np.float32))
    frame = env.render()
    again = copied(env)
    assert again.action_space == env.action_space
    again.step(np.array([1.0], dtype=np.float32))
    np.testing.assert_array_equal(env.render(), frame)
    assert (again.render() != frame).any()
    again.context = {"max_torque": 3.0}
    assert env.context["max_torque"] == 1.0
    env.close()
    again.render()
    again.close()


def test_environments_share_no_generator_of_actions():
    one, other = registry.get("hopper").single(), registry.get("hopper").single()
    one.action_space.seed(0)
    first = one.action_space.sample()
    one.action_space.seed(0)
    other.action_space.sample()
    np.testing.assert_array_equal(one.action_space.sample(), first)


@SETTABLE
@pytest.mark.parametrize(("limit", "steps"), [(3, 3), (None, 9), (-1, 30), (20, 20)])
def test_the_limit_of_gymnasium_make_counts(family, context, limit, steps, monkeypatch):
    """Longer, shorter, none, and that of the registration; the family's own limit is 9 here."""
    short = dataclasses.replace(family, max_episode_steps=9)
    monkeypatch.setattr("hyperrl.envs.single.get", lambda name: short)
    spec = dataclasses.replace(gymnasium.spec(family.env_id), max_episode_steps=9)
    # upright for ever: nothing terminates
    env = gymnasium.make(spec, max_episode_steps=limit, **context)
    env.reset(seed=0)
    for step in range(1, 31):
        *_, terminated, truncated, _ = env.step(step % 2)
        if truncated or terminated:
            break
    assert (step, truncated) == (steps, limit != -1) or terminated
    env.context = {}
    env.reset(seed=0)
    single = short.single()
    single.reset(seed=0)
    assert [single.step(0)[3] for _ in range(9)] == [False] * 8 + [True]


def test_render_modes_are_gymnasiums():
    frames = gymnasium.make("hyperrl/CartPole-v1", render_mode="rgb_array_list", gravity=3.0)
    frames.reset(seed=0)
    frames.step(1)
    assert len(frames.render()) == 2
    for name in ("hyperrl/CartPole-v1", "hyperrl/Point-v0"):
        with pytest.raises(InputError, match=r"^render_mode='depth_array': .*rgb_array"):
            gymnasium.make(name, render_mode="depth_array")
    frames.close()
    pygame_window = gymnasium.make("hyperrl/CartPole-v1", render_mode="human")
    pygame_window.reset(seed=0)
    pygame_window.step(0)
    pygame_window.close()


def test_a_rebuilt_environment_keeps_its_specification():
    """A constructor's argument that has changed builds the environment anew at the reset."""
    family = registry.get("bipedal_walker")
    built = dataclasses.replace(
        LANDER, parameters=LANDER.parameters[:1], apply={LANDER.names[0]: Argument(LANDER.names[0])}, held_out={}
    )
    env = built.single()
    env.unwrapped.spec = gymnasium.spec(family.env_id)
    env.context = {LANDER.names[0]: -5.0}
    before = env.unwrapped
    env.reset(seed=0)
    assert env.unwrapped is not before
    assert env.spec.id == family.env_id
