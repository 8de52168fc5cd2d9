"""Several steps as one function: against a loop that calls the environment and the actor at every step."""

import pytest
import torch

from hyperrl.agents import ARMS
from hyperrl.envs import registry
from hyperrl.play import collect
from hyperrl.play.rollout import Rollout

AT_ONCE = [name for name in registry.families() if collect.at_once(registry.get(name))]
# as many draws a step as fill the generator's blocks of 16, so that drawing them at once is the same
SIZE = {"variants": 8, "copies": 4, "rollout": 24, "lifetime": 1, "steps": 8 * 4 * 24 * 3}


def rollouts(trainer):
    """Three rollouts, and where the environment, the actor and their generators stand after them."""
    played = []
    for _ in range(3):
        trainer.resample(trainer.iteration)
        played.append(Rollout(*(x.clone() for x in trainer.collect())))
        trainer.iteration += 1
    return played, (trainer.obs, trainer.actor.state_TEH, *trainer.env.state_dict().values())


@pytest.mark.parametrize(
    ("family", "arm"), [*((name, "hyper") for name in AT_ONCE), *(("cartpole", arm) for arm in ARMS)]
)
def test_steps_at_once_are_the_steps_one_by_one(make_trainer, monkeypatch, family, arm):
    at_once, after = rollouts(make_trainer(family, agent=arm, **SIZE))
    monkeypatch.setattr(collect, "at_once", lambda family: False)
    one_by_one, expected = rollouts(make_trainer(family, agent=arm, **SIZE))
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        for name, x, y in zip(Rollout._fields, ours, theirs, strict=True):
            assert torch.equal(x, y), name
    assert all(torch.equal(x, y) for x, y in zip(after, expected, strict=True))


def test_a_family_that_drifts_or_is_no_physics_is_played_step_by_step():
    assert not collect.at_once(registry.get("cartpole_drift"))
    assert not collect.at_once(registry.get("lunar_lander"))
    assert "cartpole" in AT_ONCE
