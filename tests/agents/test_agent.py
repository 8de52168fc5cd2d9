"""An arm of the test's own that has a state and no ordinary networks: trained, resumed, played, and refused."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from torch import nn

import hyperrl
from hyperrl.agents import ARMS, Agent, AgentSpec
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.networks import action_distribution
from hyperrl.api import Policy
from hyperrl.config import Config
from hyperrl.envs import InputError, registry
from hyperrl.export import FORMATS
from hyperrl.play.actors import Act, AgentActor
from hyperrl.play.episodes import play
from hyperrl.play.rollout import Rollout
from hyperrl.storage import checkpoint
from hyperrl.training.trainer import VALUE_LAMBDA, Trainer

LIMIT = 7
FAMILY = dataclasses.replace(registry.get("cartpole"), max_episode_steps=LIMIT)
TINY = {"variants": 4, "copies": 2, "rollout": 16, "steps": 4 * 2 * 16 * 6, "evaluations": 2, "device": "cpu"}


class CountingAgent(Agent):
    """A linear policy whose first logit grows with the steps since the episode began.

    State: the steps, and the rewards so far, which the values see.
    """

    state_size = 2

    def __init__(self, spec):
        super().__init__(spec)
        self.policy = nn.Linear(spec.observation + spec.context, spec.action)
        self.value = nn.Linear(spec.observation + spec.context + 2, 1)

    def generate(self, context_TC):
        return context_TC

    def forward(self, weights_TD, obs_TNO, state_TNH):
        x = torch.cat([self.normaliser(obs_TNO), weights_TD.unsqueeze(1).expand(-1, obs_TNO.shape[1], -1)], 2)
        logits = self.policy(x)
        logits = torch.cat([logits[..., :1] + state_TNH[..., :1], logits[..., 1:]], 2)
        value_TN = self.value(torch.cat([x, state_TNH], 2)).squeeze(2) * self.normaliser.value_scale
        steps = torch.tensor([1.0, 0.0], device=obs_TNO.device)
        return action_distribution(logits, None), value_TN, state_TNH + steps

    def remember(self, state_TNH, action, reward_TN):
        return torch.stack([state_TNH[..., 0], state_TNH[..., 1] + reward_TN], 2)

    @torch.no_grad()
    def scale_values(self, factor):
        for parameter in self.value.parameters():
            parameter.mul_(factor)


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    monkeypatch.setitem(ARMS, "counting", CountingAgent)


def trainer_of(**settings):
    return Trainer(FAMILY, Config(**{"family": "cartpole", "agent": "counting", **TINY, **settings}))


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def rollouts_of(trainer, iterations):
    """Train, and keep what was played, and the variants on which."""
    played, collect = [], trainer.collect

    def watched():
        played.append((trainer.env.variants_TP.clone(), Rollout(*(x.clone() for x in collect()))))
        return trainer.rollout

    trainer.collect = watched
    for _ in range(iterations):
        trainer.iterate()
    return played


def test_states_restart_where_episodes_end_and_where_variants_are_replaced():
    """Counted by hand, across iterations: a step costs 1, pays 1, and nothing outlives an episode or a variant."""
    trainer = trainer_of(lifetime=2 * 16 / LIMIT)  # every other iteration
    state_TEH, before_TP, replaced, restarts = np.zeros((4, 2, 2)), None, 0, 0
    for variants_TP, rollout in rollouts_of(trainer, 5):
        if before_TP is not None:
            replaced_T = (variants_TP != before_TP).any(1).numpy()
            assert replaced_T.sum() == 2
            replaced += int((state_TEH[replaced_T] > 0).any())
            state_TEH[replaced_T] = 0
        before_TP = variants_TP
        for s in range(16):
            np.testing.assert_array_equal(rollout.state_STEH[s], state_TEH)
            state_TEH[..., 0] += 1
            state_TEH[..., 1] += rollout.reward_STE[s].numpy()
            np.testing.assert_array_equal(rollout.next_state_STEH[s], state_TEH)
            state_TEH[rollout.done_STE[s].numpy()] = 0
            restarts += int(rollout.done_STE[s].sum())
        assert rollout.state_STEH.max() == LIMIT - 1
    assert replaced >= 2  # variants were replaced amid episodes
    assert restarts > 5 * 4 * 2
    np.testing.assert_array_equal(trainer.actor.state_TEH, state_TEH)


def test_what_is_played_and_estimated_is_read_in_its_state():
    trainer = trainer_of(gamma=0.9, gae_lambda=0.8)
    trainer.iterate()
    trainer.resample(trainer.iteration)
    rollout, agent = trainer.collect(), trainer.agent
    batch, _ = trainer.estimate(rollout)
    weights_TD = agent.generate(trainer.context())
    values, next_values = [], []
    with torch.no_grad():
        for s in range(16):
            distribution, value_TE, _ = agent(weights_TD, rollout.obs_STEO[s], rollout.state_STEH[s])
            torch.testing.assert_close(distribution.log_prob(rollout.action_STE[s]), rollout.log_prob_STE[s])
            values.append(value_TE)
            next_values.append(agent(weights_TD, rollout.next_obs_STEO[s], rollout.next_state_STEH[s])[1])
    ends, value_STE = (rollout.terminated_STE, rollout.done_STE), torch.stack(values)
    advantage_STE = gae(rollout.reward_STE, value_STE, torch.stack(next_values), *ends, 0.9, VALUE_LAMBDA)
    expected_TSE = (advantage_STE + value_STE).transpose(0, 1)
    torch.testing.assert_close(batch.return_TN.view(4, 16, 2), expected_TSE)
    torch.testing.assert_close(batch.state_TNH.view(4, 16, 2, 2), rollout.state_STEH.transpose(0, 1))


def test_an_update_begins_at_the_policy_that_played():
    """So minibatches hold the states in which their observations were read."""
    trainer = trainer_of(epochs=1, minibatches=1)
    before = [parameter.detach().clone() for parameter in trainer.agent.parameters()]
    for _ in range(3):
        metrics = trainer.iterate()
        assert metrics["train/approx_kl"] == pytest.approx(0, abs=1e-6)
        assert metrics["train/clip_fraction"] == 0
    assert not any(torch.equal(*pair) for pair in zip(before, trainer.agent.parameters(), strict=True))


def test_a_minibatch_takes_states_along():
    trainer = trainer_of()
    rollout = trainer.collect()
    batch, _ = trainer.estimate(rollout)
    rows = torch.tensor([3, 0, 17])
    assert torch.equal(batch.take(rows).state_TNH, batch.state_TNH[:, rows])
    rows_TN = torch.tensor([[0, 1], [2, 3], [31, 4], [5, 5]])
    picked_TNH = torch.stack([batch.state_TNH[t, rows_TN[t]] for t in range(4)])
    assert torch.equal(batch.pick(rows_TN).state_TNH, picked_TNH)


def test_training_goes_on_from_its_state_bit_for_bit(tmp_path):
    straight = trainer_of(lifetime=2 * 16 / LIMIT)
    for _ in range(2):
        straight.iterate()
    assert straight.actor.state_TEH.any()  # it stops amid episodes
    checkpoint.save(tmp_path / "checkpoint.pt", straight.state_dict())
    resumed = trainer_of(lifetime=2 * 16 / LIMIT)
    resumed.load_state_dict(checkpoint.load(tmp_path / "checkpoint.pt"))
    for _ in range(3):
        assert str(straight.iterate()) == str(resumed.iterate())
    assert equal(straight.state_dict(), resumed.state_dict())


@pytest.fixture
def agent():
    """Trained a little, and sure enough of itself that the step decides what is done."""
    trainer = trainer_of()
    trainer.iterate()
    with torch.no_grad():
        trainer.agent.policy.bias.copy_(torch.tensor([0.0, 2.5]))
    return trainer.agent.requires_grad_(False)


def by_hand(agent, variant, obs_NO, steps_N):
    """Greedy actions of the arm's formula: the larger logit, the first one raised by the steps."""
    context_C = FAMILY.encode(torch.as_tensor(FAMILY.table([variant]), dtype=torch.float32))[0]
    x = torch.cat([agent.normaliser(obs_NO), context_C.expand(len(obs_NO), -1)], 1)
    logits = x @ agent.policy.weight.T + agent.policy.bias
    logits[:, 0] += torch.as_tensor(steps_N, dtype=torch.float32)
    return logits.argmax(1)


def test_episodes_are_played_with_the_state(agent):
    variants_TP = FAMILY.variants("interpolation", 3)

    class Watched(AgentActor):
        seen = ()

        def act(self, obs_NO):
            action_N = super().act(obs_NO)
            self.seen = (*self.seen, (obs_NO.clone(), action_N))
            return action_N

    actor = Watched(agent, FAMILY)
    played = play(FAMILY, variants_TP, actor, 2)
    taken = []
    for step, (obs_NO, action_N) in enumerate(actor.seen[:LIMIT]):
        for t, variant in enumerate(FAMILY.untable(variants_TP)):
            alive_E = torch.as_tensor(played.lengths_TE[t] > step)
            expected_E = by_hand(agent, variant, obs_NO[2 * t : 2 * t + 2], [step, step])
            assert torch.equal(action_N[2 * t : 2 * t + 2][alive_E], expected_E[alive_E])
            taken += expected_E[alive_E].tolist()
    assert set(taken) == {0, 1}
    # a second time it begins anew, and a function that counts for itself does the same
    assert np.array_equal(play(FAMILY, variants_TP, AgentActor(agent, FAMILY), 2).returns_TE, played.returns_TE)
    steps = iter(range(LIMIT))

    def count(obs_NO):
        step = next(steps)
        return torch.cat(
            [
                by_hand(agent, variant, obs_EO, [step] * 2)
                for variant, obs_EO in zip(FAMILY.untable(variants_TP), obs_NO.split(2), strict=True)
            ]
        )

    again = play(FAMILY, variants_TP, Act(count), 2)
    np.testing.assert_array_equal(again.returns_TE, played.returns_TE)
    np.testing.assert_array_equal(again.lengths_TE, played.lengths_TE)


def test_predict_hands_the_state_out_and_takes_it_back(agent):
    variant = FAMILY.variant(length=0.8)
    policy = Policy(agent, FAMILY, variant)
    obs_SNO = 0.1 * torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    state, steps_N = None, np.zeros(3)
    for s in range(6):
        start_N = np.array([s == 0, s in (0, 3), s in (0, 2, 3)])
        steps_N = np.where(start_N, 0, steps_N)
        action_N, state = policy.predict(obs_SNO[s].numpy(), state, start_N, deterministic=True)
        np.testing.assert_array_equal(action_N, by_hand(agent, variant, obs_SNO[s], steps_N))
        steps_N = steps_N + 1
        assert isinstance(state, np.ndarray)
        np.testing.assert_array_equal(state[:, 0], steps_N)
    # without a state it begins, without starts it goes on; one observation has a state of one row
    assert policy.predict(obs_SNO[0].numpy(), deterministic=True)[1][:, 0].tolist() == [1, 1, 1]
    assert policy.predict(obs_SNO[0].numpy(), state, deterministic=True)[1][:, 0].tolist() == (steps_N + 1).tolist()
    action, one = policy.predict(obs_SNO[0, 0].numpy(), state[:1], deterministic=True)
    assert np.shape(action) == ()
    np.testing.assert_array_equal(one, state[:1] + np.array([1, 0]))


def test_stable_baselines3_evaluates_it_with_its_state(agent):
    """Its ``evaluate_policy`` passes states and starts on; every episode is played as by hand."""
    variant = FAMILY.variant(length=0.8)
    policy, taken = Policy(agent, FAMILY, variant), []

    class Kept(gymnasium.Wrapper):
        def reset(self, **options):
            self.steps, (self.obs, info) = 0, self.env.reset(**options)
            return self.obs, info

        def step(self, action):
            taken.append((self.obs, self.steps, int(action)))
            self.steps, (self.obs, *rest) = self.steps + 1, self.env.step(action)
            return self.obs, *rest

    env = Kept(gymnasium.wrappers.TimeLimit(FAMILY.single(**variant), LIMIT))
    _, lengths = evaluate_policy(policy, env, n_eval_episodes=3, return_episode_rewards=True, warn=False)
    assert sum(lengths) == len(taken)
    obs_NO = torch.as_tensor(np.stack([obs for obs, _, _ in taken]))
    expected_N = by_hand(agent, variant, obs_NO, [steps for _, steps, _ in taken])
    assert expected_N.tolist() == [action for _, _, action in taken]
    assert len(set(expected_N.tolist())) == 2


@pytest.mark.parametrize("arm", ["counting", "adapter"])
def test_a_whole_run_trains_its_encoder_evaluates_and_says_what_it_cannot_do(tmp_path, arm):
    run = hyperrl.train("cartpole", agent=arm, run=tmp_path / "run", quiet=True, **TINY)
    assert (tmp_path / "run" / "encoder.pt").is_file()
    evaluation = hyperrl.load(tmp_path / "run").evaluate("interpolation", episodes=2)
    assert np.isfinite(evaluation.returns_TE).all()
    for mode in ("weights", "context", "infer", "all"):
        with pytest.raises(InputError, match=rf"^agent '{arm}': .*choose hyper or concat or blind or ") as caught:
            run.adapt(mode=mode, episodes=1)
        assert "\n" not in str(caught.value)
    for format, known in FORMATS.items():
        path = tmp_path / f"policy.{known.suffix}"
        with pytest.raises(InputError, match=r"^agent .*: .*choose hyper or concat or blind or ") as caught:
            run.policy().export(path, format)
        assert "\n" not in str(caught.value)
        assert not path.exists()


def test_by_default_a_state_is_empty_and_costs_nothing():
    agent = ARMS["concat"](AgentSpec(4, 2, True, context=3))
    state_TNH = agent.begin(5, 7)
    assert state_TNH.shape == (5, 7, 0)
    assert agent.remember(state_TNH, torch.zeros(5, 7), torch.ones(5, 7)) is state_TNH
    assert agent.restart(state_TNH, torch.ones(5, 7, dtype=torch.bool)) is state_TNH
