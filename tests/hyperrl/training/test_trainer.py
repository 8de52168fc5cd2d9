"""The meta-loop: each of its steps against a naive second way to the same numbers."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from hyperrl.agents import ARMS
from hyperrl.api import train
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.play.rollout import Rollout
from hyperrl.storage.agent import build_agent
from hyperrl.storage.device import pick_device
from hyperrl.training.trainer import Trainer, cautious

ON_THE_DEVICE = [name for name in registry.families() if not getattr(registry.get(name), "simulated", True)]
"""Families whose physics is tensors all the way."""
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here")


def pairs(families):
    """Three arms on all of these families, the other arms on two of them."""
    return [
        (family, arm)
        for family in families
        for arm in ARMS
        if arm in ("hyper", "concat", "blind") or family in ("cartpole", "pendulum")
    ]


def parameters(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.agent.parameters()])


def spied_steps(trainer):
    """The parameters at every step of the optimiser, and the learning rates."""
    seen = SimpleNamespace(parameters=[parameters(trainer)], rates=[])
    step = trainer.optimiser.step

    def spy(gradient, norm, learning_rate, active):
        seen.rates.append(float(learning_rate))
        step(gradient, norm, learning_rate, active)
        seen.parameters.append(parameters(trainer))

    trainer.optimiser.step = spy
    return seen


# observation normalisation


def test_the_normaliser_holds_the_statistics_of_all_rollouts(make_trainer):
    trainer, rollouts = make_trainer("pendulum"), []
    collect = trainer.collect
    trainer.collect = lambda: rollouts.append(Rollout(*(x.clone() for x in collect()))) or rollouts[-1]
    for _ in range(3):
        trainer.iterate()
    obs = torch.cat([rollout.obs_STEO for rollout in rollouts]).flatten(0, -2).numpy()
    np.testing.assert_allclose(trainer.agent.normaliser.mean, obs.mean(0), atol=1e-5)
    np.testing.assert_allclose(trainer.agent.normaliser.var, obs.var(0), rtol=1e-4)
    assert trainer.agent.normaliser.count == len(obs)
    discounted = []
    for rollout in rollouts:
        running, values = np.zeros((4, 2)), []
        for reward, done in zip(rollout.reward_STE.numpy(), rollout.done_STE.numpy(), strict=True):
            running = trainer.config.gamma * running + reward
            values.append(running)
            running = running * ~done
        discounted.append(np.var(values))
        break  # later rollouts go on where the first one ended
    assert trainer.agent.normaliser.return_var > 1.0  # no longer its start
    fresh = make_trainer("pendulum")
    fresh.iterate()
    np.testing.assert_allclose(fresh.agent.normaliser.return_var, discounted[0], rtol=1e-4)


@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_the_normaliser_folds_into_the_first_layer(make_trainer, shaken, family):
    trainer = make_trainer(family)
    agent = shaken(trainer.agent)
    obs_TNO = torch.randn(4, 20, trainer.family.observation_space.shape[0])
    with torch.no_grad():
        weights_TD = agent.generate(trainer.context())
        distribution, _, _ = agent(weights_TD, obs_TNO, agent.begin(4, 20))
    expected = distribution.logits.softmax(-1) if family == "cartpole" else distribution.mean
    mean, sigma = agent.normaliser.mean, (agent.normaliser.var + 1e-8).sqrt()
    policy = agent.policy.split(weights_TD[:, : agent.policy.head.out_features].detach())
    for t in range(4):
        weight, bias = policy[0][t], policy[1][t]
        layers = [weight / sigma, bias - weight @ (mean / sigma), *(layer[t] for layer in policy[2:6])]
        x = obs_TNO[t]
        for i in (0, 2, 4):
            x = x @ layers[i].T + layers[i + 1]
            x = x.tanh() if i < 4 else x
        output = x.softmax(-1) if family == "cartpole" else x
        torch.testing.assert_close(output, expected[t], atol=1e-5, rtol=1e-5)


# variants


def test_variants_are_resampled_in_turn(make_trainer):
    trainer = make_trainer(variants=8, lifetime=3 * 16 / 500)  # 3 iterations
    family, seen = trainer.family, [trainer.env.variants_TP.clone()]
    everything = [seen[0].numpy()]
    for iteration in range(7):
        trainer.iteration = iteration
        running = (trainer.discounted_TE, trainer.episode_return_TE, trainer.episode_length_TE)
        for tensor in running:
            tensor.fill_(5.0)
        trainer.env.moment.elapsed_TE.fill_(9)
        trainer.env.moment.state_TEX.fill_(1.0)
        trainer.resample(trainer.iteration)
        now = trainer.env.variants_TP.clone()
        changed_T = (now != seen[-1]).any(1)
        expected_T = torch.arange(8) % 3 == iteration % 3 if iteration else torch.zeros(8, dtype=torch.bool)
        torch.testing.assert_close(changed_T, expected_T)
        assert (now[changed_T] != seen[-1][changed_T]).all()
        for tensor in (*running, trainer.env.moment.elapsed_TE):
            assert (tensor[changed_T] == 0).all()
            assert (tensor[~changed_T] != 0).all()
        obs_TEO = trainer.obs.view(8, 2, -1)
        if iteration:
            assert (obs_TEO[changed_T].abs() <= 0.05).all()
            assert (obs_TEO[~changed_T] == 1).all()
        everything.append(now[changed_T].numpy())
        seen.append(now)
    table_TP = np.concatenate(everything).astype(np.float64)
    assert len(np.unique(table_TP, axis=0)) == len(table_TP) == 8 + 2 * 8
    assert family.in_training_ranges(table_TP).all()
    assert not family.is_held_out(table_TP).any()


@pytest.mark.parametrize("seed", range(4))
def test_no_variant_of_a_split_is_ever_trained_on(make_trainer, seed):
    trainer = make_trainer(variants=8, seed=seed)
    splits_NP = np.concatenate([trainer.family.variants(split, 64) for split in trainer.family.splits])
    draws_NP = np.concatenate([trainer.sampler.draw(8, iteration) for iteration in range(40)])
    assert not np.isin(draws_NP, splits_NP).any()


def test_every_iteration_but_the_first_resamples_before_it_plays(make_trainer):
    trainer = make_trainer(lifetime=16 / 500)
    played = []
    collect = trainer.collect
    trainer.collect = lambda: played.append(trainer.env.variants_TP.clone()) or collect()
    start = trainer.env.variants_TP.clone()
    for _ in range(3):
        trainer.iterate()
    assert torch.equal(played[0], start)
    assert (played[1] != played[0]).all()
    assert (played[2] != played[1]).all()


def test_the_context_is_that_of_the_variants_now(make_trainer):
    trainer = make_trainer(lifetime=16 / 500)
    before = trainer.context()
    trainer.iteration = 1
    trainer.resample(trainer.iteration)
    assert (trainer.context() != before).all()
    rows = trainer.family.untable(trainer.env.variants_TP.numpy().astype(np.float64))
    expected = [
        [(row[p.name] - sum(p.train) / 2) / ((p.train[1] - p.train[0]) / 2) for p in trainer.family.parameters]
        for row in rows
    ]
    centred = [0, 1, 2, 5, 6]  # masspole's range spans a decade: its logarithm and reciprocal come after it
    np.testing.assert_allclose(trainer.context()[:, centred], expected, atol=1e-5)


def test_seeds(make_trainer):
    one, same, other = make_trainer(seed=1), make_trainer(seed=1), make_trainer(seed=2)
    assert str(one.iterate()) == str(same.iterate())
    assert torch.equal(parameters(one), parameters(same))
    other.iterate()
    assert not torch.equal(one.env.variants_TP, other.env.variants_TP)
    assert not torch.equal(parameters(one), parameters(other))


# advantages


@pytest.mark.parametrize("agent", ARMS)
@pytest.mark.parametrize(("family", "limit"), [("cartpole", 12), ("pendulum", 7)])
def test_estimate_equals_a_loop_over_copies(make_trainer, shaken, family, limit, agent):
    trainer = make_trainer(family, limit, agent=agent, seed=1, rollout=40, gamma=0.97, gae_lambda=0.9)
    shaken(trainer.agent, 0.3, seed=3)
    trainer.collect()  # so that the rollout under test begins amid episodes
    rollout = trainer.collect()
    batch, statistics = trainer.estimate(rollout)
    truncated_STE = rollout.done_STE & ~rollout.terminated_STE
    assert truncated_STE.sum() > 5
    assert rollout.terminated_STE.any() == (family == "cartpole")

    gamma, gae_lambda, (S, T, E) = 0.97, 0.9, rollout.reward_STE.shape
    weights_TD = trainer.agent.generate(trainer.context())
    advantages, residuals, returns, squares = [], [], [], []
    for t in range(T):
        advantage_SE, return_SE, value_SE = np.zeros((S, E)), np.zeros((S, E)), np.zeros((S, E))
        for e in range(E):
            with torch.no_grad():
                value, next_value = (
                    trainer.agent(weights_TD[t : t + 1], obs_STEO[None, :, t, e], state_STEH[None, :, t, e])[1]
                    for obs_STEO, state_STEH in (
                        (rollout.obs_STEO, rollout.state_STEH),
                        (rollout.next_obs_STEO, rollout.next_state_STEH),
                    )
                )
            next_value, value, reward, terminated, done = (
                x.double().numpy()
                for x in (
                    next_value[0],
                    value[0],
                    *(x[:, t, e] for x in (rollout.reward_STE, rollout.terminated_STE, rollout.done_STE)),
                )
            )
            value_SE[:, e] = value
            for s in range(S):
                factor = 1.0
                for k in range(s, S):  # equation 16: the sum of (gamma lambda)^l delta_{s + l}
                    bootstrap = 0.0 if terminated[k] else next_value[k]
                    advantage_SE[s, e] += factor * (reward[k] + gamma * bootstrap - value[k])
                    factor *= gamma * gae_lambda
                    # and the discounted rewards of the rollout, the last of them with what comes after
                    last = done[k] or k == S - 1
                    return_SE[s, e] += gamma ** (k - s) * (reward[k] + (gamma * bootstrap if last else 0.0))
                    if done[k]:
                        break
        scale = math.sqrt(return_SE.var(ddof=1) + float(trainer.agent.normaliser.return_var))
        squares.append(advantage_SE.var(ddof=1))
        order = {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(batch.return_TN[t].view(S, E), return_SE, **order)
        np.testing.assert_allclose(batch.return_scale_T1[t, 0], scale, rtol=1e-4)
        torch.testing.assert_close(batch.obs_TNO[t].view(S, E, -1), rollout.obs_STEO[:, t])
        torch.testing.assert_close(batch.action_TN[t].view(S, E, -1), rollout.action_STE[:, t].reshape(S, E, -1))
        torch.testing.assert_close(batch.log_prob_TN[t].view(S, E), rollout.log_prob_STE[:, t])
        advantages.append(advantage_SE)
        residuals.append(return_SE - value_SE)
        returns.append(return_SE)
    for t in range(T):  # in units of the variant's own deviation and half of the family's
        normal = (advantages[t] - advantages[t].mean()) / math.sqrt(squares[t] + np.mean(squares) / 4)
        np.testing.assert_allclose(batch.advantage_TN[t].view(S, E), normal, **order)
    explained = 1 - np.var(residuals) / np.var(returns)
    assert float(statistics["train/explained_variance"]) == pytest.approx(explained, abs=1e-3)


def test_the_value_of_a_cut_episode_counts_and_that_of_an_end_does_not(make_trainer):
    """By hand: one variant, one copy, value 2 everywhere, reward 1, gamma 0.5, lambda 0."""
    for terminates, expected in ((True, 1.0 - 2.0), (False, 1.0 + 0.5 * 2.0 - 2.0)):
        trainer = make_trainer("cartpole", variants=1, copies=1, rollout=4, gamma=0.5, gae_lambda=0.0, minibatches=1)
        rollout = trainer.collect()
        ends = torch.zeros(4, 1, 1, dtype=torch.bool)
        ends[1] = True
        rollout = rollout._replace(
            terminated_STE=ends if terminates else torch.zeros_like(ends),
            done_STE=ends,
        )
        with torch.no_grad():
            for layer in trainer.agent.value.parameters():
                layer.zero_()
            trainer.agent.value.head.bias[-1] = 2.0 / float(trainer.agent.normaliser.value_scale)
        batch, _ = trainer.estimate(rollout)
        # advantages of lambda 0 are 0 but for the step that ends; the batch holds them normalised
        advantage_N = torch.tensor([0.0, expected, 0.0, 0.0])
        normal_N = (advantage_N - advantage_N.mean()) / (1.25 * advantage_N.var() + 1e-16).sqrt()
        torch.testing.assert_close(batch.advantage_TN[0], normal_N)
        # returns have lambda 1
        torch.testing.assert_close(batch.return_TN[0, 1] - 2.0, torch.tensor(expected))
        torch.testing.assert_close(batch.return_TN[0, 0], torch.tensor(1 + 0.5 * (expected + 2.0)))


@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_episode_statistics_equal_a_naive_count(make_trainer, family):
    trainer = make_trainer(family, limit=13, rollout=20)
    returns_TE, lengths_TE = np.zeros((4, 2)), np.zeros((4, 2))
    for _ in range(3):
        rollout = trainer.collect()
        _, statistics = trainer.count_episodes(rollout, rollout.reward_STE)
        ended = []
        for s in range(20):
            for t in range(4):
                for e in range(2):
                    returns_TE[t, e] += float(rollout.reward_STE[s, t, e])
                    lengths_TE[t, e] += 1
                    if rollout.done_STE[s, t, e]:
                        ended.append((returns_TE[t, e], lengths_TE[t, e]))
                        returns_TE[t, e] = lengths_TE[t, e] = 0
        mean_return, mean_length = np.mean(ended, axis=0)
        assert float(statistics["rollout/ep_rew_mean"]) == pytest.approx(mean_return, rel=1e-5)
        assert float(statistics["rollout/ep_len_mean"]) == pytest.approx(mean_length, rel=1e-5)


# updates


def test_the_first_update_begins_at_the_policy_that_played(make_trainer):
    for family in ("cartpole", "pendulum"):
        trainer = make_trainer(family, epochs=1, minibatches=1)
        for _ in range(3):
            metrics = trainer.iterate()
            assert metrics["train/approx_kl"] == pytest.approx(0, abs=1e-5)
            assert metrics["train/clip_fraction"] == 0


def test_minibatches_hold_every_sample_once_an_epoch(make_trainer):
    trainer = make_trainer(epochs=3, minibatches=4)
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    batch = batch._replace(return_TN=torch.arange(4.0 * 32).view(4, 32))  # numbers each sample
    epochs = []
    for _ in range(3):
        minibatches = [minibatch for minibatch, _ in trainer.minibatches(batch, rollout.context_RTC)]
        assert [minibatch.obs_TNO.shape[1] for minibatch in minibatches] == [8] * 4
        epochs.append(torch.cat([minibatch.return_TN for minibatch in minibatches], 1))
        torch.testing.assert_close(epochs[-1].sort(1).values, batch.return_TN, rtol=0, atol=0)
        for minibatch in minibatches:  # every field of a sample stays with it
            of_sample_TN = (minibatch.return_TN % 32).long()
            torch.testing.assert_close(minibatch.log_prob_TN, batch.log_prob_TN.gather(1, of_sample_TN))
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize(("target_kl", "all_count"), [(1e-5, False), (1e6, True)])
def test_target_kl_voids_the_rest_of_the_update(make_trainer, target_kl, all_count):
    trainer = make_trainer(target_kl=target_kl, learning_rate=1e-2)
    for _ in range(2):
        seen = spied_steps(trainer)
        metrics = trainer.iterate()
        moved = [not torch.equal(a, b) for a, b in zip(seen.parameters, seen.parameters[1:], strict=False)]
        count = sum(moved)
        assert len(moved) == 16
        assert moved == [True] * count + [False] * (16 - count)
        assert metrics["train/active"] == pytest.approx(count / 16)
        assert count == 16 if all_count else 1 <= count < 8


class ClaimedDivergences:
    """PPO's objective, whose divergences are made up."""

    def __init__(self, objective, divergences):
        self.objective, self.divergences = objective, iter(divergences)

    def terms(self, *arguments):
        return self.objective.terms(*arguments)._replace(approx_kl_T=torch.tensor([next(self.divergences)]))


def test_an_update_voided_once_stays_void(make_trainer):
    trainer = make_trainer(target_kl=0.0075)
    divergences = [0.0, 0.03, 0.031, *[0.0] * 13]  # the bound is 4 times the target
    trainer.objective = ClaimedDivergences(trainer.objective, divergences)
    seen = spied_steps(trainer)
    metrics = trainer.iterate()
    moved = [not torch.equal(a, b) for a, b in pairwise(seen.parameters)]
    assert moved == [True, True] + [False] * 14
    assert metrics["train/active"] == pytest.approx(2 / 16)


def test_the_learning_rate_falls_to_nothing(make_trainer):
    trainer = make_trainer(learning_rate=4e-3, target_kl=1e6)
    rates, moves, seen = [], [], spied_steps(trainer)
    while trainer.iteration < trainer.config.iterations:
        before = parameters(trainer)
        rates.append(trainer.iterate()["train/learning_rate"])
        assert seen.rates[-1] == pytest.approx(rates[-1])
        moves.append(float((parameters(trainer) - before).norm()))
    assert rates == pytest.approx([4e-3 * (1 - i / 6) for i in range(6)])
    assert moves[-1] < moves[0] / 2


@pytest.mark.parametrize(
    ("caution", "kl", "after"),
    [(1.0, 0.016, 1 / 1.5), (0.3, 0.016, 0.2), (0.3, 0.014, 0.3), (0.3, 0.008, 0.3), (0.3, 0.006, 0.45), (0.9, 0.0, 1)],
)
def test_the_learning_rate_gives_way_to_the_divergence(caution, kl, after):
    found = cautious(torch.tensor(caution), torch.tensor(kl), target_kl=0.01)
    assert float(found) == pytest.approx(after)


def test_an_update_that_goes_too_far_slows_the_next(make_trainer):
    trainer = make_trainer(target_kl=1e-5, learning_rate=1e-2)
    rates = [trainer.iterate()["train/learning_rate"] for _ in range(3)]
    assert rates == pytest.approx([1e-2, 1e-2 / 1.5 * 5 / 6, 1e-2 / 1.5**2 * 4 / 6])


@pytest.mark.parametrize("limit", [1e-3, 1e6])
def test_gradients_are_clipped(make_trainer, limit):
    trainer = make_trainer(max_grad_norm=limit, target_kl=1e6, epochs=1, minibatches=1)
    norm = trainer.iterate()["train/grad_norm"]
    assert norm > 1e-2
    first = torch.cat([moment.flatten() for moment in trainer.optimiser.first])
    assert float(first.norm()) == pytest.approx((1 - 0.9) * min(norm, limit), rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "coefficient", "tag", "sign"),
    [
        ("weight_norm_coef", 10.0, "train/weight_norm", -1),
        ("diversity_coef", 10.0, "train/weight_diversity", 1),
        ("entropy_coef", 10.0, "train/entropy_loss", -1),
    ],
)
def test_regularisers_pull_the_right_way(make_trainer, setting, coefficient, tag, sign):
    settings = {"learning_rate": 5e-3, "target_kl": 1e6, "steps": 128 * 20, "agent": "hyper"}
    without, with_it = (
        [trainer.iterate()[tag] for trainer in [make_trainer(**settings, **{setting: value})] for _ in range(6)]
        for value in (0.0, coefficient)
    )
    assert sign * (with_it[-1] - without[-1]) > 0
    if setting != "entropy_coef":  # an untrained policy's entropy has nowhere to rise
        assert sign * (with_it[-1] - with_it[0]) > 0


def test_regularisers_are_what_their_names_say(make_trainer, shaken):
    trainer = make_trainer(epochs=1, minibatches=1)
    trainer.normalise = lambda *_: None  # which scales weights after the statistics were taken
    shaken(trainer.agent)
    metrics = trainer.iterate()
    weights_TD = trainer.agent.generate(trainer.context()).detach().numpy().astype(np.float64)
    assert metrics["train/weight_norm"] == pytest.approx((weights_TD**2).sum(1).mean(), rel=1e-4)
    assert metrics["train/weight_diversity"] == pytest.approx(weights_TD.var(0).sum(), rel=1e-4)


def test_the_loss_is_the_sum_of_its_weighted_terms(make_trainer, shaken):
    coefficients = {"value_coef": 0.3, "entropy_coef": 0.2, "weight_norm_coef": 0.1, "diversity_coef": 0.05}
    # the statistics are those after the update, which this learning rate leaves where they were
    trainer = make_trainer(**coefficients, learning_rate=1e-12)
    shaken(trainer.agent)
    terms = trainer.iterate()
    expected = (
        terms["train/policy_gradient_loss"]
        + 0.3 * terms["train/value_loss"]
        + 0.2 * terms["train/entropy_loss"]
        + 0.1 * terms["train/weight_norm"]
        - 0.05 * terms["train/weight_diversity"]
    )
    assert terms["train/loss"] == pytest.approx(expected, rel=1e-4)


def test_gradients_reach_the_generator(make_trainer):
    trainer = make_trainer(target_kl=1e6)
    before = [parameter.detach().clone() for parameter in trainer.agent.parameters()]
    trainer.iterate()
    for old, new in zip(before, trainer.agent.parameters(), strict=True):
        assert not torch.equal(old, new)
    without_value = make_trainer(target_kl=1e6, value_coef=0.0)
    without_value.normalise = lambda *_: None  # which scales the value networks
    before = [parameter.detach().clone() for parameter in without_value.agent.value.parameters()]
    without_value.iterate()
    assert all(torch.equal(*pair) for pair in zip(before, without_value.agent.value.parameters(), strict=True))


@pytest.mark.parametrize(("family", "agent"), pairs(registry.families()))
def test_every_arm_trains_on_every_family(make_trainer, family, agent):
    trainer = make_trainer(family, agent=agent, lifetime=1)
    for _ in range(3):
        metrics = trainer.iterate()
        assert all(math.isfinite(metrics[tag]) for tag in metrics if not tag.startswith("rollout/ep_"))
    assert parameters(trainer).isfinite().all()
    assert trainer.steps == 3 * 4 * 2 * 16


# the host is left alone


class HostReads(TorchDispatchMode):
    """Counts reads of a tensor's value, those within autograd and the optimiser among them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func) or "is_nonzero" in str(func):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class HostCalls(TorchFunctionMode):
    """Counts calls that copy a tensor to the host."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in (
            "item",
            "tolist",
            "numpy",
            "cpu",
            "__bool__",
            "__float__",
            "__int__",
            "__array__",
            "__index__",
        ):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("family", "agent"), pairs(ON_THE_DEVICE))
def test_nothing_is_read_on_the_host_while_collecting_and_updating(make_trainer, family, agent):
    trainer = make_trainer(family, agent=agent)
    trainer.iterate()
    with HostReads() as reads, HostCalls() as calls:
        rollout = trainer.collect()
        batch, _ = trainer.estimate(rollout)
        trainer.update(batch, rollout.context_RTC)
    assert reads.seen == []
    assert calls.seen == []


def test_the_two_watches_notice():
    x = torch.ones(1)
    with HostReads() as reads, HostCalls() as calls:
        x.item()
        assert bool(x)
        x.tolist()
    assert len(reads.seen) >= 2
    assert {"item", "__bool__", "tolist"} <= set(calls.seen)


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("agent", ARMS)
@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_no_synchronisation_on_cuda(make_trainer, family, agent):
    trainer = make_trainer(family, agent=agent, device="cuda")
    trainer.iterate()
    try:
        torch.cuda.set_sync_debug_mode("error")
        rollout = trainer.collect()
        batch, _ = trainer.estimate(rollout)
        trainer.update(batch, rollout.context_RTC)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize("agent", ARMS)
@pytest.mark.parametrize("family", ["cartpole", "pendulum"])
def test_a_short_training_on_cuda(tiny, tmp_path, family, agent):
    run = train(family, agent=agent, run=tmp_path / "run", quiet=True, **tiny | {"device": "cuda"})
    assert math.isfinite(run.best["score"])
    assert run.evaluate(episodes=1).returns_TE.shape == (64, 1)
    assert run.encoder.prior_MZ.device.type == "cpu"
    resumed = train(family, agent=agent, run=tmp_path / "run", resume=True, quiet=True)
    assert resumed.steps == run.steps


# settings


@pytest.mark.parametrize(
    ("setting", "value", "bound"),
    [
        *((name, 0, r"1 or more, at most \d+") for name in ("steps", "variants", "copies", "rollout")),
        *((name, 0, r"1 or more, at most \d+") for name in ("epochs", "minibatches", "evaluations")),
        *((name, value, r"within \[0, 1\]") for name in ("gamma", "gae_lambda") for value in (-0.1, 1.1, math.nan)),
        ("lifetime", 0.0, "above 0 and at most 1000000"),
        *(
            (name, 0.0, r"finite, above 0 and at most 1e\+06")
            for name in ("learning_rate", "clip", "target_kl", "max_grad_norm")
        ),
        *(
            (name, -1.0, r"finite, 0 or more and at most 1e\+06")
            for name in ("value_coef", "entropy_coef", "weight_norm_coef")
        ),
        *((name, math.inf, "finite, .*") for name in ("learning_rate", "clip", "value_coef", "log_std")),
        ("diversity_coef", -1.0, r"finite, 0 or more and at most 1e\+06"),
        ("seed", -1, r"within \[0, 2\*\*32\)"),
        ("seed", 2**32, r"within \[0, 2\*\*32\)"),
        ("hidden", (), r"one or more widths of 1 or more, at most \d+ each and \d+ of them"),
        ("hidden", (64, 0), r"one or more widths of 1 or more, at most \d+ each and \d+ of them"),
        ("generator_hidden", (0,), r"one or more widths of 1 or more, at most \d+ each and \d+ of them"),
        ("minibatches", 8 * 64 + 1, "a divisor of copies x rollout = 256, for even minibatches"),
    ],
)
def test_settings_out_of_range(setting, value, bound):
    with pytest.raises(InputError, match=rf"^{setting}=.*: must be {bound}; choose another value$"):
        Config(family="cartpole", **{setting: value})


def test_unknown_settings_arms_activations_and_devices():
    config = Config(family="cartpole")
    with pytest.raises(InputError, match=r"^learning_rat: unknown setting; choose from .*learning_rate"):
        config.updated({"learning_rat": 1.0})
    family = registry.get("cartpole")
    with pytest.raises(InputError, match=r"^agent 'hyped': unknown; choose from hyper, concat, blind"):
        build_agent(family, config.updated({"agent": "hyped"}), torch.device("cpu"))
    with pytest.raises(InputError, match=r"^activation='gelu': unknown; choose from tanh"):
        build_agent(family, config.updated({"activation": "gelu"}), torch.device("cpu"))
    with pytest.raises(InputError, match=r"^device 'tpu': unknown; choose from auto, cpu, cuda"):
        pick_device("tpu")
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_lists_of_widths_are_as_good_as_tuples():
    assert Config(family="cartpole", hidden=[8, 8]) == Config(family="cartpole", hidden=(8, 8))


@pytest.mark.parametrize(("steps", "iterations"), [(1, 1), (128, 1), (129, 2), (1280, 10), (1281, 11)])
def test_steps_are_rounded_up_to_whole_iterations(steps, iterations):
    config = Config(family="cartpole", variants=4, copies=2, rollout=16, steps=steps)
    assert (config.iteration_steps, config.iterations) == (128, iterations)


def test_the_settings_reach_the_networks(make_trainer):
    trainer = make_trainer("pendulum", hidden=(8,), generator_hidden=(5, 6), activation="relu", log_std=-1.25)
    agent = trainer.agent
    assert [tuple(shape) for shape in agent.policy.shapes] == [(8, 3), (8,), (1, 8), (1,), (1,)]
    assert [layer.out_features for layer in agent.policy.trunk if hasattr(layer, "out_features")] == [5, 6]
    weights_TD = agent.generate(trainer.context())
    distribution, _, _ = agent(weights_TD, torch.zeros(4, 1, 3), agent.begin(4, 1))
    torch.testing.assert_close(distribution.stddev, torch.full((4, 1, 1), math.exp(-1.25)))


def test_a_trainer_leaves_the_global_random_state_alone(tiny):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trainer = Trainer(registry.get("pendulum"), Config(family="pendulum", **tiny))
    trainer.iterate()
    torch.testing.assert_close(torch.rand(3), expected)
