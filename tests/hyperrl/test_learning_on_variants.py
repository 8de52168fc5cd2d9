"""Learning on variants themselves, on a family whose returns, lengths and values are known by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from hyperrl import learning
from hyperrl.config import Config
from hyperrl.inference import Belief, build_encoder
from hyperrl.learning import Descent, Evolution, Plants, Rows, Trial
from hyperrl.trainer import build_agent

SETTINGS = {"hidden": (16,), "gamma": 0.9, "gae_lambda": 1.0, "log_std": -1.0}


@pytest.fixture
def make_plants(ticks):
    """Plants of the variants that are given, and an agent that learned nothing."""

    def make(*variants, seed=0, belief=None):
        config = Config(family=ticks.name, **SETTINGS)
        agent = build_agent(ticks, config, torch.device("cpu")).requires_grad_(False)
        return agent, Plants(agent, ticks, ticks.table(variants), config, seed, belief)

    return make


def whole(agent, plants):
    """Weights (T, W) that the agent writes for the plants."""
    variants = torch.as_tensor(plants.variants_TP, dtype=torch.float32)
    return agent.whole(agent.generate(plants.family.encode(variants)))


def writer(agent):
    """Contexts -> whole weights, as the agent writes them."""
    return lambda context: agent.whole(agent.generate(context))


def constant(plants, action_N):
    """Weights (N, W) of policies whose most probable action is always the same."""
    target = plants.target
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


def test_returns_and_steps_are_those_of_whole_episodes(make_plants):
    _, plants = make_plants(A, B, C)
    played = plants.play(constant(plants, torch.tensor([0.3, 0.3, 2.0])), 3, trial=7)
    expected = [[returned(action, variant)] * 3 for action, variant in ((0.3, A), (0.3, B), (2.0, C))]
    np.testing.assert_allclose(played.returns_TE, expected, rtol=1e-5)
    assert played.steps_T.tolist() == plants.steps_T.tolist() == [3 * 2, 3 * 5, 3 * 8]
    plants.play(constant(plants, torch.zeros(3)), 2)
    assert plants.steps_T.tolist() == [5 * 2, 5 * 5, 5 * 8]


def test_every_episode_may_have_networks_of_its_own(make_plants):
    _, plants = make_plants(A, B)
    action_TE = torch.tensor([[0.0, 0.8, -1.0], [0.5, -0.4, 0.0]])
    weights_TEW = constant(plants, action_TE.flatten()).unflatten(0, (2, 3))
    played = plants.play(weights_TEW, 3, trial=7)
    expected = [[returned(float(a), variant) for a in row] for row, variant in zip(action_TE, (A, B), strict=True)]
    np.testing.assert_allclose(played.returns_TE, expected, atol=1e-5)


def test_a_belief_is_told_of_every_transition_and_of_no_other(make_plants, ticks):
    belief = Belief(build_encoder(ticks).requires_grad_(False), ticks, 2)
    told = []
    belief.take = lambda *transitions: told.append(transitions)
    _, plants = make_plants(A, B, belief=belief)
    plants.play(constant(plants, torch.tensor([0.25, 0.5])), 3, trial=7)
    ((obs, action, reward, after, seen),) = told
    assert seen.sum(1).tolist() == [3 * 2, 3 * 5]
    for row, (variant, own) in enumerate(((A, 0.25), (B, 0.5))):
        alive = seen[row].bool()
        assert (after[row][alive] - obs[row][alive] == 1).all()
        assert obs[row][alive].max() == variant["ends"] - 1
        assert (action[row][alive] == own).all()
        torch.testing.assert_close(reward[row][alive].sum(), torch.tensor(3 * returned(own, variant)).float())


def test_a_belief_that_takes_transitions_in_parts_believes_the_same(make_plants, ticks, monkeypatch):
    believed = []
    for size in (500, 5):  # of 3 episodes in 8 steps
        monkeypatch.setattr(learning, "READ_AT_ONCE", size)
        belief, parts = Belief(build_encoder(ticks).requires_grad_(False), ticks, 2), []
        take = belief.take
        belief.take = lambda *told, take=take, parts=parts: (parts.append(told[4].shape[1]), take(*told))
        _, plants = make_plants(A, B, belief=belief)
        plants.play(constant(plants, torch.tensor([0.25, 0.5])), 3)
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


# rows


def adam_by_hand(row, gradients, rate, norm, paces):
    """Adam (Kingma and Ba, 2015, algorithm 1) of one row, its gradient clipped, its steps scaled."""
    first, second = np.zeros_like(row), np.zeros_like(row)
    for t, (gradient, pace) in enumerate(zip(gradients, paces, strict=True), 1):
        clipped = gradient * min(1, norm / (np.linalg.norm(gradient) + 1e-6))
        first, second = 0.9 * first + 0.1 * clipped, 0.999 * second + 0.001 * clipped**2
        row = row - pace * rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-5)
    return row


def test_each_row_takes_the_step_of_adam_alone():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4)).astype(np.float32)
    gradients_STX = rng.normal(size=(5, 3, 4)) * np.array([0.01, 1.0, 100.0])[:, None]  # only the first is not clipped
    paces_ST = np.array([[1, 1, 1], [0.5, 1, 0], [4, 0.25, 1], [1, 0, 2], [0, 1, 1]], dtype=np.float32)
    rows = Rows(torch.as_tensor(start), 0.05, max_grad_norm=0.5)
    for gradient_TX, pace_T in zip(gradients_STX, paces_ST, strict=True):
        loss = (rows.rows_TX * torch.as_tensor(gradient_TX, dtype=torch.float32)).sum()
        rows.step(loss, torch.as_tensor(pace_T))
    for t in range(3):
        expected = adam_by_hand(start[t], gradients_STX[:, t], 0.05, 0.5, paces_ST[:, t])
        np.testing.assert_allclose(rows.rows_TX[t].detach(), expected, atol=1e-5)


def test_without_a_pace_it_is_torchs_adam():
    start, data = torch.randn(1, 4, generator=torch.Generator().manual_seed(1)), torch.arange(4.0)
    rows, alone = Rows(start, 0.01, max_grad_norm=0.5), start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([alone], 0.01, eps=1e-5)
    for _ in range(4):
        rows.step((rows.rows_TX * data - 1).square().sum())
        optimiser.zero_grad()
        (alone * data - 1).square().sum().backward()
        nn.utils.clip_grad_norm_([alone], 0.5)
        optimiser.step()
    torch.testing.assert_close(rows.rows_TX, alone)


def test_no_gradient_reaches_another_row():
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    rows = Rows(start, 0.01, max_grad_norm=0.5)
    for _ in range(3):
        rows.step(rows.rows_TX[1].square().sum())
    moved = (rows.rows_TX != start).any(1)
    assert moved.tolist() == [False, True, False]


# descent


def test_the_value_network_is_fitted_to_the_returns_known_by_hand(make_plants, monkeypatch):
    """Where nothing costs, the value after i steps of n is pay (1 + gamma + ... + gamma^(n - i - 1))."""
    monkeypatch.setattr(learning, "VALUE_UPDATES", 600)
    monkeypatch.setattr(learning, "UPDATES", 1)
    variants = [{**A, "cost": 0.0, "pay": 1.0}, {**B, "cost": 0.0, "pay": -0.5}]
    agent, plants = make_plants(*variants)
    descent = Descent.on_weights(plants, whole(agent, plants))
    descent.learn(2)
    for t, variant in enumerate(variants):
        left = variant["ends"] - np.arange(variant["ends"])
        obs_TNO = torch.arange(variant["ends"]).view(1, -1, 1).expand(2, -1, -1)
        _, value_TN = plants.target(descent.weights(), obs_TNO)
        expected = variant["pay"] * (1 - 0.9**left) / (1 - 0.9)
        np.testing.assert_allclose(value_TN[t], expected, atol=0.1)


def deviations(plants, weights_TW):
    """Of the actions, as logarithms (T,)."""
    return plants.target.split(weights_TW)[0][-1][:, 0]


def test_actions_are_drawn_twice_as_widely_as_by_the_policy_that_is_handed_out(make_plants, monkeypatch):
    monkeypatch.setattr(learning, "WEIGHTS_RATE", 1e-2)
    agent, plants = make_plants(A, B)
    start = whole(agent, plants)
    descent = Descent.on_weights(plants, start)
    torch.testing.assert_close(descent.weights(), start)
    generated, doubled = deviations(plants, start), np.log(2)
    played = []
    for _ in range(3):
        before = descent.weights()
        descent.learn(2)
        played.append(descent.recent[-1].rollout)
        wide = deviations(plants, before) + doubled
        mean = plants.target(before, by_variant(played[-1].obs_STEO))[0].mean
        z = (by_variant(played[-1].action_STE) - mean).squeeze(2).numpy() / np.exp(wide[:, None].numpy())
        expected = -0.5 * z**2 - wide[:, None].numpy() - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(by_variant(played[-1].log_prob_STE), expected, atol=1e-4)
    learned = descent.rows.rows_TX.detach()[:, -1] - doubled
    torch.testing.assert_close(deviations(plants, descent.weights()), learned)
    assert ((learned - generated).abs() > 1e-3).all()  # something was learned,
    assert ((learned - generated).abs() < doubled / 2).all()  # and not the doubling


def by_variant(x_STE):
    """(S, T, E, ...) -> (T, S * E, ...)."""
    return x_STE.transpose(0, 1).flatten(1, 2)


def test_the_context_is_learned_on_with_the_deviations_that_it_writes(make_plants):
    agent, plants = make_plants(A, B)
    context_TC = plants.family.encode(torch.as_tensor(plants.variants_TP, dtype=torch.float32))
    descent = Descent.on_context(plants, context_TC, writer(agent))
    torch.testing.assert_close(descent.weights(), whole(agent, plants))
    torch.testing.assert_close(descent._weights().detach(), descent.weights())


def test_a_batch_worked_out_in_numpy(make_plants):
    """Two rounds of earlier policies: returns by hand, normalised over whole episodes, weighted up to twice."""
    _, plants = make_plants(A, B)
    plants.target.normaliser.return_var.fill_(0.3)
    scale = plants.target.normaliser.value_scale.item()
    means, last = (0.1, 0.4), 0.7
    plays = [plants.play(constant(plants, torch.full((2,), mean)), 2 + i) for i, mean in enumerate(means)]
    policy, value = plants.target.split(constant(plants, torch.full((2,), last)))
    value[-1] = torch.tensor([[2.0], [-1.0]])  # everywhere
    now = plants.target.join(policy, value)
    descent = Descent(plants, now, now[:, : plants.target.policy_size], lambda rows: rows, 0.0)
    descent.recent = plays
    batch, alive_TN = descent._batch()
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
def test_what_a_variant_learns_does_not_depend_on_its_neighbours(make_plants, kind):
    found = []
    for neighbour in (B, C):
        agent, plants = make_plants(A, neighbour, seed=3)
        if kind == "weights":
            descent = Descent.on_weights(plants, whole(agent, plants))
        else:
            context_TC = plants.family.encode(torch.as_tensor(plants.variants_TP, dtype=torch.float32))
            descent = Descent.on_context(plants, context_TC, writer(agent))
        begun = descent.weights()
        for _ in range(2):
            descent.learn(2)
        found.append((begun, descent.weights()))
    (_, (one, other)), (begun, (again, third)) = found
    torch.testing.assert_close(one, again, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(one, begun[0], atol=1e-5)
    assert not torch.allclose(other, third, atol=1e-3)


@pytest.mark.parametrize("kind", ["weights", "context"])
def test_descent_finds_the_best_action_of_each_variant(make_plants, monkeypatch, kind):
    monkeypatch.setattr(learning, "WEIGHTS_RATE", 5e-3)
    monkeypatch.setattr(learning, "BOLDER", 1.0)
    _, plants = make_plants({**A, "ends": 8.0}, {**B, "ends": 8.0})
    start = constant(plants, torch.zeros(2))
    if kind == "weights":
        descent = Descent.on_weights(plants, start)
    else:
        descent = Descent.on_context(plants, torch.zeros(2, 1), lambda rows: constant_through(plants, rows))
    best = np.array([8 * 0.5, 0.0])
    before = plants.play(start, 1, trial=0).returns_TE[:, 0].numpy()
    for _ in range(10):
        descent.learn(8)
    after = plants.play(descent.weights(), 1, trial=0).returns_TE[:, 0].numpy()
    assert (best - after < 0.3 * (best - before)).all()


def constant_through(plants, rows_TC):
    """The same as ``constant``, and gradients reach the action."""
    weights = constant(plants, torch.zeros(len(rows_TC)))
    policy, value = plants.target.split(weights)
    return plants.target.join([*policy[:-2], rows_TC, policy[-1]], value)


# contexts


def test_a_trial_keeps_the_better_context_of_each_variant(make_plants):
    _, plants = make_plants(A, B)
    candidates = [torch.tensor([[0.7], [0.0]]), torch.tensor([[-0.7], [-0.3]]), torch.tensor([[0.6], [-0.9]])]
    trial = Trial(plants, candidates, lambda context: constant(plants, context[:, 0]))
    kept = []
    for _ in range(3):
        trial.learn(1)
        kept.append(trial.context_TC[:, 0].tolist())
    np.testing.assert_allclose(kept, [[0.7, 0.0], [0.7, -0.3], [0.7, -0.3]], atol=1e-6)
    torch.testing.assert_close(trial.weights(), constant(plants, torch.tensor([0.7, -0.3])))
    assert plants.steps_T.tolist() == [3 * 2, 3 * 5]


@pytest.mark.parametrize(("episodes", "weights"), [(6, [3.5, 3.5 / 2, 3.5 / 3]), (5, [3, 3 / 2]), (2, [1.5]), (1, [2])])
def test_a_generation_worked_out_in_numpy(make_plants, episodes, weights):
    """Mirrored pairs, their returns by hand, and the weights of CMA-ES's tutorial, equation 49: log((E + 1) / 2i)."""
    _, plants = make_plants(A, B)
    middle_TC = torch.tensor([[0.2], [0.3]])
    evolution = Evolution(plants, middle_TC, lambda context: constant(plants, context[:, 0]))
    same = torch.Generator()
    same.set_state(plants.generator.get_state())
    half = learning.SPREAD * torch.randn((2, episodes // 2, 1), generator=same).numpy()
    evolution.learn(episodes)
    weights = np.log(weights)
    for t, variant in enumerate((A, B)):
        mutants = middle_TC[t].item() + np.concatenate([half[t, :, 0], -half[t, :, 0], [0] * (episodes % 2)])
        ranked = mutants[np.argsort([-returned(mutant, variant) for mutant in mutants])]
        expected = (weights / weights.sum() * ranked[: len(weights)]).sum()
        np.testing.assert_allclose(evolution.context_TC[t].item(), expected, atol=1e-6)
    assert plants.steps_T.tolist() == [episodes * 2, episodes * 5]


def test_evolution_comes_near_the_best_action(make_plants):
    _, plants = make_plants(A, B)
    evolution = Evolution(plants, torch.zeros(2, 1), lambda context: constant(plants, context[:, 0]))
    for _ in range(15):
        evolution.learn(10)
    np.testing.assert_allclose(evolution.context_TC[:, 0], [0.8, -0.4], atol=0.1)
