"""A family made of a Gymnasium environment goes through all that hyperrl does with a family."""

import dataclasses
from importlib.metadata import EntryPoint

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.evaluation import evaluate_policy

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.experts.environment import VariantVecEnv
from hyperrl.families import resolve
from hyperrl.play.actors import Act, random_actions
from hyperrl.play.episodes import play
from hyperrl.storage import checkpoint
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
    assert (status, err) == (0, "")
    assert (tmp_path / "play.gif").stat().st_size > 1000


def test_a_resumed_trainer_goes_on_with_its_variants_from_new_starts(my_family, tmp_path):
    family = resolve(str(my_family))
    config = Config(family=str(my_family), variants=4, copies=2, rollout=16, lifetime=1, steps=4096, device="cpu")
    trainer, resumed = Trainer(family, config), Trainer(family, config)
    for _ in range(3):
        trainer.iterate()
    checkpoint.save(tmp_path / "checkpoint.pt", trainer.state_dict())
    resumed.load_state_dict(checkpoint.load(tmp_path / "checkpoint.pt"))
    assert torch.equal(resumed.env.variants_TP, trainer.env.variants_TP)
    assert resumed.steps == trainer.steps
    assert (resumed.obs.abs() <= 0.05).all()
    assert not torch.equal(resumed.obs, trainer.obs)
    for _ in range(3):
        resumed.iterate()
    assert all(parameter.isfinite().all() for parameter in resumed.agent.parameters())


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
