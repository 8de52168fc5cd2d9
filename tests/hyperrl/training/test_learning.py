"""It learns."""

import dataclasses

import pytest
from gymnasium.spaces import Box

import hyperrl
from hyperrl.play.actors import random_actions
from hyperrl.play.episodes import play


@pytest.mark.slow
def test_the_hypernetwork_learns_cartpole_in_seconds(tmp_path):
    run = hyperrl.train("cartpole", steps=150_000, run=tmp_path, device="cpu", quiet=True, encoder=False)
    assert run.best["score"] >= 300
    evaluation = run.evaluate(episodes=3)
    family = run.family
    random = play(family, evaluation.variants_TP, random_actions(family), 3).returns_TE
    assert evaluation.means_T.mean() > 250
    assert evaluation.means_T.min() > 3 * random.mean()


def learned(trainer):
    """How much of the returns the values explain in the end, and how far the actions are from the target."""
    for _ in range(30):
        found = trainer.iterate()
    action_STE, target_T1 = trainer.collect().action_STE[..., 0], trainer.env.values["target"]
    return found["train/explained_variance"], float((action_STE.clamp(-1, 1) - target_T1.clamp(-1, 1)).abs().mean())


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_of_observations_and_rewards_do_not_matter(ticks, make_trainer, unit):
    def step(state, action, p):
        after, reward, ended = ticks.step(state, action, p)
        return after, reward * unit, ended

    settings = {"steps": 4 * 2 * 16 * 30, "learning_rate": 5e-3, "gamma": 0.9, "target_kl": 0.05, "hidden": (16,)}
    space = Box(0, 8 * unit, shape=(1,))
    for family in (
        dataclasses.replace(ticks, step=step),
        dataclasses.replace(ticks, observe=lambda state, p: state * unit, observation_space=space),
    ):
        explained, missed = learned(make_trainer(family, **settings))
        assert explained > 0.95
        assert missed < 0.25
