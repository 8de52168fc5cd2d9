"""Updates: what is void is void, drifting families get the minibatches asked for, values keep their unit."""

from dataclasses import replace

import pytest
import torch

from hyperrl.agents import ARMS
from hyperrl.envs import InputError, Walk


def moments(trainer):
    """Adam's state of every parameter, in one tensor."""
    adam = trainer.optimiser
    return torch.cat([moment.flatten() for moment in (*adam.first, *adam.second, adam.steps)])


def test_a_void_update_takes_in_no_gradient(make_trainer):
    trainer = make_trainer(target_kl=1e-5, learning_rate=1e-2)
    seen, step = [], trainer.optimiser.step

    def spy(gradient, norm, learning_rate, active):
        before = moments(trainer)
        step(gradient, norm, learning_rate, active)
        seen.append((not active, torch.equal(before, moments(trainer))))

    trainer.optimiser.step = spy
    metrics = trainer.iterate()
    void = [unchanged for was_void, unchanged in seen if was_void]
    assert len(void) > 8
    assert all(void)
    assert metrics["train/active"] == pytest.approx(1 - len(void) / len(seen))
    assert float(trainer.optimiser.steps) == len(seen) - len(void)


@pytest.mark.parametrize("minibatches", [1, 2, 4, 16])
def test_a_drifting_family_gets_the_minibatches_that_were_asked_for(make_trainer, ticks, minibatches):
    family = replace(ticks, drift={"target": Walk(0.05)})
    trainer = make_trainer(family, variants=3, copies=2, rollout=16, minibatches=minibatches, epochs=2)
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    parts = list(trainer.minibatches(batch, rollout.context_RTC))
    assert len(parts) == minibatches
    for minibatch, context_TC in parts:
        assert minibatch.obs_TNO.shape[:2] == (16 // minibatches * 3, 2)
        assert len(context_TC) == len(minibatch.obs_TNO) == len(minibatch.return_scale_T1)
    contexts = torch.cat([context_TC for _, context_TC in parts])
    rows = torch.cat([minibatch.log_prob_TN for minibatch, _ in parts])
    order, expected = contexts[:, 0].argsort(), rollout.context_TC[:, 0].argsort()
    torch.testing.assert_close(contexts[order], rollout.context_TC[expected])
    torch.testing.assert_close(rows[order], batch.log_prob_TN[expected])
    # each row's samples are those that were played under its context
    with torch.no_grad():
        for minibatch, context_TC in parts:
            weights_TD = trainer.agent.generate(context_TC)
            distribution, _, _ = trainer.agent(weights_TD, minibatch.obs_TNO, minibatch.state_TNH)
            torch.testing.assert_close(distribution.log_prob(minibatch.action_TN), minibatch.log_prob_TN)
    seen = []
    step = trainer.optimiser.step
    trainer.optimiser.step = lambda *given: seen.append(step(*given))
    trainer.update(batch, rollout.context_RTC)
    assert len(seen) == 2 * minibatches


def test_minibatches_that_do_not_fit_a_drifting_family_are_refused(make_trainer, ticks):
    family = replace(ticks, drift={"target": Walk(0.05)})
    with pytest.raises(InputError, match=r"minibatches=32: must be a divisor of rollout = 16, .*'ticks' drift"):
        make_trainer(family, copies=2, rollout=16, minibatches=32)


@pytest.mark.parametrize("agent", ARMS)
def test_values_stay_what_they_were_when_the_scale_of_returns_changes(make_trainer, shaken, agent):
    trainer = make_trainer("pendulum", agent=agent)
    shaken(trainer.agent)
    obs_TNO = torch.randn(4, 5, 3)

    def values():
        weights_TD = trainer.agent.generate(trainer.context())
        return trainer.agent(weights_TD, obs_TNO, trainer.agent.begin(4, 5))[1].detach()

    before, scale = values(), float(trainer.agent.normaliser.value_scale)
    mean = trainer.agent.normaliser.mean.clone(), trainer.agent.normaliser.var.clone()
    trainer.normalise(torch.randn(16, 4, 2, 3), 100 * torch.randn(16, 4, 2))
    trainer.agent.normaliser.mean.copy_(mean[0])
    trainer.agent.normaliser.var.copy_(mean[1])
    assert float(trainer.agent.normaliser.value_scale) > 2 * scale
    torch.testing.assert_close(values(), before, rtol=1e-4, atol=1e-4)
