"""Weights follow parameters that drift: in collecting, in updating and in judging."""

import numpy as np
import pytest
import torch

import hyperrl
from hyperrl.api import Run
from hyperrl.envs import InputError, registry
from hyperrl.envs.drift import walking
from hyperrl.evaluation.evaluate import evaluate
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play

CARTPOLE = registry.get("cartpole")


@pytest.fixture
def drifting(make_trainer):
    return make_trainer(family=walking(CARTPOLE, 0.05))


def test_every_step_is_played_under_its_own_context(drifting):
    env, seen = drifting.env, []
    change = env.change
    env.change = lambda variants_TP: seen.append(env.variants_TP.clone()) or change(variants_TP)
    rollout = drifting.collect()
    torch.testing.assert_close(rollout.context_RTC, torch.stack([CARTPOLE.encode(now) for now in seen]))
    assert (rollout.context_RTC[0] != rollout.context_RTC[1]).any()
    agent = drifting.agent
    value_STE = rollout.values(agent, agent.generate(rollout.context_TC), rollout.obs_STEO, rollout.state_STEH)
    for step in range(len(seen)):
        weights_TD = drifting.agent.generate(rollout.context_RTC[step])
        seen_TEO, state_TEH = rollout.obs_STEO[step], rollout.state_STEH[step]
        distribution, value_TE, _ = drifting.agent(weights_TD, seen_TEO, state_TEH)
        torch.testing.assert_close(distribution.log_prob(rollout.action_STE[step]), rollout.log_prob_STE[step])
        torch.testing.assert_close(value_TE, value_STE[step])


def test_a_batch_holds_each_sample_beside_its_own_context(drifting):
    rollout = drifting.collect()
    batch, _ = drifting.estimate(rollout)
    steps, variants, copies = rollout.reward_STE.shape
    assert batch.obs_TNO.shape[:2] == (steps * variants, copies)
    for row in (0, variants + 1, steps * variants - 1):
        step, variant = divmod(row, variants)
        assert torch.equal(batch.obs_TNO[row], rollout.obs_STEO[step, variant])
        assert torch.equal(rollout.context_TC[row], rollout.context_RTC[step, variant])
    # nothing was updated yet, so the policy that is written for each row gives the probabilities that were played
    weights_TD = drifting.agent.generate(rollout.context_TC)
    distribution, _, _ = drifting.agent(weights_TD, batch.obs_TNO, batch.state_TNH)
    torch.testing.assert_close(distribution.log_prob(batch.action_TN), batch.log_prob_TN)
    per_variant = batch.advantage_TN.view(steps, variants, copies).transpose(0, 1).flatten(1)
    torch.testing.assert_close(per_variant.mean(1), torch.zeros(variants), atol=1e-5, rtol=0)
    var = per_variant.var(1)  # x / (x + m / 4) where a variant's own variance is x and their mean m
    own = var / (1 - var)
    torch.testing.assert_close(own.mean(), torch.tensor(4.0), atol=1e-2, rtol=0)


def test_judging_writes_the_weights_anew_as_parameters_change(tiny_run):
    table_TP = CARTPOLE.variants("interpolation", 2)
    family, agent = walking(CARTPOLE, 0.2), tiny_run.agent

    class Watched(AgentActor):
        """Remembers the variants, weights, observations and actions of every step."""

        def begin(self, env):
            super().begin(env)
            self.env, self.seen = env, []

        def act(self, obs_NO):
            action_N = super().act(obs_NO)
            self.seen.append((self.env.variants_TP.clone(), self.weights_TD, obs_NO.clone(), action_N))
            return action_N

    actor = Watched(agent, family)
    play(family, table_TP, actor, 1)
    assert len(actor.seen) > 5
    for variants_TP, weights_TD, obs_NO, action_N in actor.seen:
        fresh_TD = agent.generate(CARTPOLE.encode(variants_TP.float()))
        torch.testing.assert_close(weights_TD, fresh_TD)
        distribution, _, _ = agent(fresh_TD, obs_NO.view(2, 1, 4), agent.begin(2, 1))
        assert torch.equal(action_N, distribution.mode.flatten())
    (first_TP, *_), *_, (last_TP, *_) = actor.seen
    torch.testing.assert_close(first_TP, torch.as_tensor(table_TP, dtype=first_TP.dtype))
    assert not torch.equal(first_TP, last_TP)


def test_a_run_is_judged_under_drift_on_request(tiny_run):
    still, walked, held = (evaluate(tiny_run, episodes=2, variants=4, drift=drift) for drift in (None, 0.3, 0.0))
    np.testing.assert_array_equal(still.returns_TE, held.returns_TE)
    assert not np.array_equal(still.returns_TE, walked.returns_TE)
    assert walked.json()["drift"] == 0.3
    with pytest.raises(InputError, match="drift=-1"):
        evaluate(tiny_run, drift=-1)


def test_a_family_that_drifts_trains_resumes_and_plays(tmp_path, tiny):
    whole = hyperrl.train("cartpole_drift", run=tmp_path / "run", quiet=True, **tiny)
    assert Run(tmp_path / "run").steps == whole.steps
    from hyperrl.play.frames import play_episode

    frames, _, total = play_episode(whole.policy(length=0.4))
    assert len(frames) > 1
    assert total >= 1
