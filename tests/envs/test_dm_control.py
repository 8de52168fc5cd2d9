"""Families of dm_control's tasks agree with dm_control, whose models are edited here in their XML files."""

import dataclasses
import pickle
import re
import sys
import warnings

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from lxml import etree

from hyperrl.envs import InputError, PhysicsVectorEnv, registry
from hyperrl.envs.aib import ACTION_SIGN

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dm_control looks for a screen when it is imported
    suite = pytest.importorskip("dm_control.suite", reason="pip install 'hyperrl[dmc]'")
    from dm_control.mujoco.wrapper.mjbindings import sizes

from dm_control.rl import control
from dm_control.suite import ball_in_cup as their_ball_in_cup
from dm_control.suite import cartpole as their_cartpole
from dm_control.suite import cheetah as their_cheetah
from dm_control.suite import common
from dm_control.suite import reacher as their_reacher
from dm_control.suite import walker as their_walker
from dm_control.utils import rewards

from hyperrl.envs.tasks.dmc_ball_in_cup import simulation as ball_in_cup
from hyperrl.envs.tasks.dmc_cartpole import simulation as cartpole
from hyperrl.envs.tasks.dmc_cheetah import simulation as cheetah
from hyperrl.envs.tasks.dmc_reacher import simulation as reacher
from hyperrl.envs.tasks.dmc_walker import simulation as walker


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """MuJoCo writes its warning about the cheetah's file into the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def arrays_of_this_mujoco():
    """dm_control 1.0.50 names arrays of MuJoCo 3 that MuJoCo 4 does not have."""
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    for name, struct in (("mjmodel", model), ("mjdata", mujoco.MjData(model))):
        for field in [field for field in sizes.array_sizes[name] if not hasattr(struct, field)]:
            del sizes.array_sizes[name][field]


def changed(xml, pattern, replacement):
    """The file with a change that must be possible in just one place."""
    text, found = re.subn(pattern, replacement, xml)
    assert found == 1, pattern
    return text


def cartpole_balance(seed, length=0.5):
    xml = common.read_model("cartpole.xml").decode()
    xml = changed(xml, 'fromto="0 0 0 0 0 1"', f'fromto="0 0 0 0 0 {2 * length!r}"')
    physics = their_cartpole.Physics.from_xml_string(xml, common.ASSETS)
    return control.Environment(
        physics, their_cartpole.Balance(swing_up=False, sparse=False, random=seed), time_limit=10
    )


def reacher_task(seed, size, length=1.0):
    xml = common.read_model("reacher.xml").decode()
    xml = changed(xml, 'fromto="0 0 0 0.12 0 0"', f'fromto="0 0 0 {0.12 * length!r} 0 0"')
    xml = changed(xml, 'fromto="0 0 0 0.1 0 0"', f'fromto="0 0 0 {0.1 * length!r} 0 0"')
    for name in ("hand", "finger"):
        xml = changed(xml, f'name="{name}" pos=".12 0 0"', f'name="{name}" pos="{0.12 * length!r} 0 0"')
    physics = their_reacher.Physics.from_xml_string(xml, common.ASSETS)
    return control.Environment(physics, their_reacher.Reacher(size, random=seed), time_limit=20)


def reacher_easy(seed, **parameters):
    return reacher_task(seed, 0.05, **parameters)


def reacher_hard(seed, **parameters):
    return reacher_task(seed, 0.015, **parameters)


class SpeedTask(their_cheetah.Cheetah):
    """HyperZero's reward."""

    def __init__(self, target, seed):
        self.target = target
        super().__init__(random=seed)

    def get_reward(self, physics):
        size, way = abs(self.target), np.sign(self.target)
        bounds = (size, float("inf"))
        return rewards.tolerance(way * physics.speed(), bounds, margin=size, value_at_margin=0, sigmoid="linear")


LEG = ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]


def cheetah_run(seed, length=1.0, torso_length=0.5, target_speed=None):
    root = etree.fromstring(common.read_model("cheetah.xml"))
    for geom in root.iter("geom"):
        if geom.get("name") in LEG:
            x, y, z = map(float, geom.get("pos").split())
            radius, half = map(float, geom.get("size").split())
            geom.set("pos", f"{x * length!r} {y!r} {z * length!r}")
            geom.set("size", f"{radius!r} {half * length!r}")
        if geom.get("name") == "torso":
            geom.set("fromto", f"{-torso_length!r} 0 0 {torso_length!r} 0 0")
        if geom.get("name") == "head":
            geom.set("pos", f"{torso_length + 0.1!r} 0 .1")
    for body in root.iter("body"):
        name, (x, y, z) = body.get("name"), map(float, body.get("pos").split())
        if name in LEG:
            x, z = x * length, z * length
        if name in ("bthigh", "fthigh"):
            x = torso_length * (1 if name == "fthigh" else -1)
        body.set("pos", f"{x!r} {y!r} {z!r}")
    physics = their_cheetah.Physics.from_xml_string(etree.tostring(root), common.ASSETS)
    task = their_cheetah.Cheetah(random=seed) if target_speed is None else SpeedTask(target_speed, seed)
    return control.Environment(physics, task, time_limit=10)


def ball_in_cup_catch(seed, gravity=9.81, string_length=0.3):
    xml = common.read_model("ball_in_cup.xml").decode()
    xml = changed(xml, 'range="0 0.3"', f'range="0 {string_length!r}"')
    xml = changed(xml, 'name="ball" pos="0 0 .2"', f'name="ball" pos="0 0 {0.5 - string_length!r}"')
    physics = their_ball_in_cup.Physics.from_xml_string(xml, common.ASSETS)
    physics.model.opt.gravity[2] = -gravity
    return control.Environment(physics, their_ball_in_cup.BallInCup(random=seed), time_limit=20, control_timestep=0.02)


def walker_walk(seed, gravity=9.81, gear=1.0):
    physics = their_walker.Physics.from_xml_string(*their_walker.get_model_and_assets())
    physics.model.opt.gravity[2] = -gravity
    for motor in ("hip", "knee", "ankle"):
        for side in ("right", "left"):
            physics.named.model.actuator_gear[f"{side}_{motor}", 0] *= gear
    task = their_walker.PlanarWalker(move_speed=1, random=seed)
    return control.Environment(physics, task, time_limit=25, control_timestep=0.025)


# family -> its simulation, and dm_control's environment
TASKS = {
    "dmc_cartpole_balance": (cartpole, cartpole_balance),
    "dmc_reacher_easy": (reacher, reacher_easy),
    "dmc_reacher_hard": (reacher, reacher_hard),
    "dmc_cheetah_run": (cheetah, cheetah_run),
    "dmc_ball_in_cup_catch": (ball_in_cup, ball_in_cup_catch),
    "dmc_walker_walk": (walker, walker_walk),
}
LOADED = {
    "dmc_cartpole_balance": ("cartpole", "balance"),
    "dmc_reacher_easy": ("reacher", "easy"),
    "dmc_reacher_hard": ("reacher", "hard"),
    "dmc_cheetah_run": ("cheetah", "run"),
    "dmc_ball_in_cup_catch": ("ball_in_cup", "catch"),
    "dmc_walker_walk": ("walker", "walk"),
}


def task_of(name):
    """The task with which a family shares its simulation."""
    return "dmc_cheetah_run" if name.startswith("dmc_cheetah") else name.removesuffix("_signed")


each_task = pytest.mark.parametrize("name", TASKS)
each_family = pytest.mark.parametrize("name", [name for name in registry.families() if registry.extra(name) == "dmc"])


def theirs(name, seed, **parameters):
    """dm_control's environment, and the sign of its actions."""
    sign = parameters.pop(ACTION_SIGN.name, 1.0)
    return TASKS[task_of(name)][1](seed, **parameters), sign


def flat(timestep):
    return np.concatenate([np.ravel(value) for value in timestep.observation.values()])


def full_state(name, env):
    """The family's state of what dm_control simulates: reacher's target is part of its model."""
    state = TASKS[task_of(name)][0].read(env.physics.data.ptr)
    target = env.physics.model.ptr.geom("target").pos[:2] if "reacher" in name else []
    return torch.as_tensor(np.concatenate((state, target))).view(1, 1, -1)


def variants(family):
    """The default, both ends of the wide ranges crosswise, and one in between."""
    ends = [p.wide for p in family.parameters]
    crossed = [[end[(i + k) % 2] for i, end in enumerate(ends)] for k in (0, 1)]
    return [family.defaults, *family.untable(np.array([*crossed, family.variants("validation", 1)[0]]))]


def values(family, parameters):
    return family.values(torch.as_tensor(family.table([parameters])))


def actions(family, n, rng):
    """Random actions, some beyond the box, with quieter stretches."""
    scale = np.where(np.arange(n) // 60 % 2, 1.3, 0.1)
    return scale[:, None] * rng.uniform(-1, 1, size=(n, *family.action_space.shape))


@each_family
@pytest.mark.parametrize("which", range(4), ids=["default", "crossed", "crossed back", "between"])
def test_episodes_agree_with_dm_control_step_by_step(name, which):
    """From dm_control's start on, nothing is put right on the way."""
    family = registry.get(name)
    parameters = variants(family)[which]
    env, sign = theirs(name, which, **parameters)
    p, rng = values(family, parameters), np.random.default_rng(which)
    timestep = env.reset()
    state = full_state(name, env)
    np.testing.assert_allclose(family.observe(state, p)[0, 0], flat(timestep), rtol=0, atol=1e-12)
    for action in actions(family, 300, rng):
        state, reward, terminated = family.step(state, torch.as_tensor(action).view(1, 1, -1), p)
        timestep = env.step(sign * action)
        np.testing.assert_allclose(state, full_state(name, env), rtol=0, atol=1e-9)
        np.testing.assert_allclose(family.observe(state, p)[0, 0], flat(timestep), rtol=0, atol=1e-9)
        np.testing.assert_allclose(reward, timestep.reward, rtol=0, atol=1e-9)
        assert not terminated


@pytest.mark.slow
@each_family
def test_whole_episodes_of_many_variants_agree_with_dm_control(name):
    family = registry.get(name)
    rng = np.random.default_rng(1)
    split = "extrapolation" if "extrapolation" in family.splits else "interpolation"
    for seed, parameters in enumerate(family.untable(family.variants(split, 6))):
        env, sign = theirs(name, seed, **parameters)
        env.reset()
        state, p = full_state(name, env), values(family, parameters)
        for action in actions(family, family.max_episode_steps, rng):
            state, reward, _ = family.step(state, torch.as_tensor(action).view(1, 1, -1), p)
            timestep = env.step(sign * action)
            np.testing.assert_allclose(state, full_state(name, env), rtol=0, atol=1e-9)
            np.testing.assert_allclose(reward, timestep.reward, rtol=0, atol=1e-9)
        np.testing.assert_allclose(family.observe(state, p)[0, 0], flat(timestep), rtol=0, atol=1e-9)
        assert timestep.last()


@each_task
def test_the_default_is_the_suites_own_environment(name):
    family = registry.get(name)
    env, p = suite.load(*LOADED[name], task_kwargs={"random": 0}), values(family, {})
    timestep = env.reset()
    state = full_state(name, env)
    rng, length = np.random.default_rng(0), 0
    while not timestep.last():
        action = rng.uniform(-1, 1, size=family.action_space.shape)
        state, reward, _ = family.step(state, torch.as_tensor(action).view(1, 1, -1), p)
        timestep, length = env.step(action), length + 1
        np.testing.assert_allclose(reward, timestep.reward, rtol=0, atol=1e-9)
    np.testing.assert_allclose(family.observe(state, p)[0, 0], flat(timestep), rtol=0, atol=1e-9)
    assert (length, timestep.discount) == (family.max_episode_steps, 1.0)
    assert env.action_spec().shape == family.action_space.shape


@each_task
def test_starts_are_distributed_as_dm_controls(name):
    """Mean and spread of every observation over many starts."""
    family = registry.get(name)
    env, p = theirs(name, 0)[0], values(family, {})
    starts = 300 if "cheetah" in name else 1000
    observed = np.array([flat(env.reset()) for _ in range(starts)])
    draws = torch.rand(1, starts, family.draws, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = family.observe(family.start(draws, p), p)[0].numpy()
    spread = observed.std(0)
    assert (np.abs(ours.mean(0) - observed.mean(0)) <= 1e-12 + 5 * spread / starts**0.5).all()
    np.testing.assert_allclose(ours.std(0), spread, rtol=0.2, atol=1e-12)


@pytest.mark.parametrize("parameters", [{}, {"length": 1.6}, {"length": 0.4}, {"torso_length": 0.3}], ids=str)
def test_cheetahs_settle_to_the_last_digit_as_in_dm_control(parameters):
    name = "dmc_cheetah_torso" if "torso_length" in parameters else "dmc_cheetah_run"
    family = registry.get(name)
    env = cheetah_run(3, **parameters)
    model = env.physics.model.ptr
    low, high = model.jnt_range[model.jnt_limited == 1].T
    angles = np.random.RandomState(3).uniform(low, high)
    env.reset()
    draws = torch.as_tensor((angles - low) / (high - low)).view(1, 1, -1)
    start = family.start(draws, values(family, parameters))
    np.testing.assert_allclose(start, full_state(name, env), rtol=0, atol=1e-9)


def test_a_reacher_is_paid_where_it_touches():
    for name, radius in (("dmc_reacher_easy", 0.05), ("dmc_reacher_hard", 0.015)):
        family = registry.get(name)
        env, p = theirs(name, 0)[0], values(family, {})
        for off in (0.999, 1.001):
            env.reset()
            env.physics.named.model.geom_pos["target", :2] = 0.24 - off * (radius + 0.01), 0
            env.physics.data.qpos[:] = 0
            env.physics.forward()
            _, reward, _ = family.step(full_state(name, env), torch.zeros(1, 1, 2), p)
            assert reward == env.step(np.zeros(2)).reward == (off < 1)


@each_family
def test_families_pass_the_check_and_stand_in_gymnasium(name):
    family = registry.get(name)
    family.check()
    env = gymnasium.make(family.env_id)
    assert env.spec.max_episode_steps == family.max_episode_steps == 1000
    assert env.observation_space == family.observation_space
    assert env.action_space == family.action_space
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space


@each_family
def test_a_batch_tells_variants_apart_as_one_by_one(name):
    family = registry.get(name)
    table_TP = family.variants("train", 3)
    env = PhysicsVectorEnv(family, table_TP, copies=4, dtype=torch.float64)
    env.reset(seed=0)
    state_TEX = env.moment.state_TEX
    action = torch.rand(3, 4, *family.action_space.shape, generator=torch.Generator().manual_seed(0))
    after_TEX, reward_TE, _ = family.step(state_TEX, action, env.values)
    for t, parameters in enumerate(family.untable(table_TP)):
        one = family.step(state_TEX[[t]], action[[t]], values(family, parameters))
        assert torch.equal(after_TEX[[t]], one[0])
        assert torch.equal(reward_TE[[t]], one[1])


@pytest.mark.parametrize("string_length", [0.1, 0.3, 0.5])
def test_balls_start_where_they_touch_nothing(string_length):
    """The first draw, unless dm_control finds that it touches."""
    name = "dmc_ball_in_cup_catch"
    family, parameters = registry.get(name), {"string_length": string_length}
    env = theirs(name, 0, **parameters)[0]
    draws = torch.rand(1, 200, family.draws, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    starts = family.start(draws, values(family, parameters))[0, :, 2:4].numpy()

    def touches(ball):
        with env.physics.reset_context():
            env.physics.data.qpos[2:] = ball
        return env.physics.data.ncon > 0

    drawn = [-0.2, 0.2] + [0.4, 0.3] * draws[0, :, :2].numpy()
    kept = np.isclose(starts, drawn, rtol=0, atol=1e-12).all(1)
    assert kept.tolist() == [not touches(ball) for ball in drawn]
    assert not any(map(touches, starts))
    assert string_length != 0.3 or 0.1 < 1 - kept.mean() < 0.25
    stuck = draws[:, :1].clone()
    stuck[..., ::2], stuck[..., 1::2] = 0.37, (string_length + 0.1 - 0.2) / 0.3  # in a wall, if it can be
    assert not touches(family.start(stuck, values(family, parameters))[0, 0, 2:4].numpy())


def test_a_ball_in_the_cup_is_paid():
    name = "dmc_ball_in_cup_catch"
    family, parameters = registry.get(name), {"string_length": 0.35, "gravity": 1.0}
    env, p = theirs(name, 0, **parameters)[0], values(family, parameters)
    paid = []
    for x in np.linspace(-0.04, 0.04, 17):
        env.reset()
        env.physics.data.qpos[:] = 0, 0, x, 0.35 + 0.1 - 0.05
        env.physics.forward()
        _, reward, _ = family.step(full_state(name, env), torch.zeros(1, 1, 2), p)
        assert reward == env.step(np.zeros(2)).reward
        paid.append(float(reward))
    assert 5 < sum(paid) < 13


@each_family
def test_the_twin_is_the_variant_and_shows_its_state(name):
    """Without drawing: its model and positions are those of dm_control."""
    family, parameters = registry.get(name), variants(registry.get(name))[1]
    env, _ = theirs(name, 0, **parameters)
    env.reset()
    twin = family.twin(**parameters)
    family.show(twin, full_state(name, env)[0, 0].numpy(), None)
    for field in ("body_mass", "body_inertia", "body_pos", "geom_size", "geom_pos", "actuator_gear", "tendon_range"):
        theirs_, ours = getattr(env.physics.model.ptr, field), getattr(twin.unwrapped.model, field)
        np.testing.assert_allclose(ours, theirs_, rtol=0, atol=1e-9, err_msg=field)
    np.testing.assert_allclose(twin.unwrapped.data.xpos, env.physics.data.xpos, rtol=0, atol=1e-9)
    assert (twin.observation_space, twin.action_space) == (family.observation_space, family.action_space)
    twin.close()


def test_simulations_are_pickled_by_what_they_are_made_of(tmp_path):
    family = registry.get("dmc_cheetah_torso")
    p = values(family, {"torso_length": 0.6})
    start = family.start(torch.full((1, 1, 6), 0.4, dtype=torch.float64), p)
    again = pickle.loads(pickle.dumps(family.step.__globals__["simulation"]))
    idle = torch.zeros(1, 1, 6)
    assert torch.equal(again.advance(start, idle, p), family.step(start, idle, p)[0])


def test_nothing_is_written_or_said(tmp_path, capfd):
    """MuJoCo warns of an attribute of the cheetah's file, on screen and in a file of the working folder."""
    family = registry.get("dmc_cheetah_run")
    env = family.vector(family.variants("train", 3), 2)
    env.reset(seed=0)
    env.step(torch.zeros(6, 6))
    family.twin(length=1.1).close()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_only_ended_episodes_start_anew_and_as_with_a_whole_batch():
    """A cheetah's start takes 200 steps."""
    family, started = registry.get("dmc_cheetah_run"), []

    def start(draws, p):
        started.append(draws.shape[:2].numel())
        return family.start(draws, p)

    counted = dataclasses.replace(family, start=start, max_episode_steps=5)
    env = PhysicsVectorEnv(counted, family.variants("train", 2), copies=3, dtype=torch.float64)
    env.reset(seed=0)
    env.moment = env.moment._replace(elapsed_TE=torch.tensor([[0, 3, 0], [3, 0, 0]]))
    started.clear()
    env.step(torch.zeros(6, 6))
    assert started == []
    generator = env.generator.get_state()
    env.step(torch.zeros(6, 6))
    assert started == [2]
    env.generator.set_state(generator)
    want = family.start(env.draw(), env.values)
    ended = torch.tensor([[False, True, False], [True, False, False]])
    assert torch.equal(env.moment.state_TEX[ended], want[ended])
    assert not torch.isclose(env.moment.state_TEX[~ended][:, 1:9], want[~ended][:, 1:9]).all(1).any()
    assert env.moment.elapsed_TE.tolist() == [[2, 0, 2], [0, 2, 2]]


@pytest.mark.parametrize("length", [0.1, 0.5, 2.0])
def test_the_poles_inertia_is_that_of_a_capsule_of_100_grams(length):
    half, r = length, 0.045
    parameters = {"length": length}
    model = cartpole._build(tuple(parameters), np.array([length]).tobytes())
    cylinder, sphere = 2 * half * r**2, 4 / 3 * r**3  # volumes over pi
    mass = 0.1 / (cylinder + sphere)
    inertia = mass * cylinder * ((2 * half) ** 2 / 12 + r**2 / 4)
    inertia += mass * sphere * (2 / 5 * r**2 + half**2 + 3 / 4 * half * r)
    pole = model.body("pole_1")
    np.testing.assert_allclose(pole.mass, 0.1, rtol=1e-12)
    np.testing.assert_allclose(pole.ipos, [0, 0, half], rtol=0, atol=1e-12)
    np.testing.assert_allclose(pole.inertia[:2], inertia, rtol=1e-6)


def test_without_dm_control_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for module in ("hyperrl.envs.dm_control", "hyperrl.envs.tasks.dmc_cartpole"):
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(InputError, match=r"^family 'dmc_cartpole_balance': .*; pip install 'hyperrl\[dmc\]'$") as error:
        registry.get("dmc_cartpole_balance")
    assert "\n" not in str(error.value)
    assert "dmc_cartpole_balance" in registry.families()
