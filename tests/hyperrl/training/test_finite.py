"""Numbers that are not finite, or too large to learn from: said with variant and step, never kept, never a best."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import hyperrl
from hyperrl.api import train
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.families import tuned
from hyperrl.play.episodes import LONGEST
from hyperrl.storage import checkpoint
from hyperrl.training.held_out import HeldOut, Progressed
from hyperrl.training.trainer import Trainer

SHORT = {"variants": 4, "copies": 2, "rollout": 16, "steps": 768, "evaluations": 2, "device": "cpu", "quiet": True}
SHORT |= {"encoder": False, "hidden": (8,)}


def spoiled(family, value, where="reward", above=-math.inf, after=0):
    """The family with another reward or state at the ``after``-th count, in variants that pay more than ``above``."""

    def step(state, action, p):
        next_state, reward, terminated = family.step(state, action, p)
        wrong = (state[..., 0] == after) & (p["pay"] > above)
        if where == "reward":
            return next_state, torch.where(wrong, value, reward), terminated
        return torch.where(wrong.unsqueeze(-1), value, next_state), reward, terminated

    return replace(family, step=step)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("reward", math.nan, "reward=nan"),
        ("reward", -math.inf, "reward=-inf"),
        ("reward", 1e30, r"reward=1e\+30"),
        ("state", math.nan, "next observation=nan"),
        ("state", math.inf, "next observation=inf"),
    ],
)
def test_a_number_that_cannot_be_learned_from_is_said_with_its_variant_and_step(ticks, tmp_path, where, value, said):
    """In variants that end after five steps or more, at the third count: 16 to 24 steps of 4 x 2 copies."""
    family, good = spoiled(ticks, value, where, after=2), replace(ticks)
    with pytest.raises(InputError, match=rf"^{said} at step 24, target=\S+ ends=\S+ pay=\S+ cost=\S+: must be finite"):
        train(family, run=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run" / "config.json").exists(), "nothing was learned, so that the folder is free"
    train(good, run=tmp_path / "run", **SHORT)


@pytest.mark.parametrize("value", [math.nan, 1e30])
def test_one_such_number_costs_nothing_that_was_learned(ticks, tmp_path, monkeypatch, value):
    """In the fourth of six iterations: three are saved, and going on ends as any run does."""
    collect, calls = Trainer.collect, []

    def spoil(trainer):
        rollout = collect(trainer)
        calls.append(trainer.iteration)
        if len(calls) == 4:
            rollout.reward_STE[3, 1, 0] = value
        return rollout

    monkeypatch.setattr(Trainer, "collect", spoil)
    with pytest.raises(InputError, match=r"^reward=\S+ at step 416, .*; saved after 384 steps, --resume starts new"):
        train(ticks, run=tmp_path, **SHORT)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["steps"] == 384
    run = train(ticks, run=tmp_path, resume=True, quiet=True, encoder=False)
    assert run.steps == 768
    assert all(value.isfinite().all() for value in run.agent.state_dict().values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_picks_nothing(ticks, make_trainer, value):
    trainer, progressed = make_trainer(ticks), Progressed()
    HeldOut(ticks).play(trainer, progressed)
    best = progressed.score, progressed.step
    trainer.family, trainer.iteration = spoiled(ticks, value, above=0.5), 2
    with pytest.warns(UserWarning, match=r"returns are not finite, of \d+ variants, the first target=.*mend family"):
        HeldOut(ticks).play(trainer, progressed)
    assert (progressed.score, progressed.step) == best
    assert len(progressed.curves["validation"]) == 2


def test_without_any_finite_validation_the_last_agent_is_kept(ticks, tmp_path, monkeypatch):
    monkeypatch.setattr("hyperrl.training.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    play = HeldOut.play

    def spoil(self, trainer, progressed):
        family, trainer.family = trainer.family, spoiled(trainer.family, math.nan)
        try:
            return play(self, trainer, progressed)
        finally:
            trainer.family = family

    monkeypatch.setattr(HeldOut, "play", spoil)
    with pytest.warns(UserWarning, match="returns are not finite"):
        run = train(ticks, run=tmp_path, **SHORT)
    assert run.best["step"] == run.steps == 768


def test_returns_that_are_not_finite_are_results(ticks, ticks_run, tmp_path, monkeypatch):
    """The other variants keep theirs; JSON has null for them, and so have the means over them."""
    monkeypatch.setattr("hyperrl.storage.run._same_physics", lambda *_: True)
    run = hyperrl.load(ticks_run.folder, spoiled(ticks, math.nan, above=0.5))
    with pytest.warns(UserWarning, match=r"^\d+ of 640 returns are not finite, of \d+ variants, the first target="):
        found = run.evaluate("interpolation")
    wrong_T = np.array([variant["pay"] > 0.5 for variant in found.parameters])
    assert 0 < wrong_T.sum() < 64
    np.testing.assert_array_equal(np.isnan(found.returns_TE), np.repeat(wrong_T[:, None], 10, axis=1))
    from hyperrl.storage.files import write_json

    write_json(tmp_path / "found.json", found.json())
    written = json.loads((tmp_path / "found.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [variant["mean"] is None for variant in written["variants"]] == wrong_T.tolist()
    assert [variant["returns"] == [None] * 10 for variant in written["variants"]] == wrong_T.tolist()
    assert {written[name] for name in ("mean", "worst", "iqm", "worst_tenth")} == {None}
    with pytest.warns(UserWarning, match="returns are not finite"):
        adapted = run.adapt("all", episodes=2, pay=1.0)
    assert np.isnan(adapted.returns_KT).all()


@pytest.mark.filterwarnings("always::UserWarning")
def test_on_the_command_line_too(ticks_run, ticks, cli, tmp_path, monkeypatch):
    monkeypatch.setattr("hyperrl.storage.run._same_physics", lambda *_: True)
    monkeypatch.setattr("hyperrl.storage.run.of_run", lambda *_: spoiled(ticks, math.nan, above=0.5))
    status, out, err = cli("evaluate", ticks_run.folder, "--json", tmp_path / "found.json")
    assert status == 0
    assert re.search(r"^warning: \d+ of 640 returns are not finite", err, re.MULTILINE)
    assert "nan" in out
    assert json.loads((tmp_path / "found.json").read_text())["mean"] is None


def test_held_out_play_is_cut_where_training_is_short(ticks, make_trainer):
    """A time limit of a million steps, and episodes that never end: 1,000 steps are played, and one line says so."""
    endless = replace(
        ticks, max_episode_steps=10**6, step=lambda state, action, p: (state, state[..., 0] + 1, state[..., 0] > 9)
    )
    trainer, progressed = make_trainer(endless), Progressed()
    with pytest.warns(UserWarning, match="episodes that judge are cut after 1,000 of 1,000,000 steps; give a shorter"):
        metrics = HeldOut(endless).play(trainer, progressed)
    assert metrics["eval/mean_ep_length"] == metrics["eval/mean_reward"] == 1000
    config = trainer.config
    assert replace(config, steps=8 * 3000).longest == 3000  # 4 variants x 2 copies
    # nothing is cut of what is shipped, with its own settings
    for name in registry.families():
        family = registry.get(name)
        settings = Config(family=name).updated(tuned(family).training)
        assert family.max_episode_steps <= min(settings.longest, LONGEST)
