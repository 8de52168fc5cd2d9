"""Learning on variants themselves, on a family whose returns, lengths and values are known by hand."""

import numpy as np
import pytest
import torch

from hyperrl.adaptation import learning
from hyperrl.adaptation.inference import Belief, build_encoder
from hyperrl.adaptation.learning import Descent, Evolution, Practice, Trial
from hyperrl.config import Config
from hyperrl.storage.agent import build_agent

SETTINGS = {"hidden": (16,), "gamma": 0.9, "gae_lambda": 1.0, "log_std": -1.0}


@pytest.fixture
def make_practice(ticks):
    """An agent that learned nothing, and practice on the variants that are given."""

    def make(*variants, seed=0, belief=None):
        config = Config(family=ticks.name, **SETTINGS)
        agent = build_agent(ticks, config, torch.device("cpu")).requires_grad_(False)
        return agent, Practice(agent, ticks, ticks.table(variants), config, seed, belief)

    return make


def whole(agent, practice):
    """Weights (T, W) that the agent writes for the variants."""
    variants = torch.as_tensor(practice.variants_TP, dtype=torch.float32)
    return agent.whole(agent.generate(practice.family.encode(variants)))


def writer(agent):
    """Contexts -> whole weights, as the agent writes them."""
    return lambda context: agent.whole(agent.generate(context))


def constant(practice, action_N):
    """Weights (N, W) of policies whose most probable action is always the same."""
    target = practice.target
    zeros = torch.zeros(len(action_N), target.policy_size + sum(shape.numel() for shape in target._value))
    policy, value = target.split(zeros)
    policy[-2:] = action_N.unsqueeze(1), torch.full((len(action_N), 1), -1.0)
    return target.join(policy, value)


def returned(action, variant):
    """Return of an episode in which every action is the same, by hand."""
    action = np.clip(action, -1, 1)
    return variant["ends"] * (variant["pay"] - variant["cost"] * (action - variant["target"]) ** 2)


A = {"target": 0.8, "ends": 2.0, "pay": 0.5, "cost": 1.0}
B = {"target": -0.4, "ends": 5.0, "pay": 0.0, "cost": 2.0}
C = {"target": 0.1, "ends": 8.0, "pay": -1.0, "cost": 0.5}


# playing


def test_returns_and_steps_are_those_of_whole_episodes(make_practice):
    _, practice = make_practice(A, B, C)
    played = practice.play(constant(practice, torch.tensor([0.3, 0.3, 2.0])), 3, trial=7)
    expected = [[returned(action, variant)] * 3 for action, variant in ((0.3, A), (0.3, B), (2.0, C))]
    np.testing.assert_allclose(played.returns_TE, expected, rtol=1e-5)
    assert played.steps_T.tolist() == practice.steps_T.tolist() == [3 * 2, 3 * 5, 3 * 8]
    practice.play(constant(practice, torch.zeros(3)), 2)
    assert practice.steps_T.tolist() == [5 * 2, 5 * 5, 5 * 8]


def test_every_episode_may_have_networks_of_its_own(make_practice):
    _, practice = make_practice(A, B)
    action_TE = torch.tensor([[0.0, 0.8, -1.0], [0.5, -0.4, 0.0]])
    weights_TEW = constant(practice, action_TE.flatten()).unflatten(0, (2, 3))
    played = practice.play(weights_TEW, 3, trial=7)
    expected = [[returned(float(a), variant) for a in row] for row, variant in zip(action_TE, (A, B), strict=True)]
    np.testing.assert_allclose(played.returns_TE, expected, atol=1e-5)


def test_a_belief_is_told_of_every_transition_and_of_no_other(make_practice, ticks):
    belief = Belief(build_encoder(ticks).requires_grad_(False), ticks, 2)
    told = []
    belief.take = lambda *transitions: told.append(transitions)
    _, practice = make_practice(A, B, belief=belief)
    practice.play(constant(practice, torch.tensor([0.25, 0.5])), 3, trial=7)
    ((obs, action, reward, after, seen),) = told
    assert seen.sum(1).tolist() == [3 * 2, 3 * 5]
    for row, (variant, own) in enumerate(((A, 0.25), (B, 0.5))):
        alive = seen[row].bool()
        assert (after[row][alive] - obs[row][alive] == 1).all()
        assert obs[row][alive].max() == variant["ends"] - 1
        assert (action[row][alive] == own).all()
        torch.testing.assert_close(reward[row][alive].sum(), torch.tensor(3 * returned(own, variant)).float())


def test_a_belief_that_takes_transitions_in_parts_believes_the_same(make_practice, ticks, monkeypatch):
    believed = []
    for size in (500, 5):  # of 3 episodes in 8 steps
        monkeypatch.setattr(learning, "READ_AT_ONCE", size)
        belief, parts = Belief(build_encoder(ticks).requires_grad_(False), ticks, 2), []
        take = belief.take
        belief.take = lambda *told, take=take, parts=parts: (parts.append(told[4].shape[1]), take(*told))
        _, practice = make_practice(A, B, belief=belief)
        practice.play(constant(practice, torch.tensor([0.25, 0.5])), 3)
        belief.update()
        believed.append((parts, belief.mean_BP, belief.std_BP))
    (whole, *at_once), (parts, *in_parts) = believed
    assert (whole, parts) == ([24], [5, 5, 5, 5, 4])
    torch.testing.assert_close(at_once, in_parts, atol=1e-4, rtol=1e-4)


def test_taking_transitions_at_once_is_seeing_them_one_by_one(ticks):
    encoder, generator = build_encoder(ticks).requires_grad_(False), torch.Generator().manual_seed(0)
    one_by_one, at_once = Belief(encoder, ticks, 2), Belief(encoder, ticks, 2)
    columns = [torch.randn((2, 21, *rest), generator=generator) for rest in ((1,), (1,), (), (1,))]
    seen = torch.rand((2, 21), generator=generator) < 0.7
    for step in range(21):
        one_by_one.see(*(column[:, step] for column in columns), seen[:, step])
    at_once.take(*columns, seen)
    for belief in (one_by_one, at_once):
        belief.update()
    torch.testing.assert_close(one_by_one.mean_BP, at_once.mean_BP, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one_by_one.std_BP, at_once.std_BP, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(at_once.mean_BP, Belief(encoder, ticks, 2).mean_BP, atol=1e-3)


# descent


def test_the_value_network_is_fitted_to_the_returns_known_by_hand(make_practice, monkeypatch):
    """Where nothing costs, the value after i steps of n is pay (1 + gamma + ... + gamma^(n - i - 1))."""
    monkeypatch.setattr(learning, "VALUE_UPDATES", 600)
    monkeypatch.setattr(learning, "UPDATES", 1)
    variants = [{**A, "cost": 0.0, "pay": 1.0}, {**B, "cost": 0.0, "pay": -0.5}]
    agent, practice = make_practice(*variants)
    descent = Descent.on_weights(practice, whole(agent, practice))
    descent.learn(2)
    for t, variant in enumerate(variants):
        left = variant["ends"] - np.arange(variant["ends"])
        obs_TNO = torch.arange(variant["ends"]).view(1, -1, 1).expand(2, -1, -1)
        _, value_TN, _ = practice.target(descent.weights(), obs_TNO, practice.target.begin(*obs_TNO.shape[:2]))
        expected = variant["pay"] * (1 - 0.9**left) / (1 - 0.9)
        np.testing.assert_allclose(value_TN[t], expected, atol=0.1)


def deviations(practice, weights_TW):
    """Of the actions, as logarithms (T,)."""
    return practice.target.split(weights_TW)[0][-1][:, 0]


def test_actions_are_drawn_twice_as_widely_as_by_the_policy_that_is_handed_out(make_practice, monkeypatch):
    monkeypatch.setattr(learning, "WEIGHTS_RATE", 1e-2)
    agent, practice = make_practice(A, B)
    start = whole(agent, practice)
    descent = Descent.on_weights(practice, start)
    torch.testing.assert_close(descent.weights(), start)
    generated, doubled = deviations(practice, start), np.log(2)
    played = []
    for _ in range(3):
        before = descent.weights()
        descent.learn(2)
        played.append(descent.recent[-1].rollout)
        wide = deviations(practice, before) + doubled
        obs_TNO, state_TNH = by_variant(played[-1].obs_STEO), by_variant(played[-1].state_STEH)
        mean = practice.target(before, obs_TNO, state_TNH)[0].mean
        z = (by_variant(played[-1].action_STE) - mean).squeeze(2).numpy() / np.exp(wide[:, None].numpy())
        expected = -0.5 * z**2 - wide[:, None].numpy() - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(by_variant(played[-1].log_prob_STE), expected, atol=1e-4)
    learned = descent.rows_TX[:, -1] - doubled
    torch.testing.assert_close(deviations(practice, descent.weights()), learned)
    assert ((learned - generated).abs() > 1e-3).all()  # something was learned,
    assert ((learned - generated).abs() < doubled / 2).all()  # and not the doubling


def by_variant(x_STE):
    """(S, T, E, ...) -> (T, S * E, ...)."""
    return x_STE.transpose(0, 1).flatten(1, 2)


def test_the_context_is_learned_on_with_the_deviations_that_it_writes(make_practice):
    agent, practice = make_practice(A, B)
    context_TC = practice.family.encode(torch.as_tensor(practice.variants_TP, dtype=torch.float32))
    descent = Descent.on_context(practice, context_TC, writer(agent))
    torch.testing.assert_close(descent.weights(), whole(agent, practice))
    torch.testing.assert_close(descent._weights_now(), descent.weights())


def test_a_batch_worked_out_in_numpy(make_practice):
    """Two rounds of earlier policies: returns by hand, normalised over whole episodes, weighted up to twice."""
    _, practice = make_practice(A, B, seed=1)
    practice.target.normaliser.return_var.fill_(0.3)
    scale = practice.target.normaliser.value_scale.item()
    means, last = (0.1, 0.4), 0.7
    plays = [practice.play(constant(practice, torch.full((2,), mean)), 2 + i) for i, mean in enumerate(means)]
    policy, value = practice.target.split(constant(practice, torch.full((2,), last)))
    value[-1] = torch.tensor([[2.0], [-1.0]])  # everywhere
    now = practice.target.join(policy, value)
    descent = Descent(practice, now, now[:, : practice.target.policy_size], lambda rows: rows, 0.0)
    descent.recent = plays
    batch, alive_TN = descent._samples()
    assert alive_TN.sum(1).tolist() == [5 * 2, 5 * 5]
    assert batch.action_TN.shape == (2, 5 * 8, 1)

    def log_prob(action, mean):
        return -0.5 * ((action - mean) / np.exp(-1)) ** 2 + 1 - 0.5 * np.log(2 * np.pi)

    for t, variant in enumerate((A, B)):
        steps, rows = int(variant["ends"]), []
        for played, mean in zip(plays, means, strict=True):
            actions_SE = played.rollout.action_STE[:steps, t, :, 0].double().numpy()
            missed = np.clip(actions_SE, -1, 1) - variant["target"]
            rewards_SE = variant["pay"] - variant["cost"] * missed**2
            returns_SE = np.stack([0.9 ** np.arange(steps - i) @ rewards_SE[i:] for i in range(steps)])
            rows += [np.stack([actions_SE, returns_SE, np.full_like(actions_SE, mean)]).reshape(3, -1)]
        action, returned_N, then = np.concatenate(rows, axis=1)
        advantage = returned_N - scale * value[-1][t].item()
        ratio = np.exp(log_prob(action, last) - log_prob(action, then))
        assert ratio.min() < 1 < 2 < ratio.max()
        expected = (advantage - advantage.mean()) / np.sqrt(advantage.var() + 1e-8) * np.minimum(ratio, 2)
        alive = alive_TN[t].bool()
        np.testing.assert_allclose(batch.action_TN[t][alive, 0], action, atol=1e-6)
        np.testing.assert_allclose(batch.log_prob_TN[t][alive], log_prob(action, last), atol=1e-4)
        np.testing.assert_allclose(batch.return_TN[t][alive], returned_N, atol=1e-4)
        np.testing.assert_allclose(batch.advantage_TN[t][alive], expected, atol=1e-3)
        np.testing.assert_allclose(batch.return_scale_T1[t].item(), np.sqrt(returned_N.var() + 0.3), rtol=1e-4)


@pytest.mark.parametrize("kind", ["weights", "context"])
def test_what_a_variant_learns_does_not_depend_on_its_neighbours(make_practice, kind):
    found = []
    for neighbour in (B, C):
        agent, practice = make_practice(A, neighbour, seed=3)
        if kind == "weights":
            descent = Descent.on_weights(practice, whole(agent, practice))
        else:
            context_TC = practice.family.encode(torch.as_tensor(practice.variants_TP, dtype=torch.float32))
            descent = Descent.on_context(practice, context_TC, writer(agent))
        begun = descent.weights()
        for _ in range(2):
            descent.learn(2)
        found.append((begun, descent.weights()))
    (_, (one, other)), (begun, (again, third)) = found
    torch.testing.assert_close(one, again, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(one, begun[0], atol=1e-5)
    assert not torch.allclose(other, third, atol=1e-3)


@pytest.mark.parametrize("kind", ["weights", "context"])
def test_descent_finds_the_best_action_of_each_variant(make_practice, monkeypatch, kind):
    monkeypatch.setattr(learning, "WEIGHTS_RATE", 5e-3)
    monkeypatch.setattr(learning, "EXPLORATION", 1.0)
    _, practice = make_practice({**A, "ends": 8.0}, {**B, "ends": 8.0})
    start = constant(practice, torch.zeros(2))
    if kind == "weights":
        descent = Descent.on_weights(practice, start)
    else:
        descent = Descent.on_context(practice, torch.zeros(2, 1), lambda rows: constant_through(practice, rows))
    best = np.array([8 * 0.5, 0.0])
    before = practice.play(start, 1, trial=0).returns_TE[:, 0].numpy()
    for _ in range(10):
        descent.learn(8)
    after = practice.play(descent.weights(), 1, trial=0).returns_TE[:, 0].numpy()
    assert (best - after < 0.3 * (best - before)).all()


def constant_through(practice, rows_TC):
    """The same as ``constant``, and gradients reach the action."""
    weights = constant(practice, torch.zeros(len(rows_TC)))
    policy, value = practice.target.split(weights)
    return practice.target.join([*policy[:-2], rows_TC, policy[-1]], value)


# contexts


def test_a_trial_keeps_the_better_context_of_each_variant(make_practice):
    _, practice = make_practice(A, B)
    candidates = [torch.tensor([[0.7], [0.0]]), torch.tensor([[-0.7], [-0.3]]), torch.tensor([[0.6], [-0.9]])]
    trial = Trial(practice, candidates, lambda context: constant(practice, context[:, 0]))
    kept = []
    for _ in range(3):
        trial.learn(1)
        kept.append(trial.context_TC[:, 0].tolist())
    np.testing.assert_allclose(kept, [[0.7, 0.0], [0.7, -0.3], [0.7, -0.3]], atol=1e-6)
    torch.testing.assert_close(trial.weights(), constant(practice, torch.tensor([0.7, -0.3])))
    assert practice.steps_T.tolist() == [3 * 2, 3 * 5]


@pytest.mark.parametrize(("episodes", "weights"), [(6, [3.5, 3.5 / 2, 3.5 / 3]), (5, [3, 3 / 2]), (2, [1.5]), (1, [2])])
def test_a_generation_worked_out_in_numpy(make_practice, episodes, weights):
    """Mirrored pairs, their returns by hand, and the weights of CMA-ES's tutorial, equation 49: log((E + 1) / 2i)."""
    _, practice = make_practice(A, B)
    middle_TC = torch.tensor([[0.2], [0.3]])
    evolution = Evolution(practice, middle_TC, lambda context: constant(practice, context[:, 0]))
    same = torch.Generator()
    same.set_state(practice.generator.get_state())
    half = learning.SPREAD * torch.randn((2, episodes // 2, 1), generator=same).numpy()
    evolution.learn(episodes)
    weights = np.log(weights)
    for t, variant in enumerate((A, B)):
        mutants = middle_TC[t].item() + np.concatenate([half[t, :, 0], -half[t, :, 0], [0] * (episodes % 2)])
        ranked = mutants[np.argsort([-returned(mutant, variant) for mutant in mutants])]
        expected = (weights / weights.sum() * ranked[: len(weights)]).sum()
        np.testing.assert_allclose(evolution.context_TC[t].item(), expected, atol=1e-6)
    assert practice.steps_T.tolist() == [episodes * 2, episodes * 5]


def test_evolution_comes_near_the_best_action(make_practice):
    _, practice = make_practice(A, B)
    evolution = Evolution(practice, torch.zeros(2, 1), lambda context: constant(practice, context[:, 0]))
    for _ in range(15):
        evolution.learn(10)
    np.testing.assert_allclose(evolution.context_TC[:, 0], [0.8, -0.4], atol=0.1)
