"""Training an arm that has a state: minibatches of sequences, and a task that only a memory solves."""

import pytest
import torch
from gymnasium.spaces import Box

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import InputError, Parameter, PhysicsFamily
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play
from hyperrl.training.trainer import Trainer


def step(state, action, p):
    """Pays sign (action + 1/2): the last reward tells the sign, and nothing else does."""
    return state, p["sign"] * (action[..., 0].clamp(-1, 1) + 0.5), torch.zeros_like(state[..., 0], dtype=torch.bool)


HIDDEN_SIGN = PhysicsFamily(
    name="hidden_sign",
    parameters=(Parameter("sign", "1", 1.0, (-1, 1), (-1, 1)),),
    observation_space=Box(-1, 1, shape=(1,)),
    action_space=Box(-1, 1, shape=(1,)),
    max_episode_steps=8,
    draws=1,
    start=lambda draws, p: 0 * draws,
    step=step,
)


@pytest.mark.parametrize(("agent", "low", "high"), [("recurrent", 1.5, 4.0), ("blind", -1.0, 1.0)])
def test_a_task_that_only_a_memory_solves(agent, low, high):
    """Sign uniform in [-1, 1]: 7 steps of mean |sign| = 1/2 are 3.5; without a memory, 0."""
    settings = {"variants": 32, "copies": 8, "rollout": 16, "hidden": (16, 16), "gamma": 0.9, "steps": 150_000}
    config = Config(family="hidden_sign", agent=agent, device="cpu", learning_rate=3e-3, **settings)
    trainer = Trainer(HIDDEN_SIGN, config)
    for _ in range(config.iterations):
        trainer.iterate()
    table_TP = HIDDEN_SIGN.variants("interpolation", 64)
    played = play(HIDDEN_SIGN, table_TP, AgentActor(trainer.agent, HIDDEN_SIGN), 1)
    assert low < played.returns_TE.mean() < high


@pytest.mark.parametrize(
    ("copies", "length", "minibatches", "steps"), [(2, 16, 8, 4), (3, 16, 4, 4), (1, 16, 16, 1), (4, 18, 6, 6)]
)
def test_where_copies_are_too_few_a_minibatch_is_a_part_of_the_steps(make_trainer, copies, length, minibatches, steps):
    """There are as many as asked for, each of one run of steps, and an epoch has every sample once."""
    trainer = make_trainer(agent="recurrent", copies=copies, rollout=length, minibatches=minibatches)
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    numbered_N = torch.arange(length * copies).expand_as(batch.log_prob_TN).float()
    epoch = list(trainer.minibatches(batch._replace(log_prob_TN=numbered_N), rollout.context_RTC))
    assert len(epoch) == minibatches
    seen = []
    for minibatch, _ in epoch:
        numbers_SN = minibatch.log_prob_TN[0].unflatten(0, (steps, -1))
        when_SN, who_SN = numbers_SN // copies, numbers_SN % copies
        assert (when_SN.diff(dim=0) == 1).all()
        assert (who_SN == who_SN[0]).all()
        assert len(set(when_SN[0].tolist())) == 1
        seen += numbers_SN.flatten().tolist()
    assert sorted(seen) == list(range(length * copies))


def test_parts_of_the_steps_begin_in_the_states_that_were_stored(make_trainer):
    """So that the first minibatch has no divergence, wherever it begins."""
    trainer = make_trainer(agent="recurrent", copies=2, rollout=32, epochs=1, minibatches=8)
    for _ in range(3):
        trainer.iterate()
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    for minibatch, context_TC in trainer.minibatches(batch, rollout.context_RTC):
        terms = trainer.terms(trainer.agent, trainer.objective, minibatch, context_TC)
        assert terms.approx_kl_T.abs().max() < 1e-6


def test_a_minibatch_is_all_steps_of_some_copies(make_trainer):
    trainer = make_trainer(agent="recurrent", copies=4, rollout=16, minibatches=2)
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    epoch = list(trainer.minibatches(batch, rollout.context_RTC))
    assert len(epoch) == 2
    seen = []
    for minibatch, context_TC in epoch:
        assert torch.equal(context_TC, rollout.context_RTC[0])
        obs_TSNO = minibatch.obs_TNO.unflatten(1, (16, 2))
        for n in range(2):
            same = [e for e in range(4) if torch.equal(obs_TSNO[:, :, n], rollout.obs_STEO[:, :, e].transpose(0, 1))]
            assert len(same) == 1
            seen += same
    assert sorted(seen) == [0, 1, 2, 3]


def test_at_first_the_ratios_of_sequences_are_one(make_trainer):
    """What is computed anew is what was played, so that the first minibatch has no divergence."""
    trainer = make_trainer(agent="recurrent", copies=4, rollout=32, epochs=1, minibatches=1)
    for _ in range(3):
        assert trainer.iterate()["train/approx_kl"] == pytest.approx(0, abs=1e-6)


def test_parameters_that_drift_are_refused(make_trainer):
    with pytest.raises(InputError, match="agent 'recurrent': has a state, and the parameters of family"):
        make_trainer("cartpole_drift", agent="recurrent")


def test_a_run_is_evaluated_played_and_says_what_it_cannot(cli, tmp_path, tiny):
    folder = tmp_path / "run"
    run = hyperrl.train("cartpole", "recurrent", run=folder, quiet=True, encoder=False, **tiny)
    policy = run.policy(length=0.7)
    obs, state = torch.zeros(4).numpy(), None
    action, state = policy.predict(obs, state, deterministic=True)
    assert state.shape == (1, run.agent.state_size)
    assert action in (0, 1)
    for words, status in (
        (["evaluate", folder, "--variants", "2", "--episodes", "1"], 0),
        (["compare", folder, "--variants", "2", "--episodes", "1"], 0),
        (["play", folder, "--gif", tmp_path / "a.gif"], 0),
        (["export", folder, "--format", "onnx", "--out", tmp_path / "a.onnx"], 2),
    ):
        found, _, err = cli(*words)
        assert found == status, err
    assert len(err.splitlines()) == 1
    assert "no ordinary networks" in err
