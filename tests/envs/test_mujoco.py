"""MuJoCo in batch agrees with Gymnasium's v5 environments, whose models are edited here by hand."""

import dataclasses
import gc
import io
import multiprocessing
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from hyperrl.envs import InputError, PhysicsVectorEnv, registry
from hyperrl.envs import mujoco as ours
from hyperrl.envs.drift import Schedule
from hyperrl.envs.tasks.ant import simulation as ant
from hyperrl.envs.tasks.half_cheetah import simulation as half_cheetah
from hyperrl.envs.tasks.hopper import simulation as hopper
from hyperrl.envs.tasks.inverted_double_pendulum import simulation as inverted_double_pendulum
from hyperrl.envs.tasks.inverted_pendulum import simulation as inverted_pendulum
from hyperrl.envs.tasks.reacher import simulation as reacher
from hyperrl.envs.tasks.swimmer import simulation as swimmer
from hyperrl.envs.tasks.walker2d import simulation as walker2d

# family -> its simulation, and v5's environment
TASKS = {
    "half_cheetah": (half_cheetah, "HalfCheetah-v5"),
    "hopper": (hopper, "Hopper-v5"),
    "walker2d": (walker2d, "Walker2d-v5"),
    "ant": (ant, "Ant-v5"),
    "inverted_pendulum": (inverted_pendulum, "InvertedPendulum-v5"),
    "inverted_double_pendulum": (inverted_double_pendulum, "InvertedDoublePendulum-v5"),
    "reacher": (reacher, "Reacher-v5"),
    "swimmer": (swimmer, "Swimmer-v5"),
}
REWARDS = ["half_cheetah_velocity", "half_cheetah_direction", "ant_velocity", "ant_direction"]
TERMINATING = {"hopper", "walker2d", "ant", "inverted_pendulum", "inverted_double_pendulum"}
each_task = pytest.mark.parametrize("name", TASKS)
each_family = pytest.mark.parametrize("name", [*TASKS, *REWARDS])


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Gymnasium's HalfCheetah writes MUJOCO_LOG.TXT into the working folder."""
    monkeypatch.chdir(tmp_path)


def gymnasium_env(name, parameters, **arguments):
    """v5's environment, its compiled model edited by hand."""
    env = gymnasium.make(name, **arguments).unwrapped
    model = env.model
    model.opt.gravity[2] = -parameters.get("gravity", 9.81)
    model.opt.density *= parameters.get("density", 1)
    model.body_mass *= parameters.get("mass", 1)
    model.body_inertia *= parameters.get("mass", 1)
    model.dof_damping *= parameters.get("damping", 1)
    model.actuator_gear *= parameters.get("gear", 1)
    model.geom_friction[:, 0] *= parameters.get("friction", 1)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return env


def variants(family):
    """The default, both ends of the wide ranges crosswise, and one in between."""
    ends = [p.wide for p in family.parameters]
    crossed = [[end[(i + k) % 2] for i, end in enumerate(ends)] for k in (0, 1)]
    middle = np.random.default_rng(0).uniform(*family.box("wide"))
    return [family.defaults, *family.untable(np.array([*crossed, middle]))]


def values(family, parameters):
    return family.values(torch.as_tensor(family.table([parameters])))


def one(state):
    return torch.as_tensor(state).view(1, 1, -1)


def actions(env, n, rng):
    """Random actions, some beyond the box, with quieter stretches in which what falls comes to rest."""
    scale = np.where(np.arange(n) // 60 % 2, 1.3, 0.1)
    return scale[:, None] * rng.uniform(env.action_space.low, env.action_space.high, size=(n, *env.action_space.shape))


@each_task
@pytest.mark.parametrize("which", range(4), ids=["default", "crossed", "crossed back", "between"])
def test_episodes_agree_with_gymnasium_step_by_step(name, which):
    """From v5's start on, nothing is put right on the way: contacts would multiply any difference."""
    family, (simulation, env_id) = registry.get(name), TASKS[name]
    parameters = variants(family)[which]
    env, p = gymnasium_env(env_id, parameters), values(family, parameters)
    rng, ends = np.random.default_rng(which), 0

    def begin(seed):
        obs, _ = env.reset(seed=seed)
        state = one(simulation.read(env.data))
        np.testing.assert_allclose(family.observe(state, p)[0, 0], obs, rtol=0, atol=1e-12)
        return state

    state = begin(which)
    for action in actions(env, 300, rng):
        state, reward, terminated = family.step(state, one(action), p)
        obs, want_reward, want_terminated, *_ = env.step(action)
        np.testing.assert_allclose(state[0, 0], simulation.read(env.data), rtol=0, atol=1e-9)
        np.testing.assert_allclose(family.observe(state, p)[0, 0], obs, rtol=0, atol=1e-9)
        np.testing.assert_allclose(reward, want_reward, rtol=0, atol=1e-9)
        assert terminated == want_terminated
        ends += want_terminated
        if want_terminated:
            state = begin(None)
    assert name == "ant" or bool(ends) == (name in TERMINATING)


@pytest.mark.slow
@each_task
def test_long_episodes_of_many_variants_agree_with_gymnasium(name):
    family, (simulation, env_id) = registry.get(name), TASKS[name]
    rng = np.random.default_rng(1)
    for seed, parameters in enumerate(family.untable(family.variants("extrapolation", 10))):
        env, p = gymnasium_env(env_id, parameters), values(family, parameters)
        env.reset(seed=seed)
        state = one(simulation.read(env.data))
        for action in actions(env, 1000, rng):
            state, reward, terminated = family.step(state, one(action), p)
            _, want_reward, want_terminated, *_ = env.step(action)
            np.testing.assert_allclose(state[0, 0], simulation.read(env.data), rtol=0, atol=1e-9)
            np.testing.assert_allclose(reward, want_reward, rtol=0, atol=1e-9)
            assert terminated == want_terminated
            if want_terminated:
                env.reset()
                state = one(simulation.read(env.data))


def test_terminations_of_an_ant_that_jumps_too_high_or_falls_too_deep():
    family, (simulation, env_id) = registry.get("ant"), TASKS["ant"]
    env, p = gymnasium_env(env_id, {}), values(family, {})
    for height, speed, ends in ((0.75, 0, False), (0.98, 3, True), (0.75, -14, True)):
        env.reset(seed=0)
        qpos, qvel = env.init_qpos.copy(), env.init_qvel.copy()
        qpos[2], qvel[2] = height, speed
        env.set_state(qpos, qvel)
        state = one(simulation.read(env.data))
        after, reward, terminated = family.step(state, torch.zeros(1, 1, 8), p)
        _, want_reward, want_terminated, *_ = env.step(np.zeros(8))
        np.testing.assert_allclose(after[0, 0], simulation.read(env.data), rtol=0, atol=1e-9)
        np.testing.assert_allclose(reward, want_reward, rtol=0, atol=1e-9)
        assert terminated == want_terminated == ends


@each_task
def test_starts_are_distributed_as_gymnasiums(name):
    """Mean and spread of every observation over many starts; what is not noise must be equal."""
    family, (simulation, env_id) = registry.get(name), TASKS[name]
    env, p = gymnasium_env(env_id, {}), values(family, {})
    theirs = np.array([env.reset(seed=seed)[0] for seed in range(1500)])
    draws = torch.rand(1, 1500, family.draws, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = family.start(draws, p)
    observed = family.observe(state, p)[0].numpy()
    spread = theirs.std(0)
    np.testing.assert_allclose(observed.mean(0), theirs.mean(0), rtol=0, atol=1e-12 + 0.15 * spread.max())
    assert (np.abs(observed.mean(0) - theirs.mean(0)) <= 1e-12 + 0.15 * spread).all()
    np.testing.assert_allclose(observed.std(0), spread, rtol=0.12, atol=1e-12)
    for row in range(20):
        full = state[0, row].numpy()
        env.reset()
        ours.show(env, full, None)
        np.testing.assert_allclose(observed[row], env._get_obs(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(full, simulation.read(env.data), rtol=0, atol=1e-12)


def cheetah_velocity(env, before, after, action, target):
    speed = (after[0] - before[0]) / env.dt
    return -abs(speed - target) - 0.05 * np.sum(action**2)


def cheetah_direction(env, before, after, action, target):
    return target * (after[0] - before[0]) / env.dt - 0.05 * np.sum(action**2)


def ant_terms(env):
    return float(0.2 <= env.data.qpos[2] <= 1) - 5e-4 * np.sum(np.clip(env.data.cfrc_ext, -1, 1) ** 2)


def ant_velocity(env, before, after, action, target):
    return -abs((after[0] - before[0]) / env.dt - target) - 0.005 * np.sum(action**2) + ant_terms(env)


def ant_direction(env, before, after, action, target):
    towards = np.array([np.cos(np.radians(target)), np.sin(np.radians(target))])
    return towards @ (after - before) / env.dt - 0.5 * np.sum(action**2) + ant_terms(env)


@pytest.mark.parametrize(
    ("name", "task", "formula", "targets"),
    [
        ("half_cheetah_velocity", "half_cheetah", cheetah_velocity, [0.0, 1.5, 4.0]),
        ("half_cheetah_direction", "half_cheetah", cheetah_direction, [-1.0, 1.0]),
        ("ant_velocity", "ant", ant_velocity, [0.0, 2.0]),
        ("ant_direction", "ant", ant_direction, [0.0, 70.0, 200.0]),
    ],
)
def test_reward_families_share_the_motion_and_reward_by_their_formula(name, task, formula, targets):
    family, (simulation, env_id) = registry.get(name), TASKS[task]
    for target in targets:
        parameters = family.untable(family.variants("train", 1))[0] | {family.names[0]: target}
        env, p = gymnasium_env(env_id, parameters), values(family, parameters)
        env.reset(seed=0)
        state = one(simulation.read(env.data))
        for action in actions(env, 150, np.random.default_rng(0)):
            before = env.data.body(1).xpos[:2].copy() if task == "ant" else env.data.qpos[:2].copy()
            state, reward, terminated = family.step(state, one(action), p)
            obs, _, want_terminated, *_ = env.step(action)
            after = env.data.body(1).xpos[:2] if task == "ant" else env.data.qpos[:2]
            np.testing.assert_allclose(family.observe(state, p)[0, 0], obs, rtol=0, atol=1e-9)
            np.testing.assert_allclose(reward, formula(env, before, after, action, target), rtol=0, atol=1e-9)
            assert terminated == want_terminated
            if want_terminated:
                env.reset()
                state = one(simulation.read(env.data))


@each_family
def test_each_declared_parameter_acts_and_a_batch_tells_variants_apart(name):
    """50 steps of a batch in which every variant differs from the first in one parameter."""
    family = registry.get(name)
    table_TP = np.repeat(family.table([{}]), len(family.names) + 1, axis=0)
    for i, parameter in enumerate(family.parameters):
        ends = np.array(parameter.wide) if not parameter.period else np.array([parameter.period / 4])
        table_TP[i + 1, i] = ends[np.argmax(np.abs(ends - parameter.default))]
    env = PhysicsVectorEnv(family, table_TP, copies=4, dtype=torch.float64)
    env.reset(seed=0, options={"paired": True})
    generator = torch.Generator().manual_seed(0)
    shape = (1, 4, *family.action_space.shape)
    state, p = env.state_dict()["state_TEX"], env.values
    total = torch.zeros(len(table_TP), 4, dtype=torch.float64)
    for _ in range(50):
        action = float(family.action_space.high[0]) * (2 * torch.rand(shape, generator=generator) - 1)
        state, reward, _ = family.step(state, action.expand(len(table_TP), *shape[1:]), p)
        total += reward
    difference = (family.observe(state, p) - family.observe(state, p)[:1]).abs().amax((1, 2)) + (
        total - total[:1]
    ).abs().amax(1)
    assert difference[0] == 0
    assert (difference[1:] > 0.02).all(), dict(zip(family.names, difference[1:].tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        ("swimmer", ["gravity", "friction", "damping"]),
        ("reacher", ["gravity", "friction"]),
        ("inverted_pendulum", ["friction"]),
        ("inverted_double_pendulum", ["friction"]),
    ],
)
def test_what_does_nothing_is_not_declared(name, dead):
    """Tried in Gymnasium's own environment."""
    family, (_, env_id) = registry.get(name), TASKS[name]
    assert not set(dead) & set(family.names)
    for parameter in dead:
        plain, changed = gymnasium_env(env_id, {}), gymnasium_env(env_id, {parameter: 2.5})
        plain.reset(seed=0)
        changed.reset(seed=0)
        for action in actions(plain, 40, np.random.default_rng(0)):
            np.testing.assert_array_equal(plain.step(action)[0], changed.step(action)[0])


@each_family
def test_families_pass_the_check_and_stand_in_gymnasium(name):
    family = registry.get(name)
    family.check()
    spec = gymnasium.spec(family.env_id)
    assert spec.max_episode_steps == family.max_episode_steps
    env_id = family.env_id.removeprefix("hyperrl/")
    if name in TASKS:
        theirs = gymnasium.make(env_id)
        assert theirs.spec.max_episode_steps == family.max_episode_steps
        assert theirs.observation_space == family.observation_space
        assert theirs.action_space == family.action_space
        assert theirs.spec.reward_threshold == family.solved
    env = gymnasium.make(family.env_id)
    assert env.observation_space == family.observation_space
    assert env.action_space == family.action_space
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*(Box observation space m.*imum value is|For Box action spaces)", UserWarning
        )
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ["hopper", "reacher"])
def test_what_drifts_changes_the_model_from_step_to_step(name):
    """Against v5's environment, whose model is edited by hand and built anew for every step."""
    family, (_, env_id) = registry.get(name), TASKS[name]
    family = dataclasses.replace(family, drift={"mass": Schedule(lambda start, step: start * 1.02**step)})
    vector = PhysicsVectorEnv(family, family.table([{"mass": 1.2}, {"mass": 0.8}]), dtype=torch.float64)
    vector.reset(seed=0)
    masses, state = np.array([1.2, 0.8]), vector.state_dict()["state_TEX"].numpy()
    for action in actions(gymnasium_env(env_id, {}), 8, np.random.default_rng(0)):
        final_obs = vector.step(torch.as_tensor(action).repeat(2, 1))[4]["final_obs"]
        for row, mass in enumerate(masses):
            env = gymnasium_env(env_id, {"mass": mass})
            env.reset(seed=0)
            motion = env.model.nq + 2 * env.model.nv
            mujoco.mj_setState(env.model, env.data, state[row, 0, :motion], ours._KEPT)
            np.testing.assert_allclose(final_obs[row], env.step(action)[0], rtol=0, atol=1e-9)
        masses, state = masses * 1.02, vector.state_dict()["state_TEX"].numpy()
        np.testing.assert_allclose(vector.variants_TP[:, family.names.index("mass")], masses, rtol=1e-12)


@each_task
def test_the_single_environment_steps_like_gymnasiums(name):
    family, (simulation, env_id) = registry.get(name), TASKS[name]
    parameters = variants(family)[1]
    env, theirs = gymnasium.make(family.env_id, **parameters).unwrapped, gymnasium_env(env_id, parameters)
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.float64
    theirs.reset(seed=0)
    env.state = simulation.read(theirs.data)
    for action in actions(theirs, 30, np.random.default_rng(0)):
        obs, reward, terminated, _, _ = env.step(action)
        want_obs, want_reward, want_terminated, *_ = theirs.step(action)
        np.testing.assert_allclose(obs, want_obs, rtol=0, atol=1e-9)
        np.testing.assert_allclose(reward, want_reward, rtol=0, atol=1e-9)
        assert terminated == want_terminated


@each_family
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(name, threads, monkeypatch):
    family = registry.get(name)
    simulation = TASKS.get(name, TASKS[name.rpartition("_")[0] if name in REWARDS else name])[0]
    p = values(family, {})
    draws = torch.rand(1, 40, family.draws, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = family.start(draws, p)
    action = torch.rand(1, 40, *family.action_space.shape, generator=torch.Generator().manual_seed(1))

    def play(threads):
        scratch = [simulation._new_scratch() for _ in range(threads)]
        monkeypatch.setitem(simulation.__dict__, "_scratch", scratch)
        state = start
        for _ in range(20):
            state, reward, _ = family.step(state, action, p)
        assert len(simulation._scratch) == threads
        return state, reward

    after, reward = play(threads)
    alone = [family.step(start[:, [e]], action[:, [e]], p)[0] for e in range(40)]
    torch.testing.assert_close(family.step(start, action, p)[0], torch.cat(alone, dim=1), rtol=0, atol=0)
    want_after, want_reward = play(3)
    assert torch.equal(after, want_after)
    assert torch.equal(reward, want_reward)


def test_state_and_parameters_are_not_changed_and_steps_have_no_memory():
    family = registry.get("half_cheetah")
    p = values(family, {"gravity": 5})
    start = family.start(torch.rand(1, 12, family.draws, dtype=torch.float64), p)
    action = torch.ones(1, 12, 6)
    copies = [tensor.clone() for tensor in (start, action, *p.values())]
    first = family.step(start, action, p)
    family.step(first[0], -action, values(family, {"mass": 2}))
    again = family.step(start, action, p)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((start, action, *p.values()), copies, strict=True))


def test_compiled_models_are_kept_up_to_a_bound_and_made_anew_afterwards():
    simulation = ours.Simulation(half_cheetah.env_class, "half_cheetah.xml", 5)
    family = registry.get("half_cheetah")
    table_TP = family.variants("train", 3)
    p = family.values(torch.as_tensor(table_TP))
    models = simulation._models(p, 3, 2)
    assert [model is models[0] for model in models] == [True, True, False, False, False, False]
    assert all(a is b for a, b in zip(models, simulation._models(p, 3, 2), strict=True))
    info = simulation._model.cache_info()
    assert (info.misses, info.hits) == (3, 3)
    assert info.maxsize == ours.MODELS >= 1024
    nominal = simulation.nominal.body_mass.sum()
    for row, model in zip(table_TP, models[::2], strict=True):
        np.testing.assert_allclose(model.body_mass.sum(), nominal * row[family.names.index("mass")], rtol=1e-12)
    assert mujoco.mj_sizeModel(simulation.nominal) < 50_000


def test_parameters_may_differ_between_copies_too():
    family = registry.get("hopper")
    start = family.start(torch.rand(2, 3, family.draws, dtype=torch.float64), values(family, {}))
    action = torch.rand(2, 3, 3)
    gravity_TE = torch.tensor([[5.0, 9.81, 15.0], [9.81, 6.0, 7.0]], dtype=torch.float64)
    after, *_ = family.step(start, action, {**values(family, {}), "gravity": gravity_TE})
    for t in range(2):
        for e in range(3):
            p = values(family, {"gravity": float(gravity_TE[t, e])})
            want, *_ = family.step(start[t, e].view(1, 1, -1), action[t, e].view(1, 1, -1), p)
            assert torch.equal(after[t, e], want[0, 0])


def test_the_compiled_cheetah_has_the_numbers_of_gymnasiums():
    """Its XML sets the total mass by an attribute that MuJoCo warns of; here it is set after compiling."""
    with redirect_stderr(io.StringIO()):
        theirs = gymnasium.make("HalfCheetah-v5").unwrapped.model
    for name in ("body_mass", "body_inertia", "dof_M0", "dof_invweight0", "body_invweight0", "geom_friction"):
        np.testing.assert_array_equal(getattr(half_cheetah.nominal, name), getattr(theirs, name))


SILENT = """
import torch
from hyperrl.envs import registry
import gymnasium, hyperrl.envs
for name in {names}:
    family = registry.get(name)
    env = family.vector(family.variants("extrapolation" if "extrapolation" in family.splits else "train", 4), 4)
    env.reset(seed=0)
    for _ in range(100):
        env.step(torch.rand(16, *family.action_space.shape) * 2 - 1)
    single = gymnasium.make(family.env_id)
    single.reset(seed=0)
    single.step(single.action_space.sample())
    family.variant_action_space(family.defaults)
    family.twin().close()
"""


def test_nothing_is_printed_and_nothing_written(tmp_path):
    command = [sys.executable, "-W", "error", "-c", SILENT.format(names=[*TASKS, *REWARDS])]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_single_environment_makes_no_renderer_unless_it_draws(monkeypatch):
    def refuse(*arguments, **parameters):
        raise AssertionError("a twin was made")

    monkeypatch.setattr(ours.Simulation, "edited", refuse)
    monkeypatch.setattr(ours.Simulation, "_compile", refuse)
    gymnasium.make("hyperrl/HalfCheetah-v5").close()


def can_draw():
    env = dict(os.environ)
    if "DISPLAY" not in env:
        env.setdefault("MUJOCO_GL", "egl")
    script = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, timeout=120).returncode == 0


@pytest.mark.parametrize("name", ["half_cheetah", "reacher", "ant_direction"])
def test_frames_are_gymnasiums(name):
    if not can_draw():
        pytest.skip("MuJoCo cannot draw on this machine")
    family = registry.get(name)
    simulation, env_id = TASKS[name.partition("_dir")[0]]
    env = gymnasium.make(family.env_id, render_mode="rgb_array").unwrapped
    follows = {} if name == "reacher" else {"camera_name": "track"}  # Gymnasium's own default stands still
    theirs = gymnasium_env(env_id, {}, render_mode="rgb_array", **follows)
    theirs.set_state(theirs.init_qpos, theirs.init_qvel)
    theirs.render()
    theirs.reset(seed=0)
    env.reset(seed=0)
    env.state = simulation.read(theirs.data)
    for _ in range(20):
        env.step(np.ones(env.action_space.shape))
        theirs.step(np.ones(env.action_space.shape))
    # v5 draws where the bodies were in the last stage of the step
    mujoco.mj_forward(theirs.model, theirs.data)
    frame, want = env.render(), theirs.render()
    assert frame.dtype == np.uint8
    assert frame.std() > 5
    np.testing.assert_allclose(frame.astype(int), want.astype(int), atol=2)
    env.close()
    theirs.close()
    del env, theirs
    gc.collect()


def test_without_a_screen_a_window_is_refused(monkeypatch):
    if sys.platform != "linux":
        pytest.skip("only Linux says whether there is a screen")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match=r"^render_mode='human': there is no screen here .*; use 'rgb_array'$"):
        gymnasium.make("hyperrl/Hopper-v5", render_mode="human")


def test_a_machine_that_cannot_draw_says_so(monkeypatch):
    def fail(env):
        raise RuntimeError("no\nOpenGL")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(hopper.env_class, "render", fail)
    message = r"^render_mode='rgb_array': MuJoCo cannot draw here with MUJOCO_GL egl \(RuntimeError: no OpenGL\); set "
    with pytest.raises(InputError, match=message):
        gymnasium.make("hyperrl/Hopper-v5", render_mode="rgb_array")


def _fresh_step(name):
    family = registry.get(name)
    p = values(family, {"gear": 1.2})
    draws = torch.full((1, 20, family.draws), 0.25, dtype=torch.float64)
    return family.step(family.start(draws, p), torch.ones(1, 20, *family.action_space.shape), p)[0].tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("name", ["hopper", "inverted_pendulum"])
def test_threads_do_not_hang_after_a_fork(name):
    torch.set_num_threads(1)
    want = _fresh_step(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(_fresh_step, (name,)).get(timeout=60) == want
    assert _fresh_step(name) == want


@each_task
def test_wide_variants_stay_stable_under_random_actions(name, capfd):
    """MuJoCo resets what blows up, and says so on standard error."""
    family = registry.get(name)
    env = PhysicsVectorEnv(family, np.stack(family.box("wide")), copies=8)
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        action = torch.rand(16, *family.action_space.shape, generator=generator).round() * 2 - 1
        obs, reward, *_ = env.step(float(family.action_space.high[0]) * action)
        assert obs.isfinite().all()
        assert reward.isfinite().all()
    assert capfd.readouterr().err == ""
