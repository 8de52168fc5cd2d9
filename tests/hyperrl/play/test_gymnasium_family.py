"""A family made of a Gymnasium environment goes through all that hyperrl does with a family."""

import dataclasses
import pickle
from contextlib import closing
from importlib.metadata import EntryPoint

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TimeLimit
from stable_baselines3.common.evaluation import evaluate_policy

import hyperrl
from hyperrl.cli.families import _remedy
from hyperrl.config import Config
from hyperrl.envs import Attribute, GymnasiumFamily, InputError, Parameter, Schedule, registry
from hyperrl.envs.audit import audit
from hyperrl.experts.environment import VariantVecEnv
from hyperrl.export import export
from hyperrl.families import resolve
from hyperrl.play.actors import Act, AgentActor, random_actions
from hyperrl.play.episodes import play
from hyperrl.storage.agent import build_agent
from hyperrl.training.trainer import Trainer

MY_FAMILY = """
from hyperrl.envs import Attribute, GymnasiumFamily, Parameter


def derive(env):
    env.total_mass = env.masscart + env.masspole
    env.polemass_length = env.masspole * env.length


family = GymnasiumFamily(
    name="my_cartpole",
    make="CartPole-v1",
    parameters=(
        Parameter("masscart", "kg", 1.0, (0.5, 2), (0.25, 4), "(0, 20]"),
        Parameter("length", "m", 0.5, (0.25, 1), (0.1, 2), "(0, 10]"),
    ),
    apply={"masscart": Attribute("masscart"), "length": Attribute("length")},
    derive=derive,
)
"""
TINY = {"variants": 4, "copies": 2, "rollout": 16, "evaluations": 1, "device": "cpu", "quiet": True}


@pytest.fixture
def my_family(tmp_path):
    path = tmp_path / "my_family.py"
    path.write_text(MY_FAMILY)
    return path


def test_a_file_of_a_few_lines_trains_loads_and_plays(my_family, tmp_path, cli, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = hyperrl.train(str(my_family), run=tmp_path / "run", steps=1024, **TINY)
    again = hyperrl.load(tmp_path / "run")
    policy = again.policy(masscart=1.5)
    obs = np.array([0.01, 0, 0.02, 0], dtype=np.float32)
    assert policy.predict(obs)[0] == run.policy(masscart=1.5).predict(obs)[0]
    evaluation = again.evaluate("interpolation", episodes=2)
    assert evaluation.returns_TE.shape[1] == 2
    assert (evaluation.returns_TE >= 1).all()
    env = TimeLimit(again.family.single(masscart=1.5), again.family.max_episode_steps)
    assert evaluate_policy(policy, env, n_eval_episodes=1, warn=False)[0] >= 1
    status, _, err = cli("play", tmp_path / "run", "--set", "masscart=1.5", "--gif", tmp_path / "play.gif")
    assert status == 0
    assert all(line.startswith("family: running ") for line in err.splitlines())
    assert (tmp_path / "play.gif").stat().st_size > 1000


def test_a_trainer_begins_anew_only_what_does_not_repeat_itself():
    """Its running returns, lengths and states with it."""

    class Drunk(Counted):
        clock = 0

        def step(self, action):
            type(self).clock += 1
            return np.array([self.x + 0.01 * self.clock], dtype=np.float32), 1.0, False, False, {}

    _, family = counted(Drunk)
    config = Config(family="counted", variants=4, copies=2, rollout=4, steps=4096, device="cpu")
    trainer, resumed = Trainer(family, config), Trainer(family, config)
    trainer.iterate()
    assert (trainer.episode_length_TE == 4).all()
    with pytest.warns(UserWarning, match="^family 'counted': its environment does not repeat itself: .*never stopped$"):
        resumed.load_state_dict(trainer.state_dict())
    for running_TE in (resumed.discounted_TE, resumed.episode_return_TE, resumed.episode_length_TE):
        assert (running_TE == 0).all()
    assert torch.equal(resumed.env.variants_TP, trainer.env.variants_TP)
    assert resumed.steps == trainer.steps
    assert (resumed.obs.abs() <= 1).all(), "starts"
    resumed.iterate()
    assert resumed.iterate()["rollout/ep_rew_mean"] == 6


def test_judged_episodes_equal_gymnasiums(my_family):
    """The returns that judgements rest on, against one environment after the other, edited by hand."""
    family = resolve(str(my_family))
    variants_TP = family.variants("interpolation", 3)

    def act(obs):
        return (obs[:, 2] + 0.3 * obs[:, 3] > 0).long()

    played = play(family, variants_TP, Act(act), 2, seed=11)
    for t, variant in enumerate(family.untable(variants_TP)):
        for e in range(2):
            env = gymnasium.make("CartPole-v1")
            for name, value in variant.items():
                setattr(env.unwrapped, name, value)
            env.unwrapped.total_mass = env.unwrapped.masscart + env.unwrapped.masspole
            env.unwrapped.polemass_length = env.unwrapped.masspole * env.unwrapped.length
            obs, _ = env.reset(seed=11 + e)
            total, done = 0.0, False
            while not done:
                obs, reward, terminated, truncated, _ = env.step(int(act(torch.as_tensor(obs)[None])[0]))
                total, done = total + reward, terminated or truncated
            assert played.returns_TE[t, e] == played.lengths_TE[t, e] == total


def test_experts_train_on_copies_of_one_variant():
    family = dataclasses.replace(registry.get("lunar_lander"), max_episode_steps=30)
    env = VariantVecEnv(family, {"gravity": -3.0}, copies=2, seed=5)
    plain = gymnasium.make("LunarLander-v3", gravity=-3.0, max_episode_steps=30)
    obs = env.reset()
    actor = random_actions(family)
    rewards = np.zeros(2)
    for _ in range(30):
        obs, reward, done, infos = env.step(actor.act(torch.as_tensor(obs)).numpy())
        rewards += reward
        assert obs.shape == (2, 8)
    assert done.all()
    assert [info["episode"]["r"] for info in infos] == pytest.approx(rewards.tolist())
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert obs[0] in plain.observation_space


def test_another_package_registers_a_family_by_entry_point(my_family, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(my_family.parent)
    point = EntryPoint("my_cartpole", "my_family:family", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda group, name=None: [point] if name in (None, point.name) else []
    )
    assert "my_cartpole" in registry.families()
    run = hyperrl.train("my_cartpole", run=tmp_path / "run", steps=256, **TINY)
    assert hyperrl.load(tmp_path / "run").family.make == run.family.make == "CartPole-v1"


def test_a_slip_in_the_file_is_one_line_before_training(my_family, tmp_path, cli):
    my_family.write_text(MY_FAMILY.replace('Attribute("masscart")', 'Attribute("mass_cart")'))
    status, _, err = cli("train", my_family, "--run", tmp_path / "run")
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "masscart=1: family 'my_cartpole' cannot apply it: mass_cart: CartPoleEnv has no such attribute" in err
    my_family.write_text(MY_FAMILY.replace(', "length": Attribute("length")', ""))
    with pytest.raises(InputError, match="'length' is not in `apply`"):
        resolve(str(my_family))


# environments as people write them

GAIN = Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0), "(0, 10]")


class Counted(gymnasium.Env):
    """A point with a speed of gain x action, which knows how many of its kind there are."""

    observation_space = Box(-np.inf, np.inf, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    alive = built = most = 0

    def __init__(self):
        cls = type(self)
        cls.alive, cls.built = cls.alive + 1, cls.built + 1
        cls.most = max(cls.most, cls.alive)
        self.gain = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], dtype=np.float32), {}

    def step(self, action):
        self.x += 0.1 * self.gain * float(action[0])
        return np.array([self.x], dtype=np.float32), -abs(self.x), False, False, {}

    def close(self):
        type(self).alive -= 1


def counted(make=None, **changes):
    make = make or type("Point", (Counted,), {})
    given = {"name": "counted", "parameters": (GAIN,), "apply": {"gain": Attribute("gain")}, "max_episode_steps": 6}
    return make, GymnasiumFamily(make=make, **{**given, **changes})


@pytest.mark.parametrize("encoder", [False, True])
def test_a_bounded_number_of_environments_is_alive_at_once_and_all_are_closed(encoder, tmp_path):
    """A class without a render_mode, too."""
    make, family = counted(simulators=10)
    run = hyperrl.train(family, run=tmp_path / "run", steps=512, encoder=encoder, **TINY)
    assert make.most <= 8 + 10
    assert make.alive == 0
    make.most = 0
    assert run.evaluate("interpolation", episodes=3).returns_TE.shape == (64, 3)
    assert (make.most, make.alive) == (9, 0)
    policies = run.policies(family.untable(family.variants("interpolation", 7)))
    make.most = 0
    export(policies, [tmp_path / f"{i}.pt2" for i in range(7)], "torch")
    assert (make.most, make.alive) == (8, 0)


@pytest.mark.parametrize("drift", [{}, {"gain": Schedule(lambda start, step: start * 0.9**step)}])
def test_episodes_in_parts_are_those_of_all_at_once(drift):
    """With weights that are generated and with given ones, where the last part is not full."""
    variants_TP, agent, found = np.linspace(0.5, 2, 7)[:, None], None, []
    for simulators in (1000, 6, 1):
        _, family = counted(simulators=simulators, drift=drift)
        agent = agent or build_agent(family, Config(family="counted"), torch.device("cpu"))
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        weights_TD = agent.generate(family.encode(torch.as_tensor(variants_TP[::-1].copy(), dtype=torch.float32)))
        for given in (None, weights_TD.detach()) if not drift else (None,):
            actor = AgentActor(agent, family, weights_TD=given)
            found.append(play(family, variants_TP, actor, 2, seed=3, gamma=0.9))
    kinds = len(found) // 3
    for i, one in enumerate(found):
        whole = found[i % kinds]
        for name in ("returns_TE", "lengths_TE", "discounted_TE", "start_NO"):
            np.testing.assert_allclose(getattr(one, name), getattr(whole, name), rtol=1e-6)
        assert one.returns_TE.std(0).min() > 0


def test_environments_are_closed_after_an_error():
    make, family = counted()

    def fail(obs):
        raise RuntimeError("no action")

    with pytest.raises(RuntimeError, match="no action"):
        play(family, np.ones((3, 1)), Act(fail), 2)

    class Broken(make):
        def step(self, action):
            raise RuntimeError("no step")

    with pytest.raises(InputError, match="raised RuntimeError: no step"):
        counted(Broken)[1].check()
    with pytest.raises(InputError, match="no time limit"):
        counted(make, max_episode_steps=0)
    assert make.alive == Broken.alive == 0


@pytest.mark.parametrize("wrong", [0, 1.5, -3])
def test_a_number_of_simulators_is_a_whole_one(wrong):
    with pytest.raises(InputError, match=f"^family 'counted': simulators={wrong}: must be 1 or more, a whole number$"):
        counted(simulators=wrong)


def test_options_of_every_reset_are_declared_and_those_that_are_missing_are_named():
    class Goal(Counted):
        def reset(self, *, seed=None, options=None):
            self.told = options
            self.goal = options["goal"]
            return super().reset(seed=seed)

    with pytest.raises(
        InputError, match=r"'counted' at gain=1: reset of .* raised TypeError: .*give .* as `reset_options`$"
    ):
        counted(Goal)[1].check()
    _, family = counted(Goal, reset_options={"goal": 3.0})
    family.check()
    env = family.single()
    env.reset(seed=0, options={"more": 1})
    assert env.unwrapped.told == {"goal": 3.0, "more": 1}
    env.reset(options={"goal": 4.0})
    assert env.unwrapped.goal == 4.0
    vector = family.vector(np.ones((2, 1)), copies=2)
    vector.reset(seed=1)
    for _ in range(7):  # over an end
        vector.step(torch.ones(4, 1))
    assert vector.env.get_attr("told") == ({"goal": 3.0},) * 4
    assert pickle.loads(pickle.dumps(dict(family.reset_options))) == {"goal": 3.0}


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward])
def test_a_wrapper_with_statistics_of_its_own_is_named(wrapper):
    _, family = counted(lambda **given: wrapper(TimeLimit(Counted(**given), 6)))
    name = wrapper.__name__
    with pytest.warns(UserWarning, match=f"^family 'counted': {name} within `make` keeps statistics of its own, .*"):
        family.check()
    assert counted()[1].own_statistics == registry.get("cartpole").own_statistics == ()
    found = audit(family)
    if wrapper is NormalizeObservation:
        assert not found.deterministic
        assert _remedy(family, found).startswith(f"{name} within `make` of counted keeps statistics")


class Counts(gymnasium.Env):
    """Pays and ends in the types that it is given."""

    observation_space, action_space = Box(0, 99, (1,), np.float32), Box(-1, 1, (1,), np.float32)
    gain = 1.0

    def __init__(self, render_mode=None, pays=float, ends=bool, length=3):
        self.pays, self.ends, self.length = pays, ends, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        ended = self.ends(self.t == self.length)
        return np.full(1, self.t, np.float32), self.pays(2 * self.t), ended, self.ends(False), {}


def in_array(value):
    return np.array([value])


def nothing(value):
    return None


def counts(mode="sync", **arguments):
    return GymnasiumFamily(
        name="counts", make=Counts, parameters=(Parameter("gain", "1", 1.0, (0.5, 2.0), (0.25, 4.0)),),
        apply={"gain": Attribute("gain")}, max_episode_steps=9, vectorization=mode, arguments=arguments,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize(
    ("pays", "ends"),
    [(int, int), (np.array, np.array), (in_array, in_array), (np.float32, np.bool_), (torch.tensor, bool)],
)
def test_rewards_and_ends_of_any_type_count_the_same(mode, length, pays, ends):
    """Rewards are 2, 4, 6 and over again, or always 2 in episodes of one step."""
    family = counts(mode, pays=pays, ends=ends, length=length)
    family.check()
    with closing(family.vector(family.table([{}, {}]), 1)) as env:
        env.reset()
        steps = [env.step(torch.zeros(2, 1)) for _ in range(4)]
    rewards, terminated, truncated = (torch.stack(column).tolist() for column in list(zip(*steps, strict=True))[1:4])
    expected = [1, 1, 1, 1] if length == 1 else [1, 2, 3, 1]
    assert rewards == [[2.0 * t] * 2 for t in expected]
    assert terminated == [[t == length] * 2 for t in expected]
    assert truncated == [[False] * 2] * 4
    expert = VariantVecEnv(family, {}, 2)
    expert.reset()
    _, reward_E, done_E, infos = expert.step(np.zeros((2, 1), np.float32))
    expert.close()
    assert (reward_E.tolist(), done_E.tolist()) == ([2.0, 2.0], [length == 1] * 2)
    assert not infos[0]["TimeLimit.truncated"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"pays": nothing}, "a reward that is None"), ({"pays": str}, "a reward that is '2'"),
     ({"pays": lambda r: [r, r]}, r"a reward that is \[2, 2\]"), ({"ends": nothing}, "an end that is None")],
)  # fmt: skip
def test_a_reward_or_an_end_that_is_no_number_is_one_line(arguments, said):
    told = rf"^family 'counts': step of its environment gives {said}: must be one number; return float\(\.\.\.\) or"
    with pytest.raises(InputError, match=told):
        counts(**arguments).check()
