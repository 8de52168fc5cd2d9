"""The seams of training: a sampler, a reward and an objective of the test's own, and runs that stay apart."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from hyperrl.agents import ARMS
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.objective import Batch, Terms
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.storage import checkpoint
from hyperrl.training.sampler import UniformSampler
from hyperrl.training.trainer import Trainer

TINY = {"variants": 4, "copies": 2, "rollout": 16, "steps": 4 * 2 * 16 * 6, "evaluations": 2, "device": "cpu"}


def trainer_of(family="cartpole", sampler=None, reward=None, objective=None, **settings):
    known = registry.get(family)
    seams = {"sampler": sampler, "objective": objective} | ({"reward": reward} if reward else {})
    return Trainer(known, Config(family=family, **{**TINY, **settings}), **seams)


def parameters(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.agent.parameters()])


# the sampler


class Hardest:
    """Draws the variant that had the largest score, shaken a little, and remembers how often it was asked."""

    def __init__(self, family):
        self.family, self.hardest_P, self.draws, self.asked, self.told = family, None, 0, [], []

    def draw(self, n, iteration):
        self.asked.append((n, iteration))
        self.draws += 1
        centre_P = self.family.table([{}])[0] if self.hardest_P is None else self.hardest_P.numpy()
        return centre_P * np.random.default_rng(self.draws).uniform(0.95, 1.05, (n, len(centre_P)))

    def tell(self, variants_TP, scores_T):
        self.told.append((variants_TP.clone(), scores_T.clone()))
        self.hardest_P = variants_TP[scores_T.argmax()].clone()

    def state_dict(self):
        return {"hardest_P": self.hardest_P, "draws": self.draws}

    def load_state_dict(self, state):
        self.hardest_P, self.draws = state["hardest_P"], state["draws"]


FAMILY = registry.get("cartpole")
EVERY_OTHER = {"lifetime": 2 * 16 / FAMILY.max_episode_steps}


def test_a_sampler_is_asked_for_variants_and_told_their_scores():
    sampler = Hardest(FAMILY)
    trainer = trainer_of(sampler=sampler, **EVERY_OTHER)
    assert sampler.asked == [(4, 0)]
    estimate, expected, before_TP = trainer.estimate, [], trainer.env.variants_TP.clone()

    def watched(rollout):
        context_TC, agent = trainer.context(), trainer.agent
        value_STE, next_value_STE = (
            torch.stack([agent(agent.generate(context_TC), obs_TEO, agent.begin(4, 2))[1] for obs_TEO in obs_STEO])
            for obs_STEO in (rollout.obs_STEO, rollout.next_obs_STEO)
        )
        ends, decays = (rollout.terminated_STE, rollout.done_STE), (trainer.config.gamma, trainer.config.gae_lambda)
        advantage_STE = gae(rollout.reward_STE, value_STE, next_value_STE, *ends, *decays)
        expected.append((trainer.env.variants_TP.clone(), advantage_STE.abs().mean((0, 2))))
        return estimate(rollout)

    trainer.estimate = watched
    for iteration in range(4):
        trainer.iterate()
        now_TP = trainer.env.variants_TP.clone()
        replaced_T = torch.arange(4) % 2 == iteration % 2 if iteration else torch.zeros(4, dtype=torch.bool)
        assert torch.equal((now_TP != before_TP).any(1), replaced_T)
        if iteration:  # what comes in was drawn about the hardest of the last iteration
            hardest_P = sampler.told[iteration - 1][0][sampler.told[iteration - 1][1].argmax()]
            ratio = now_TP[replaced_T] / hardest_P
            assert ((ratio > 0.949) & (ratio < 1.051)).all()
        before_TP = now_TP
    assert sampler.asked == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert len(sampler.told) == len(expected) == 4
    for (variants_TP, scores_T), (expected_TP, expected_T) in zip(sampler.told, expected, strict=True):
        assert variants_TP.shape == (4, 5)
        assert scores_T.shape == (4,)
        assert torch.equal(variants_TP, expected_TP)
        torch.testing.assert_close(scores_T, expected_T.detach())


def test_what_a_sampler_knows_is_in_the_checkpoint(tmp_path):
    straight = trainer_of(sampler=Hardest(FAMILY), **EVERY_OTHER)
    for _ in range(2):
        straight.iterate()
    checkpoint.save(tmp_path / "checkpoint.pt", straight.state_dict())
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert state["sampler"]["draws"] == 2
    resumed = trainer_of(sampler=Hardest(FAMILY), **EVERY_OTHER)
    resumed.load_state_dict(state)
    for _ in range(3):
        assert str(resumed.iterate()) == str(straight.iterate())
    assert torch.equal(resumed.env.variants_TP, straight.env.variants_TP)
    assert torch.equal(parameters(resumed), parameters(straight))
    forgetful = trainer_of(sampler=Hardest(FAMILY), **EVERY_OTHER)
    forgetful.load_state_dict({**state, "sampler": {"hardest_P": None, "draws": 0}})
    for _ in range(3):
        forgetful.iterate()
    assert not torch.equal(forgetful.env.variants_TP, straight.env.variants_TP)


def test_by_default_variants_are_those_of_the_uniform_sampler():
    """Which depends on the seed and the iteration alone: asked again or in another order, it answers the same."""
    sampler = UniformSampler(FAMILY, seed=3)
    drawn = [sampler.draw(4, iteration) for iteration in range(5)]
    again = [UniformSampler(FAMILY, seed=3).draw(4, iteration) for iteration in reversed(range(5))][::-1]
    np.testing.assert_array_equal(drawn, again)
    assert sampler.state_dict() == {}
    trainer = trainer_of(seed=3, **EVERY_OTHER)
    torch.testing.assert_close(trainer.env.variants_TP, torch.as_tensor(drawn[0]).to(trainer.env.variants_TP))
    assert FAMILY.in_training_ranges(np.concatenate(drawn)).all()
    table_NP = np.concatenate([UniformSampler(FAMILY, seed=0).draw(2000, 0)])
    for i, parameter in enumerate(FAMILY.parameters):
        low, high = parameter.train
        assert low <= table_NP[:, i].min() < low + 0.01 * (high - low)
        assert high >= table_NP[:, i].max() > high - 0.01 * (high - low)


# the reward


@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_a_reward_is_learned_from_and_not_counted_as_the_tasks_return(family):
    """Doubled rewards give doubled advantages where values are 0, and the same episodes."""
    settings = {"gamma": 0.9, "gae_lambda": 0.8, "lifetime": 1000.0}
    plain, doubled = trainer_of(family, **settings), trainer_of(family, reward=lambda r: r.reward_STE * 2, **settings)
    batches = []
    for trainer in (plain, doubled):
        with torch.no_grad():
            for parameter in trainer.agent.value.parameters():
                parameter.zero_()
        estimate = trainer.estimate

        def watched(rollout, estimate=estimate):
            batch, statistics = estimate(rollout)
            batches.append((rollout.reward_STE.clone(), batch))
            return batch, statistics

        trainer.estimate = watched
    one, two = plain.iterate(), doubled.iterate()
    (reward_STE, batch), (reward_2_STE, batch_2) = batches
    torch.testing.assert_close(reward_2_STE, 2 * reward_STE)
    torch.testing.assert_close(batch_2.return_TN, 2 * batch.return_TN)
    assert torch.equal(batch_2.obs_TNO, batch.obs_TNO)
    torch.testing.assert_close(batch_2.advantage_TN, batch.advantage_TN, rtol=1e-4, atol=1e-5)  # in its own deviations
    assert str(one["rollout/ep_rew_mean"]) == str(two["rollout/ep_rew_mean"])
    assert str(one["rollout/ep_len_mean"]) == str(two["rollout/ep_len_mean"])
    # what value networks have for a unit is the deviation of what is learned from
    found, doubled_var = plain.agent.normaliser.return_var, doubled.agent.normaliser.return_var
    torch.testing.assert_close(doubled_var, 4 * found)
    torch.testing.assert_close(doubled.discounted_TE, 2 * plain.discounted_TE)
    torch.testing.assert_close(doubled.episode_return_TE, plain.episode_return_TE)


def test_a_reward_sees_the_whole_rollout():
    """Paid for the action alone, torques near half the range, the pendulum's agent comes to choose them."""

    def near_a_half(rollout):
        return -(rollout.action_STE.squeeze(3) - 0.5).square()

    settings = {"steps": 4 * 2 * 16 * 40, "gamma": 0.0, "log_std": -1.0, "target_kl": 0.05}
    trainer, means = trainer_of("pendulum", reward=near_a_half, **settings), []
    collect = trainer.collect

    def watched():
        means.append(float(collect().action_STE.mean()))
        return trainer.rollout

    trainer.collect = watched
    for _ in range(40):
        trainer.iterate()
    assert abs(means[0]) < 0.1
    assert np.mean(means[-3:]) == pytest.approx(0.5, abs=0.1)


# the objective


class ValuesAlone:
    """Squares of value errors; nothing of the policy."""

    def __init__(self):
        self.calls = []

    def terms(self, distribution, value_TN, batch, weights_TD):
        self.calls.append((value_TN.shape, batch.obs_TNO.shape, weights_TD.shape, weights_TD.requires_grad))
        loss = ((value_TN - batch.return_TN) / batch.return_scale_T1).square().mean()
        return Terms(loss, torch.zeros(len(value_TN)), {"value_error": loss})


def test_an_objective_of_values_alone_leaves_the_policy_alone():
    objective = ValuesAlone()
    trainer = trainer_of(objective=objective)
    before, value = (
        [p.detach().clone() for p in net.parameters()] for net in (trainer.agent.policy, trainer.agent.value)
    )
    first, *_, last = [trainer.iterate() for _ in range(6)]
    assert all(map(torch.equal, before, trainer.agent.policy.parameters()))
    assert not any(map(torch.equal, value, trainer.agent.value.parameters()))
    assert last["train/value_error"] == pytest.approx(last["train/loss"], rel=1e-6)
    assert last["train/value_error"] < first["train/value_error"]
    assert (first["train/approx_kl"], first["train/active"]) == (0, 1)
    assert "train/policy_gradient_loss" not in first
    assert len(objective.calls) == 6 * 4 * 4
    samples = 16 * 2 // 4
    size = trainer.agent.generate(trainer.context()).shape[1]
    assert set(objective.calls) == {((4, samples), (4, samples, 4), (4, size), True)}


def test_weights_that_an_objective_asks_about_are_those_generated():
    """A loss on the weights alone moves all of the generators, and nothing else is needed of the samples."""

    class Small:
        def terms(self, distribution, value_TN, batch, weights_TD):
            return Terms(weights_TD.square().sum(1).mean(), torch.zeros(len(weights_TD)), {})

    trainer = trainer_of(objective=Small(), agent="hyper", steps=4 * 2 * 16 * 20)
    trainer.normalise = lambda *_: None  # which scales the value networks
    norms = [trainer.iterate()["train/weight_norm"] for _ in range(10)]
    assert norms == sorted(norms, reverse=True)


# runs that stay apart


class Loss(nn.Module):
    """From contexts and samples to an objective's loss, as the trainer comes to it."""

    def __init__(self, agent, objective):
        super().__init__()
        self.agent, self.objective = agent, objective

    def forward(self, context_TC, batch):
        weights_TD = self.agent.generate(context_TC)
        distribution, value_TN, _ = self.agent(weights_TD, batch.obs_TNO, batch.state_TNH)
        return self.objective.terms(distribution, value_TN, batch, weights_TD).loss


@pytest.mark.parametrize("agent", ARMS)
@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_losses_and_gradient_norms_of_runs_side_by_side_are_those_of_each_alone(shaken, family, agent):
    """Two runs that have begun, stacked: under vmap each has its own loss and its own clipped gradient."""
    coefficients = {"entropy_coef": 0.01, "weight_norm_coef": 1e-3, "diversity_coef": 1e-3}
    trainers = [trainer_of(family, agent=agent, seed=seed, **coefficients) for seed in (0, 1)]
    losses, contexts, batches = [], [], []
    for seed, trainer in enumerate(trainers):
        trainer.iterate()
        rollout = trainer.collect()
        batch, _ = trainer.estimate(rollout)
        shaken(trainer.agent, seed=seed)  # away from the policy that played
        losses.append(Loss(trainer.agent, trainer.objective))
        contexts.append(rollout.context_TC.clone())
        batches.append(Batch(*(samples.clone() for samples in batch)))
    stateless = copy.deepcopy(losses[0]).to("meta")
    stacked, buffers = stack_module_state(losses)

    def loss_of(parameters, buffers, context_TC, batch):
        return functional_call(stateless, (parameters, buffers), (context_TC, batch))

    def norm(gradients):
        return torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()

    def side_by_side(parameters, buffers, context_TC, batch):
        gradients, loss = grad_and_value(loss_of)(parameters, buffers, context_TC, batch)
        return loss, norm(gradients), gradients

    batch_R = Batch(*(torch.stack(samples) for samples in zip(*batches, strict=True)))
    loss_R, norm_R, gradients_R = vmap(side_by_side)(stacked, buffers, torch.stack(contexts), batch_R)
    for r, loss in enumerate(losses):
        loss.zero_grad()
        alone = loss(contexts[r], batches[r])
        alone.backward()
        torch.testing.assert_close(loss_R[r], alone.detach(), rtol=1e-5, atol=1e-6)
        total = nn.utils.clip_grad_norm_(loss.parameters(), 1e9)
        torch.testing.assert_close(norm_R[r], total, rtol=1e-5, atol=1e-6)
        for name, parameter in loss.named_parameters():
            torch.testing.assert_close(gradients_R[name][r], parameter.grad, rtol=1e-4, atol=1e-5)
    assert abs(norm_R[0].item() - norm_R[1].item()) > 1e-3
