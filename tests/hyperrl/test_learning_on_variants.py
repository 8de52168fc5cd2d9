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


def test_a_generation_worked_out_in_numpy(make_plants):
    """Mirrored pairs, their returns by hand, and the weights of CMA-ES's tutorial, equation 49."""
    _, plants = make_plants(A, B)
    middle_TC = torch.tensor([[0.2], [0.3]])
    evolution = Evolution(plants, middle_TC, lambda context: constant(plants, context[:, 0]))
    same = torch.Generator()
    same.set_state(plants.generator.get_state())
    half = learning.SPREAD * torch.randn((2, 3, 1), generator=same).numpy()
    evolution.learn(6)
    weights = np.log(7 / 2) - np.log([1, 2, 3])
    for t, variant in enumerate((A, B)):
        mutants = middle_TC[t].item() + np.concatenate([half[t, :, 0], -half[t, :, 0]])
        ranked = mutants[np.argsort([-returned(mutant, variant) for mutant in mutants])]
        expected = (weights / weights.sum() * ranked[:3]).sum()
        np.testing.assert_allclose(evolution.context_TC[t].item(), expected, atol=1e-6)
    assert plants.steps_T.tolist() == [6 * 2, 6 * 5]


def test_evolution_comes_near_the_best_action(make_plants):
    _, plants = make_plants(A, B)
    evolution = Evolution(plants, torch.zeros(2, 1), lambda context: constant(plants, context[:, 0]))
    for _ in range(15):
        evolution.learn(10)
    np.testing.assert_allclose(evolution.context_TC[:, 0], [0.8, -0.4], atol=0.1)
