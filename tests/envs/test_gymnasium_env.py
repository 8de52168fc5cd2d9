"""Any Gymnasium environment as a family, against the environments themselves, edited by hand."""

import dataclasses
import os
import pickle
import re
import signal
import sys
from contextlib import closing
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from hyperrl.envs import (
    Argument,
    Attribute,
    Context,
    GymnasiumFamily,
    InputError,
    ModelField,
    Parameter,
    VariantEnv,
    VariantVectorEnv,
    registry,
)
from hyperrl.envs.drift import Walk
from hyperrl.envs.gymnasium_env import GymnasiumVectorEnv
from hyperrl.envs.splits import SPLITS
from hyperrl.play import episodes
from hyperrl.play.actors import Act
from hyperrl.seeds import next_seed

LANDER, WALKER = registry.get("lunar_lander"), registry.get("bipedal_walker")
WINDY, THROTTLED = registry.get("lunar_lander_wind"), registry.get("lunar_lander_continuous")
LANDERS = pytest.mark.parametrize("family", [LANDER, WINDY, THROTTLED], ids=lambda family: family.name)
MASS = Parameter("masscart", "kg", 1.0, (0.5, 2), (0.25, 4), "(0, 20]")


def derive_cartpole(env):
    env.total_mass = env.masscart + env.masspole
    env.polemass_length = env.masspole * env.length


def cartpole(**changes):
    """CartPole with its derived quantities, from ids and attributes alone."""
    family = GymnasiumFamily(
        name="cart",
        make="CartPole-v1",
        parameters=(MASS,),
        apply={"masscart": Attribute("masscart")},
        derive=derive_cartpole,
    )
    return dataclasses.replace(family, **changes)


def naive_cartpole():
    """CARL's way: the attribute alone, so that what the constructor derived from it stays."""
    return cartpole(name="naive", derive=None)


def argument_lander():
    """Lunar Lander with everything in the constructor's arguments."""
    names = ("gravity", "wind_power", "turbulence_power")
    return dataclasses.replace(WINDY, name="arguments", apply={name: Argument(name) for name in names})


def scratch_constants(env):
    # mj_setConst leaves its data in the reference pose
    mujoco.mj_setConst(env.model, mujoco.MjData(env.model))


def inverted_pendulum():
    return GymnasiumFamily(
        name="inverted",
        make="InvertedPendulum-v5",
        parameters=(
            Parameter("gravity", "m/s2", -9.81, (-15, -5), (-20, -1), "[-100, 0]"),
            Parameter("mass", "1", 1.0, (0.5, 2), (0.25, 4), "(0, 10]", "of every body, as a factor"),
            Parameter("gear", "N", 100.0, (50, 150), (20, 200), "(0, 1000]"),
            Parameter("timestep", "s", 0.02, (0.01, 0.03), (0.005, 0.04), "(0, 1]"),
        ),
        apply={
            "gravity": ModelField("opt.gravity", index=2),
            "mass": ModelField("body_mass", scale=True),
            "gear": ModelField("actuator_gear", index=(0, 0)),
            "timestep": ModelField("opt.timestep"),
        },
        derive=scratch_constants,
    )


def random_actions(family, shape, rng):
    space = family.action_space
    if isinstance(space, Box):
        return rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(space.dtype)
    return rng.integers(space.n, size=shape)


def roll(env, actions, seed=0):
    """Observations and rewards of one environment, up to the end of the episode."""
    obs, _ = env.reset(seed=seed)
    seen = [(*obs, 0.0)]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        seen.append((*obs, reward))
        if terminated or truncated:
            break
    return np.array(seen)


def alike(left, right):
    return left.shape == right.shape and bool((left == right).all())


def play(env, actions):
    return [
        torch.stack(column)
        for column in zip(*[(*step[:4], step[4]["final_obs"]) for step in map(env.step, actions)], strict=True)
    ]


def assert_same(left, right):
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# what the vector environment does is what Gymnasium's environments do


def assert_steps_like(vector, plain, family, steps, rng, seed=5, dtype=np.float32):
    """Step by step, restarts included, against one plain environment a row; the number of episodes that ended."""
    obs, info = vector.reset(seed=seed, options={"paired": True})
    seeds = [int(one) for one in np.random.SeedSequence(seed).generate_state(vector.copies) >> 1]
    assert info == {}
    want = np.stack([env.reset(seed=seeds[row % vector.copies])[0] for row, env in enumerate(plain)])
    np.testing.assert_array_equal(obs, want.astype(dtype))
    ends, episodes = 0, [0] * len(plain)
    for _ in range(steps):
        action = random_actions(family, (len(plain),), rng)
        obs, reward, terminated, truncated, info = vector.step(torch.as_tensor(action))
        for row, env in enumerate(plain):
            want_obs, want_reward, want_terminated, want_truncated, _ = env.step(action[row])
            np.testing.assert_array_equal(info["final_obs"][row], want_obs.astype(dtype))
            assert reward[row] == dtype(want_reward)
            assert (terminated[row], truncated[row]) == (want_terminated, want_truncated)
            assert info["_final_obs"][row] == (want_terminated or want_truncated)
            if want_terminated or want_truncated:
                ends += 1
                episodes[row] += 1
                want_obs, _ = env.reset(seed=next_seed(seeds[row % vector.copies], episodes[row]))
            np.testing.assert_array_equal(obs[row], want_obs.astype(dtype))
    return ends


@LANDERS
def test_landers_step_like_gymnasiums_with_constructor_arguments(family):
    variants_TP = family.variants("extrapolation", 2)
    plain = [
        gymnasium.make("LunarLander-v3", **family.arguments, **variant)
        for variant in family.untable(variants_TP)
        for _ in range(2)
    ]
    vector = family.vector(variants_TP, 2)
    assert assert_steps_like(vector, plain, family, 300, np.random.default_rng(0)) > 4
    vector.close()


def test_walker_steps_like_gymnasiums_in_its_first_episodes():
    """A new plain environment for every episode: Gymnasium's own remembers earlier ones in its world."""
    rng = np.random.default_rng(0)
    env = WALKER.single()
    for seed in range(4):
        actions = random_actions(WALKER, (300,), rng)
        assert alike(roll(env, actions, seed), roll(gymnasium.make("BipedalWalker-v3"), actions, seed))


def test_time_limits_truncate_like_gymnasiums():
    family = dataclasses.replace(LANDER, max_episode_steps=20)
    plain = [gymnasium.make("LunarLander-v3", max_episode_steps=20, gravity=-3.0) for _ in range(3)]
    vector = family.vector(family.table([{"gravity": -3.0}]), 3, dtype=torch.float64)
    assert assert_steps_like(vector, plain, family, 50, np.random.default_rng(0), dtype=np.float64) == 6


@LANDERS
def test_attributes_and_functions_equal_constructor_arguments(family):
    """The shipped landers against the same environment built anew for each variant, by ``Argument``."""
    same = dataclasses.replace(family, apply={name: Argument(name) for name in family.names})
    variants_TP, fresh_TP = family.variants("train", 3), family.variants("validation", 3)
    rng, rows = np.random.default_rng(0), np.array([True, False, True])
    actions = torch.as_tensor(random_actions(family, (150, 6), rng))
    streams = []
    for one in (family, same):
        env = one.vector(variants_TP, 2, seed=3)
        stream = [[env.reset()[0]], play(env, actions)]
        env.replace(fresh_TP, rows)
        paired = env.reset(seed=9, options={"paired": True})[0]
        streams.append([*stream[0], *stream[1], paired, *play(env, actions)])
    assert_same(*streams)


def test_async_equals_sync():
    streams = []
    actions = torch.as_tensor(np.random.default_rng(0).integers(4, size=(120, 4)))
    for vectorization in ("sync", "async"):
        family = dataclasses.replace(WINDY, vectorization=vectorization)
        env = family.vector(family.variants("train", 2), 2, seed=1)
        assert isinstance(env.env, {"sync": SyncVectorEnv, "async": AsyncVectorEnv}[vectorization])
        first = [env.reset()[0], *play(env, actions)]
        obs = env.replace(family.variants("validation", 2), np.array([False, True]))
        streams.append([*first, obs, *play(env, actions)])
        env.close()
    assert_same(*streams)
    assert streams[0][3].any(), "episodes ended"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_processes_of_copies_ignore_the_terminals_ctrl_c():
    def ignored(pid):
        (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("SigIgn"))
        return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)

    env = dataclasses.replace(LANDER, vectorization="async").vector(LANDER.variants("train", 2))
    assert [ignored(process.pid) for process in env.env.processes] == [True, True]
    assert not ignored(os.getpid())
    env.close()


def test_judging_starts_no_process():
    family = dataclasses.replace(LANDER, vectorization="async", max_episode_steps=3)
    assert LANDER.in_process() is LANDER
    actor = Act(lambda obs: obs[:, 0].long())
    played = episodes.play(family, family.variants("train", 2), actor, 3)
    assert (played.lengths_TE == 3).all()
    sync = dataclasses.replace(family, vectorization="sync")
    in_sync = episodes.play(sync, family.variants("train", 2), actor, 3)
    np.testing.assert_array_equal(played.returns_TE, in_sync.returns_TE)


def test_answers_are_torch_and_are_not_overwritten():
    env = LANDER.vector(LANDER.variants("train", 2), 2)
    assert isinstance(env, VariantVectorEnv)
    assert env.num_envs == 4
    answers = [env.reset(seed=0)[0], *env.step(torch.zeros(4, dtype=torch.int64))[:4]]
    assert [answer.dtype for answer in answers] == [torch.float32] * 3 + [torch.bool] * 2
    assert answers[0].numpy() in env.observation_space
    copies = [answer.clone() for answer in answers]
    play(env, torch.zeros(200, 4, dtype=torch.int64))
    assert_same(answers, copies)


def test_seeds_decide_everything_and_paired_starts_are_shared():
    def run(born, **given):
        env = LANDER.vector(LANDER.table([{}] * 3), 2, seed=born)
        obs = env.reset(**given)[0]
        return [obs, *play(env, torch.as_tensor(np.random.default_rng(0).integers(4, size=(200, 6))))]

    assert_same(run(1), run(1))
    assert_same(run(1, seed=4), run(2, seed=4))
    starts = run(1)[0]
    assert len(torch.unique(starts, dim=0)) == 6
    paired = run(1, seed=4, options={"paired": True})[0].view(3, 2, -1)
    assert torch.equal(paired[0], paired[1])
    assert torch.equal(paired[0], paired[2])
    assert not torch.equal(paired[0, 0], paired[0, 1])


def test_copies_that_play_once_stand_still_after_their_end():
    env, other = (LANDER.vector(LANDER.table([{}] * 3), 2) for _ in range(2))
    env.reset(seed=0, options={"once": True})
    other.reset(seed=0)
    actions = torch.as_tensor(np.random.default_rng(0).integers(4, size=(120, 6)))
    once, again = play(env, actions), play(other, actions)
    ended = (once[2] | once[3]).cumsum(0)
    first = ended - (once[2] | once[3]).int() == 0
    assert ended.sum() > 0
    assert ended.max() == 1
    assert_same([part[first] for part in once[1:]], [part[first] for part in again[1:]])
    assert (once[1][~first] == 0).all()
    assert (once[4][~first] == 0).all()
    obs = env.replace(LANDER.variants("train", 3), np.array([True, False, False]))
    assert (obs[:2, 1] > 1.3).all()
    assert (play(env, actions[:5])[4][:, :2] != 0).any()
    assert_same([env.reset(seed=0)[0], *play(env, actions[:20])], [env.reset(seed=0)[0], *play(env, actions[:20])])


def test_replace_changes_only_the_named_variants():
    old, new = LANDER.variants("train", 3), LANDER.variants("validation", 3)
    env, other = (LANDER.vector(old, 2, seed=0) for _ in range(2))
    actions = torch.zeros(30, 6, dtype=torch.int64)
    for one in (env, other):
        one.reset()
        play(one, actions)
    obs = env.replace(new, np.array([False, True, False]))
    np.testing.assert_array_equal(env.variants_TP, np.array([old[0], new[1], old[2]]))
    kept = torch.tensor([True, True, False, False, True, True])
    after, want = play(env, actions), play(other, actions)
    assert_same([part[:, kept] for part in after], [part[:, kept] for part in want])
    assert (obs[~kept, 1] > 1.3).all(), "back at the top"
    assert not torch.equal(after[0][0, ~kept], want[0][0, ~kept])


def test_change_acts_from_the_next_step_and_arguments_from_the_next_start():
    old, new = WINDY.table([{"gravity": -10}]), WINDY.table([{"gravity": -3, "wind_power": 2}])
    action = torch.zeros(1, 1, dtype=torch.int64)
    streams = {}
    for name, family in (("functions", WINDY), ("arguments", argument_lander())):
        for table in (old, new):
            env = family.vector(old, 1)
            env.reset(seed=0)
            play(env, action.repeat(5, 1))
            env.change(torch.as_tensor(table))
            stepped = play(env, action)
            streams[name, bool((table == new).all())] = [*stepped, env.reset(seed=1)[0]]
    before, after = streams["functions", False], streams["functions", True]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(streams["arguments", True][0], before[0])
    assert torch.equal(streams["arguments", True][-1], after[-1])
    assert not torch.equal(after[-1], before[-1])


class Held(CartPoleEnv):
    """Pushes on in the direction of the last push for a few steps that its own generator draws."""

    def reset(self, *, seed=None, options=None):
        answer = super().reset(seed=seed, options=options)
        self.left = 0
        return answer

    def step(self, action):
        if not self.left:
            self.held, self.left = action, int(self.np_random.integers(1, 4))
        self.left -= 1
        return super().step(self.held)


REPEATING = {
    "lander": LANDER,
    "wind": dataclasses.replace(WINDY, max_episode_steps=70),
    "throttled": THROTTLED,
    "arguments": argument_lander(),
    "drift": dataclasses.replace(LANDER, drift={"gravity": Walk(0.1)}, max_episode_steps=45),
    "walker": dataclasses.replace(WALKER, max_episode_steps=50),
    "mujoco": dataclasses.replace(inverted_pendulum(), max_episode_steps=30),
    "own draws": cartpole(make=Held, max_episode_steps=40),
    "async": cartpole(make=Held, max_episode_steps=25, vectorization="async"),
}


@pytest.mark.parametrize("name", REPEATING)
def test_state_dict_continues_bit_identically(name, tmp_path):
    """Over ends, replacements, and variants that drift; twice."""
    family = REPEATING[name]
    rng = np.random.default_rng(0)
    env = family.vector(family.variants("train", 3), 2, seed=1)
    env.reset()
    before = play(env, torch.as_tensor(random_actions(family, (100, 6), rng)))
    assert (before[2] | before[3]).any(), "episodes ended"
    env.replace(family.variants("validation", 3), np.array([True, False, False]))
    for more in (0, 23):
        play(env, torch.as_tensor(random_actions(family, (more, 6), rng))) if more else None
        torch.save(env.state_dict(), tmp_path / "env.pt")
        resumed = family.vector(family.variants("interpolation", 3), 2, seed=7)
        resumed.reset()
        play(resumed, torch.as_tensor(random_actions(family, (5, 6), rng)))
        obs, anew_N = resumed.load_state_dict(torch.load(tmp_path / "env.pt", weights_only=True))
        assert not anew_N.any()
        kept = np.array([False, False, True])
        actions = torch.as_tensor(random_actions(family, (90, 6), rng))
        streams = []
        for one in (env, resumed):
            stream = [one._obs, one.replace(family.variants("extrapolation", 3), kept), *play(one, actions)]
            streams.append([*stream, one.variants_TP, one.reset()[0], *play(one, actions[:3])])
        assert torch.equal(obs, streams[0][0])
        assert_same(*streams)
        resumed.close()
    env.close()


def test_copies_at_rest_go_on_resting():
    family = cartpole(max_episode_steps=15)
    env, resumed = (family.vector(family.variants("train", 3), 2, seed=seed) for seed in (1, 2))
    env.reset(options={"once": True})
    actions = torch.as_tensor(np.random.default_rng(0).integers(2, size=(30, 6)))
    play(env, actions[:13])
    assert 0 < env._resting_N.sum() < 6
    obs, anew_N = resumed.load_state_dict(env.state_dict())
    assert not anew_N.any()
    assert (obs[env._resting_N] == 0).all()
    assert_same(play(env, actions), play(resumed, actions))


class Forgetful(CartPoleEnv):
    """Whose start, motion, reward or end depends on what no seed decides."""

    kind = ""
    clock = 0

    def reset(self, *, seed=None, options=None):
        Forgetful.clock += 1
        _, info = super().reset(seed=seed, options=options)
        if self.kind == "start":
            self.state = np.full(4, 1e-3 * Forgetful.clock)
        self.ends = 3 if Forgetful.clock > 42 else 99
        return np.array(self.state, dtype=np.float32), info

    def step(self, action):
        Forgetful.clock += 1
        self.ends -= 1
        if self.kind == "motion":
            self.gravity = 9.0 + Forgetful.clock % 11
        if self.kind == "error" and Forgetful.clock > 400:
            raise RuntimeError("no more")
        obs, reward, terminated, truncated, info = super().step(action)
        if self.kind == "reward":
            reward = float(Forgetful.clock)
        return obs, reward, terminated or (self.kind == "end" and not self.ends), truncated, info


@pytest.mark.parametrize("kind", ["start", "motion", "reward", "end"])
def test_what_does_not_repeat_itself_goes_on_with_new_episodes_and_says_so(kind):
    family = cartpole(make=type("Odd", (Forgetful,), {"kind": kind}), max_episode_steps=25)
    env, resumed = (family.vector(family.variants("train", 3), 2, seed=seed) for seed in (1, 2))
    Forgetful.clock = 0
    env.reset()
    play(env, torch.ones(6, 6, dtype=torch.int64))
    assert Forgetful.clock == 42
    state = env.state_dict()
    said = r"^family 'cart': its environment does not repeat itself: the same seeds and actions led elsewhere; .*$"
    with pytest.warns(UserWarning, match=said) as warned:
        obs, anew_N = resumed.load_state_dict(state)
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert anew_N.any()
    assert torch.equal(obs[~anew_N], state["obs_NO"][~anew_N])
    new = resumed._journal
    assert (new.length_N[anew_N] == 0).all()
    assert (new.episode_N - env._journal.episode_N).tolist() == anew_N.int().tolist()
    assert torch.equal(resumed.variants_TP, env.variants_TP)
    play(resumed, torch.ones(30, 6, dtype=torch.int64))


def test_an_error_while_episodes_are_repeated_names_the_environment():
    family = cartpole(make=type("Odd", (Forgetful,), {"kind": "error"}), max_episode_steps=25)
    env = family.vector(family.variants("train", 3), 2, seed=1)
    Forgetful.clock = 0
    env.reset()
    play(env, torch.ones(6, 6, dtype=torch.int64))
    state, Forgetful.clock = env.state_dict(), 395
    said = r"^family 'cart' at masscart=\S+: step of its environment raised RuntimeError: no more .*; mend it$"
    with pytest.raises(InputError, match=said):
        env.load_state_dict(state)


def test_a_copys_episodes_do_not_depend_on_the_others():
    family = cartpole(max_episode_steps=20)
    actions = torch.as_tensor(np.random.default_rng(0).integers(2, size=(60, 4)))
    actions[:, 2] = actions[:, 0]
    table = family.table([{}, {}])
    env, other = family.vector(table, 2), family.vector(family.table([{}, {"masscart": 3.0}]), 2)
    both = []
    for one in (env, other):
        one.reset(seed=3, options={"paired": True})
        both.append(play(one, actions))
    assert_same([part[:, 0] for part in both[0]], [part[:, 2] for part in both[0]])
    assert_same([part[:, :2] for part in both[0]], [part[:, :2] for part in both[1]])
    ended = (both[0][2] | both[0][3])[:, 0].nonzero().flatten()
    assert len(torch.unique(both[0][0][ended, 0], dim=0)) == len(ended) > 2, "no start comes twice"


# a context for each copy, through other people's vector environments

CONTEXTS = [{"gravity": -3.0}, {"gravity": -10.0}, {"gravity": -11.5}]


def makers(family):
    return [family.single for _ in CONTEXTS]


def wanted(seeds, actions):
    return [
        roll(gymnasium.make("LunarLander-v3", **context), actions, seed)[: len(actions) + 1]
        for context, seed in zip(CONTEXTS, seeds, strict=True)
    ]


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("how", ["function", "argument"])
def test_gymnasiums_vector_environments_take_a_context_for_each_copy(vector, how):
    family = LANDER if how == "function" else dataclasses.replace(LANDER, apply={"gravity": Argument("gravity")})
    env = vector(makers(family))
    env.set_attr("context", CONTEXTS)
    assert list(env.get_attr("context")) == CONTEXTS
    actions = np.random.default_rng(0).integers(4, size=40)
    seen = [env.reset(seed=[1, 2, 3])[0]]
    seen += [env.step(np.full(3, action))[0] for action in actions]
    env.close()
    for row, want in enumerate(wanted([1, 2, 3], actions)):
        np.testing.assert_array_equal(np.stack(seen)[:, row], want[:, :-1].astype(np.float32))


@pytest.mark.parametrize(
    ("vector", "monitored"),
    [
        (DummyVecEnv, False),
        (DummyVecEnv, True),
        (SubprocVecEnv, False),
        pytest.param(SubprocVecEnv, True, marks=pytest.mark.slow),
    ],
)
def test_sb3s_vector_environments_take_a_context_for_each_copy(vector, monitored):
    env = vector([(lambda: Monitor(LANDER.single())) if monitored else LANDER.single for _ in CONTEXTS])
    for row, context in enumerate(CONTEXTS):
        if monitored:
            env.env_method("set_context", context, indices=[row])
        else:
            env.set_attr("context", context, indices=[row])
    assert env.get_attr("context") == CONTEXTS
    env.seed(1)
    actions = np.random.default_rng(0).integers(4, size=40)
    seen = [env.reset()]
    seen += [env.step(np.full(3, action))[0] for action in actions]
    env.close()
    for row, want in enumerate(wanted([1, 2, 3], actions)):
        np.testing.assert_array_equal(np.stack(seen)[:, row], want[:, :-1].astype(np.float32))


def test_the_documented_examples_run():
    text = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    section = text.partition("\n## Any Gymnasium environment\n")[2].partition("\n## ")[0]
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE):
        exec(block, names)
    names["env"].reset(seed=0)
    light, heavy = names["env"].step(np.array([1, 1]))[0]
    assert light[1] > heavy[1] > 0


def test_families_pickle():
    again = pickle.loads(pickle.dumps(WINDY))
    assert (again.names, again.held_out, again.origin) == (WINDY.names, WINDY.held_out, WINDY.name)
    assert again.arguments == WINDY.arguments


# the ways of applying a parameter


def test_an_attribute_with_what_derives_from_it_equals_the_registered_physics():
    actions = np.random.default_rng(0).integers(2, size=60)
    for masscart in (0.3, 1.0, 3.0):
        ours = roll(cartpole().single(masscart=masscart), actions)
        theirs = roll(VariantEnv(registry.get("cartpole"), masscart=masscart), actions)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_carls_cartpole_does_not_move():
    actions = np.random.default_rng(0).integers(2, size=60)
    plain = roll(gymnasium.make("CartPole-v1"), actions)
    assert alike(roll(naive_cartpole().single(masscart=4.0), actions), plain)
    assert not alike(roll(cartpole().single(masscart=4.0), actions), plain)


def test_model_fields_equal_edits_by_hand():
    family = inverted_pendulum()
    values = {"gravity": -3.0, "mass": 2.5, "gear": 60.0, "timestep": 0.03}
    plain = gymnasium.make("InvertedPendulum-v5")
    model = plain.unwrapped.model
    model.opt.gravity[2] = -3.0
    model.body_mass[:] *= 2.5
    model.actuator_gear[0, 0] = 60.0
    model.opt.timestep = 0.03
    mujoco.mj_setConst(model, mujoco.MjData(model))
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 1)).astype(np.float32)
    want = roll(plain, actions)
    env = family.single(**values)
    assert alike(roll(env, actions), want)
    assert alike(roll(env, actions), want), "scales start from the nominal values, reset after reset"
    env.context = {"mass": 4.0}
    env.context = values
    assert alike(roll(env, actions), want)
    env.context = {}
    assert alike(roll(env, actions), roll(gymnasium.make("InvertedPendulum-v5"), actions))


@pytest.mark.parametrize("name", inverted_pendulum().names)
def test_each_model_field_acts_alone(name):
    family = inverted_pendulum()
    actions = np.full((10, 1), 0.3, dtype=np.float32)
    before, after = (roll(family.single(**{name: value}), actions) for value in family[name].wide)
    assert np.abs(before[:3] - after[:3]).max() > 1e-4


@pytest.mark.parametrize("name", WALKER.names)
def test_each_of_the_walkers_parameters_acts_at_once_and_leaves_no_trace(name):
    actions = random_actions(WALKER, (60,), np.random.default_rng(0))
    before = roll(WALKER.single(), actions)
    for value in WALKER[name].wide:
        env = WALKER.single(**{name: value})
        changed = roll(env, actions)
        n = min(len(before), len(changed))
        assert np.abs(before[:n] - changed[:n]).max() > 1e-3
        env.context = {}
        assert alike(roll(env, actions), before)
    env.reset(seed=0)
    for step, action in enumerate(actions[:50]):
        if step == 30:
            env.context = {name: WALKER[name].wide[0]}
        obs, *_ = env.step(action)
        if step < 30:
            np.testing.assert_array_equal(obs, before[step + 1, :-1].astype(np.float32))
    assert (obs != before[50, :-1]).any()


def test_the_walkers_numbers_are_where_box2d_keeps_them():
    env = WALKER.single(gravity=-8.0, hull_density=10.0, friction=1.5, motors_torque=50.0)
    env.reset(seed=0)
    walker, plain = env.unwrapped, gymnasium.make("BipedalWalker-v3")
    plain.reset(seed=0)
    assert tuple(walker.world.gravity) == (0, -8)
    assert walker.hull.mass == pytest.approx(2 * plain.unwrapped.hull.mass)
    assert walker.hull.inertia == pytest.approx(2 * plain.unwrapped.hull.inertia, rel=1e-2)
    assert {fixture.friction for body in walker.terrain for fixture in body.fixtures} == {1.5}
    for one, torque in ((walker, 50), (plain.unwrapped, 80)):
        one.step(np.array([1, 0.5, -1, 0], dtype=np.float32))
        assert [joint.GetMaxMotorTorque() for joint in one.joints] == [torque, torque / 2, torque, 0]


def test_an_argument_builds_anew_only_where_it_has_changed():
    built = []

    def make(render_mode=None, **arguments):
        built.append(arguments)
        return gymnasium.make("LunarLander-v3", render_mode=render_mode, **arguments)

    family = dataclasses.replace(LANDER, make=make, apply={"gravity": Argument("gravity")})
    env = family.single(gravity=-5.0)
    inner = env.env
    env.reset(seed=0)
    env.context = {"gravity": -5.0}
    env.reset()
    assert env.env is inner
    env.context = {"gravity": -8.0}
    assert env.unwrapped.gravity == -5.0
    env.reset()
    assert env.unwrapped.gravity == -8.0
    assert built[-2:] == [{"gravity": -5.0}, {"gravity": -8.0}]
    # without a seed, the new one is seeded from the old: what follows is still decided by the first seed
    starts = []
    for _ in range(2):
        env = family.single(gravity=-5.0)
        env.reset(seed=1)
        env.context = {"gravity": -8.0}
        starts.append(env.reset()[0])
    np.testing.assert_array_equal(*starts)


def test_distractors_are_never_applied():
    noise = Parameter("noise", "1", 0.0, (1, 1), (0, 1), distractor=True)
    family = cartpole(parameters=(MASS, noise))
    actions = np.random.default_rng(0).integers(2, size=40)
    assert alike(roll(family.single(noise=1.0), actions), roll(family.single(), actions))
    with pytest.raises(InputError, match=r"`apply` has 'noise', which is no parameter, or a distractor; remove it"):
        cartpole(parameters=(MASS, noise), apply={"masscart": Attribute("masscart"), "noise": Attribute("noise")})


def test_a_family_is_read_from_its_environment():
    family = inverted_pendulum()
    plain = gymnasium.make("InvertedPendulum-v5")
    assert family.observation_space == plain.observation_space
    assert family.action_space == plain.action_space
    assert family.max_episode_steps == plain.spec.max_episode_steps
    assert family.drawn
    assert dataclasses.replace(family, max_episode_steps=7).max_episode_steps == 7


# mistakes are said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apply": {}}, "parameter 'masscart' is not in `apply`, so it would change nothing; add it there"),
        ({"apply": {"masscart": 3.0}}, "`apply` of 'masscart' is 3.0; must be an Attribute, an Argument, a ModelField"),
        ({"apply": {"masscart": Attribute("masscart"), "mass": Attribute("mass")}}, "`apply` has 'mass', which is no"),
        ({"make": "CartPoll-v1"}, "its environment cannot be built with no arguments: NameNotFound"),
        ({"arguments": {"wind": True}}, "its environment cannot be built with wind=True: TypeError: .*; mend `make`"),
        ({"vectorization": "threads"}, "vectorization='threads': must be 'sync' or 'async'"),
        (
            {"make": CartPoleEnv, "max_episode_steps": 0},
            "its environment has no time limit; give max_episode_steps",
        ),
    ],
)
def test_declarations_that_cannot_work_are_refused(changes, message):
    with pytest.raises(InputError, match=f"^family 'cart': {message}") as error:
        cartpole(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Attribute("mascart"), "mascart: CartPoleEnv has no such attribute \\('mascart' is missing\\); mend `apply`"),
        (Attribute("world.gravity"), "world.gravity: CartPoleEnv has no such attribute \\('world' is missing\\)"),
        (lambda env, value: env.nothing(value), "AttributeError: 'CartPoleEnv' object has no attribute 'nothing'"),
    ],
)
def test_a_parameter_that_cannot_be_applied_is_named(how, message):
    family = cartpole(apply={"masscart": how})
    with pytest.raises(InputError, match=f"^masscart=1: family 'cart' cannot apply it: {message}") as error:
        family.check()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^masscart=1"):
        family.vector(family.table([{}]))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (ModelField("opt.gravityy"), "model.opt.gravityy: .* has no such attribute"),
        (ModelField("opt.gravity", index=3), "family 'inverted' cannot apply it: IndexError"),
    ],
)
def test_a_model_field_that_is_not_there_is_named(how, message):
    family = inverted_pendulum()
    with pytest.raises(InputError, match=message):
        dataclasses.replace(family, apply={**family.apply, "gravity": how}).check()


def test_check_names_the_value_that_the_environment_refuses():
    steep = dataclasses.replace(LANDER["gravity"], wide=(-20, -2), train=(-20, -4), bounds="(-inf, 0)")
    family = dataclasses.replace(LANDER, parameters=(steep,), apply={"gravity": Argument("gravity")})
    with pytest.raises(InputError, match=r"cannot be built with gravity=-20\.0: AssertionError: gravity") as error:
        family.check()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^family 'cart': derive raised AttributeError: .*; mend it$"):
        cartpole(derive=lambda env: env.nothing).check()
    with pytest.raises(InputError, match=NAMED):
        cartpole(make=Unsteady).check()


NAMED = (
    r"^family 'cart' at .*masscart=0\.5.*: step of its environment raised ValueError: no "
    r"\(.*test_gymnasium_env\.py:\d+, in step\); mend it$"
)


class Unsteady(CartPoleEnv):
    def step(self, action):
        raise ValueError("no")


def test_contexts_are_checked():
    env = LANDER.single()
    with pytest.raises(InputError, match=r"^gravty: unknown parameter of family 'lunar_lander'; choose from gravity"):
        env.context = {"gravty": -3}
    with pytest.raises(InputError, match=r"^gravity=-12\.0: must be within \(-12, 0\) units/s2"):
        LANDER.single(gravity=-12)
    with pytest.raises(InputError, match="render_mode='rgb_array': family 'blank' has no renderer; use None"):
        dataclasses.replace(cartpole(), name="blank", make=Blank).single(render_mode="rgb_array")


class Blank(CartPoleEnv):
    metadata = {"render_modes": []}  # noqa: RUF012


def test_an_argument_cannot_drift():
    from hyperrl.envs.drift import Walk

    with pytest.raises(InputError, match="'gravity' cannot drift, because an Argument acts from the next reset on"):
        dataclasses.replace(LANDER, apply={"gravity": Argument("gravity")}, drift={"gravity": Walk(0.1)})
    env = dataclasses.replace(LANDER, drift={"gravity": Walk(0.1)}).vector(LANDER.variants("train", 2), 2)
    env.reset(seed=0)
    before = env.variants_TP.clone()
    play(env, torch.zeros(5, 4, dtype=torch.int64))
    assert (env.variants_TP != before).all()
    gravity = [lander.gravity for lander in env.env.get_attr("unwrapped")]
    assert gravity == env.variants_TP.flatten().repeat_interleave(2).tolist()
    env.reset(seed=0)
    assert torch.equal(env.variants_TP, before)


# the shipped families


@pytest.mark.parametrize("family", [LANDER, WINDY, THROTTLED, WALKER], ids=lambda family: family.name)
def test_shipped_families_check_and_are_registered(family):
    family.check()
    assert family.splits == SPLITS[1:]
    env = gymnasium.make(family.env_id, gravity=-6.0)
    assert env.spec.max_episode_steps == family.max_episode_steps
    assert env.get_wrapper_attr("context") == family.variant(gravity=-6)
    assert env.reset(seed=0)[0] in env.observation_space
    theirs = gymnasium.make("BipedalWalker-v3" if family is WALKER else "LunarLander-v3")
    assert family.max_episode_steps == theirs.spec.max_episode_steps
    assert family.observation_space == theirs.observation_space
    if family in (LANDER, WALKER):
        actions = random_actions(family, (30,), np.random.default_rng(0))
        assert alike(roll(family.single(), actions), roll(theirs, actions)), "defaults are the task's own"


@pytest.mark.parametrize("family", [LANDER, WALKER], ids=lambda family: family.name)
def test_frames_are_drawn(family, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gymnasium.make(family.env_id, render_mode="rgb_array", gravity=-6.0)
    env.reset(seed=0)
    assert env.render().shape == (400, 600, 3)
    env.close()


@pytest.mark.parametrize(
    ("name", "simulator", "make"),
    [
        ("lunar_lander", "Box2D", "LunarLander-v3"),
        ("bipedal_walker", "Box2D", "BipedalWalker-v3"),
        ("hopper", "mujoco", "Hopper-v5"),
        ("reacher", "mujoco", "Reacher-v5"),
    ],
)
def test_without_a_simulator_one_line_names_the_extra(name, simulator, make, monkeypatch):
    registry.get(name)
    for module in list(sys.modules):
        if {simulator, simulator.lower()} & {*module.split(".")} or module == f"hyperrl.envs.tasks.{name}":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, simulator, None)
    said = rf"its simulator is not installed .*; pip install 'hyperrl\[{simulator.lower()}\]'$"
    with pytest.raises(InputError, match=f"^family '{name}': {said}") as error:
        registry.get(name)
    assert "\n" not in str(error.value)
    assert registry.env_id(name).endswith(make)
    # a family of the reader's own, of Gymnasium's environment
    with pytest.raises((ImportError, gymnasium.error.DependencyNotInstalled)) as raised:
        cartpole(make=make)
    own = str(registry.not_installed("family 'tank.py'", raised.value))
    assert re.match(f"^family 'tank.py': {said}", own)
    assert "\n" not in own
    assert registry.not_installed("family 'tank.py'", ImportError("no tank", name="tank")) is None
    assert registry.not_installed("family 'tank.py'", ValueError("no")) is None


def test_contexts_are_wrappers_of_gymnasium():
    assert isinstance(LANDER.single(), Context)
    assert isinstance(LANDER.vector(LANDER.table([{}])), GymnasiumVectorEnv)


def leave(*_, **__):
    sys.exit("motor is off")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"make": leave}, r"its environment cannot be built with .*: SystemExit: motor is off"),
        ({"make": type("Off", (CartPoleEnv,), {"reset": leave})}, r"reset of its environment raised SystemExit: motor"),
        ({"make": type("Off", (CartPoleEnv,), {"step": leave})}, r"step of its environment raised SystemExit: motor"),
        ({"apply": {"masscart": leave}}, r"masscart=1: family 'cart' cannot apply it: SystemExit: motor is off"),
        ({"derive": leave}, r"derive raised SystemExit: motor is off; mend it"),
    ],
)
def test_an_environment_that_leaves_python_is_an_error_of_it(changes, said):
    with pytest.raises(InputError, match=said):
        cartpole(**changes).check()
    if "make" in changes and not isinstance(changes["make"], type):
        return  # no family without one environment that can be built
    family = cartpole(**changes)

    def played():
        with closing(family.vector(family.table([{}, {}]))) as env:
            env.reset()
            env.step(torch.zeros(2, dtype=torch.int64))

    with pytest.raises(InputError, match=said):
        played()
