"""Weights follow parameters that drift: in collecting, in updating and in judging."""

import numpy as np
import pytest
import torch

import hyperrl
from hyperrl.envs import InputError, registry
from hyperrl.envs.drift import walking
from hyperrl.episodes import episode_returns
from hyperrl.evaluate import evaluate
from hyperrl.rollout import Greedy
from hyperrl.run import Run

CARTPOLE = registry.get("cartpole")
CPU = torch.device("cpu")


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
    for step in range(len(seen)):
        weights_TD = drifting.agent.generate(rollout.context_RTC[step])
        distribution, value_TE = drifting.agent(weights_TD, rollout.obs_STEO[step])
        torch.testing.assert_close(distribution.log_prob(rollout.action_STE[step]), rollout.log_prob_STE[step])
        torch.testing.assert_close(value_TE, rollout.value_STE[step])


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
    distribution, _ = drifting.agent(drifting.agent.generate(rollout.context_TC), batch.obs_TNO)
    torch.testing.assert_close(distribution.log_prob(batch.action_TN), batch.log_prob_TN)
    per_variant = batch.advantage_TN.view(steps, variants, copies).transpose(0, 1).flatten(1)
    torch.testing.assert_close(per_variant.mean(1), torch.zeros(variants), atol=1e-5, rtol=0)
    var = per_variant.var(1)  # x / (x + m / 4) where a variant's own variance is x and their mean m
    own = var / (1 - var)
    torch.testing.assert_close(own.mean(), torch.tensor(4.0), atol=1e-2, rtol=0)


def test_judging_writes_the_weights_anew_as_parameters_change(tiny_run):
    table_TP = CARTPOLE.variants("interpolation", 2)
    family = walking(CARTPOLE, 0.2)
    told = []
    act = Greedy(tiny_run.agent, family, table_TP, CPU)
    episode_returns(family, table_TP, act, 1, told=lambda now: told.append(now.clone()) or act.generate(now))
    obs = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    fresh = Greedy(tiny_run.agent, family, told[-1].numpy(), CPU)
    torch.testing.assert_close(act._weights_TD, fresh._weights_TD)
    assert torch.equal(act(obs), fresh(obs))
    assert not torch.equal(told[0], told[-1])


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
    from hyperrl.play import play_episode

    frames, _, total = play_episode(whole.policy(length=0.4))
    assert len(frames) > 1
    assert total >= 1
