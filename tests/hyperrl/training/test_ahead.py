"""Collecting ahead, against the same iterations written out by hand, and against itself."""

import copy
import threading
import time
from dataclasses import replace

import pytest
import torch

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.play.actors import AgentActor
from hyperrl.training.ahead import collects_ahead
from hyperrl.training.trainer import Trainer


def weights(agent):
    return torch.cat([value.flatten() for value in agent.state_dict().values()])


def test_iterations_are_those_of_a_loop_that_collects_first(make_trainer):
    """One trainer collects ahead; the other, before every update, by hand, with the agent as it was then."""
    settings = {"lifetime": 0.02, "log_std": -1.0}  # variants are replaced too
    ahead, plain = (make_trainer("pendulum", ahead=choice, **settings) for choice in ("on", "off"))
    plain.resample(0)
    rollout = plain.collect()
    for iteration in range(5):
        shown = ahead.iterate()
        batch, _ = plain.estimate(rollout)
        discounted_STE, _ = plain.count_episodes(rollout, rollout.reward_STE)
        obs_STEO, context_RTC = rollout.obs_STEO.clone(), rollout.context_RTC.clone()
        batch = copy.deepcopy(batch)
        before = copy.deepcopy(plain.agent)
        updated = plain.update(batch, context_RTC)
        plain.normalise(obs_STEO, discounted_STE)
        after, plain.actor.agent = plain.agent, before
        plain.resample(iteration + 1)
        rollout = plain.collect()
        plain.actor.agent = after
        plain.iteration += 1
        assert torch.equal(weights(ahead.agent), weights(plain.agent))
        assert shown["train/loss"] == float(updated["train/loss"])
    ahead.close()


def test_what_acted_gave_the_rollouts_probabilities(make_trainer):
    """They are those of the agent before the update that ran meanwhile, and no longer those of the agent after it."""
    trainer = make_trainer("pendulum", ahead="on")
    trainer.iterate()
    acted = copy.deepcopy(trainer.agent)
    trainer.iterate()
    rollout = trainer.next_rollout()
    found = {}
    for name, agent in (("acted", acted), ("now", trainer.agent)):
        weights_TD = agent.generate(rollout.context_RTC[0])
        distribution, _ = agent.decide(weights_TD, rollout.obs_STEO[3], rollout.state_STEH[3])
        found[name] = distribution.log_prob(rollout.action_STE[3])
    torch.testing.assert_close(found["acted"], rollout.log_prob_STE[3])
    assert (found["now"] - rollout.log_prob_STE[3]).abs().max() > 1e-4
    trainer.close()


@pytest.mark.parametrize("slow", ["collecting", "updating"])
def test_timing_changes_nothing(make_trainer, slow, monkeypatch):
    quiet, delayed = (make_trainer("half_cheetah", limit=20, ahead="on") for _ in range(2))
    name = "collect" if slow == "collecting" else "update"
    found = getattr(delayed, name)

    def later(*given):
        time.sleep(0.05)
        return found(*given)

    monkeypatch.setattr(delayed, name, later)
    for _ in range(3):
        assert str(quiet.iterate()) == str(delayed.iterate())
    assert torch.equal(weights(quiet.agent), weights(delayed.agent))
    quiet.close()
    delayed.close()


def test_it_is_collected_in_a_thread_beside_the_update(make_trainer, monkeypatch):
    trainer, seen, begun = make_trainer(ahead="on"), [], threading.Event()
    update, collected = trainer.update, trainer.collect

    def collecting():
        seen.append(threading.current_thread().name)
        begun.set()
        return collected()

    def updating(*given):
        assert begun.wait(10)  # the next rollout has begun before the update ends
        return update(*given)

    monkeypatch.setattr(trainer, "collect", collecting)
    monkeypatch.setattr(trainer, "update", updating)
    begun.clear()
    trainer.iterate()
    assert seen[0] == threading.main_thread().name
    assert seen[1].startswith("collecting")
    trainer.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("collecting")]


def test_the_last_iteration_collects_nothing_more(make_trainer):
    trainer = make_trainer(ahead="on", steps=4 * 2 * 16 * 2)
    trainer.iterate()
    assert trainer.state_dict()["ranks"][0]["ahead"] is not None
    trainer.iterate()
    assert trainer.state_dict()["ranks"][0]["ahead"] is None
    trainer.close()


def test_an_error_ahead_is_that_of_the_next_iteration(make_trainer, monkeypatch):
    trainer = make_trainer("half_cheetah", limit=20, ahead="on")
    trainer.iterate()

    def failing(*_):
        raise InputError("it broke")

    monkeypatch.setattr(trainer.env, "step", failing)
    monkeypatch.setattr(trainer, "steps_at_once", failing)
    trainer.iterate()  # of the rollout that was collected before
    assert trainer.state_dict()["ranks"][0]["ahead"] is None
    with pytest.raises(InputError, match="it broke"):
        trainer.iterate()
    monkeypatch.undo()
    trainer.begin_anew()
    trainer.iterate()
    trainer.close()


def test_a_training_that_goes_on_without_a_rollout_acts_with_its_own_agent(make_trainer):
    """As where an error has dropped what was collected."""
    trainer, resumed = (make_trainer("pendulum", ahead="on") for _ in range(2))
    for _ in range(2):
        trainer.iterate()
    trainer.begin_anew()
    resumed.load_state_dict(copy.deepcopy(trainer.state_dict()))
    rollout = resumed.next_rollout()
    distribution, _ = trainer.agent.decide(
        trainer.agent.generate(rollout.context_RTC[0]), rollout.obs_STEO[0], rollout.state_STEH[0]
    )
    torch.testing.assert_close(distribution.log_prob(rollout.action_STE[0]), rollout.log_prob_STE[0])
    for one in (trainer, resumed):
        one.close()


def test_where_an_episode_cannot_go_on_all_begin_anew_since_the_sums_are_of_a_rollout_before(make_trainer):
    trainer, resumed = (make_trainer("pendulum", ahead="on") for _ in range(2))
    trainer.iterate()
    state, load = copy.deepcopy(trainer.state_dict()), resumed.env.load_state_dict

    def some_anew(stored):
        obs_NO, anew_N = load(stored)
        return obs_NO, anew_N | (torch.arange(len(anew_N)) == 1)

    resumed.env.load_state_dict = some_anew
    resumed.load_state_dict(state)
    assert not any(x.any() for x in (resumed.discounted_TE, resumed.episode_return_TE, resumed.episode_length_TE))
    assert not resumed.env.moment.elapsed_TE.any()
    assert resumed.state_dict()["ranks"][0]["ahead"] is None
    resumed.iterate()
    for one in (trainer, resumed):
        one.close()


def test_auto_is_for_what_is_simulated_outside_the_interpreter():
    cart = registry.get("cartpole")
    hopper, lander = registry.get("hopper"), registry.get("lunar_lander")
    config = Config(family="any")
    assert not collects_ahead(config, cart)
    assert not collects_ahead(config, lander)
    assert collects_ahead(config, hopper)
    assert collects_ahead(config, replace(lander, vectorization="async"))
    assert collects_ahead(replace(config, ahead="on"), cart)
    assert not collects_ahead(replace(config, ahead="off"), hopper)
    with pytest.raises(InputError, match="ahead='maybe': must be auto, on or off"):
        replace(config, ahead="maybe")


def test_processes_hand_observations_over_in_shared_memory():
    family = replace(registry.get("lunar_lander"), vectorization="async")
    env = family.vector(family.variants("train", 1), 2)
    assert env.env.shared_memory
    env.close()


def test_a_greedy_actor_is_not_concerned(make_trainer):
    """Held-out play acts with the agent as it is, not with the copy that collects."""
    trainer = make_trainer(ahead="on")
    trainer.iterate()
    actor = AgentActor(trainer.agent, trainer.family)
    assert actor.agent is trainer.agent
    assert trainer.actor.agent is not trainer.agent
    trainer.close()


def test_it_learns(ticks):
    """The target of each variant is reached as without it."""
    settings = {"variants": 16, "copies": 8, "rollout": 16, "steps": 80_000, "hidden": (16,), "gamma": 0.5}
    family, found = replace(ticks, solved=None), {}
    for choice in ("on", "off"):
        trainer = Trainer(family, Config(family="ticks", device="cpu", ahead=choice, **settings))
        for _ in range(trainer.config.iterations):
            trainer.iterate()
        trainer.close()
        table_TP = torch.as_tensor(family.variants("interpolation", 32), dtype=torch.float32)
        weights_TD = trainer.agent.generate(family.encode(table_TP))
        distribution, _ = trainer.agent.decide(weights_TD, torch.zeros(32, 1, 1), torch.zeros(32, 1, 0))
        found[choice] = (distribution.mode[:, 0, 0] - table_TP[:, 0]).abs().mean().item()
    assert found["on"] < 0.25
    assert found["off"] < 0.25


def test_a_run_says_whether_it_collects_ahead(tmp_path, capsys):
    """In its first line."""
    hyperrl.train("cartpole", run=tmp_path / "run", ahead="on", steps=256, variants=2, copies=2, encoder=False)
    assert "collecting ahead" in capsys.readouterr().err
