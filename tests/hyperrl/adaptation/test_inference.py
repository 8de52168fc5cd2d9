"""Inference on a plant whose parameters act by hand-written formulas, with an agent that knows the best policy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from hyperrl.adaptation import inference
from hyperrl.agents import Agent, AgentSpec
from hyperrl.agents.distributions import Gaussian
from hyperrl.config import Config
from hyperrl.envs import InputError, Parameter, PhysicsFamily, registry
from hyperrl.envs.distractors import distractors
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import START_SEED, play
from hyperrl.seeds import next_seed
from hyperrl.storage.agent import build_agent

PARAMETERS = (
    Parameter("gain", "1/s", 1.0, (-2, 2), (-3, 3), note="sign and strength of the actuator"),
    Parameter("pull", "1/s", 0.0, (-0.5, 0.5), (-1, 1), note="a constant push"),
)


def step(state, action, p):
    """x' = x + 0.2 (gain a + pull), paid by -x^2."""
    rate = p["gain"].unsqueeze(-1) * action + p["pull"].unsqueeze(-1)
    after = (state + 0.2 * rate).clamp(-2, 2)
    return after, -state.squeeze(-1).square(), torch.zeros_like(state[..., 0], dtype=torch.bool)


PLANT = PhysicsFamily(
    name="plant",
    parameters=PARAMETERS,
    observation_space=Box(-2, 2, shape=(1,)),
    action_space=Box(-1, 1, shape=(1,)),
    max_episode_steps=30,
    draws=1,
    start=lambda draws, p: 2 * draws - 1,
    step=step,
)


class Knowing(Agent):
    """Pushes towards 0, by the sign in the context: all that inference asks of an agent is what every arm answers."""

    def __init__(self):
        super().__init__(AgentSpec(observation=1, action=1, discrete=False, context=4))

    def generate(self, context_TC):
        return context_TC

    def forward(self, weights_TD, obs_TNO, state_TNH):
        mean = -obs_TNO * weights_TD[:, :1].sign().unsqueeze(1)
        return Gaussian(mean, torch.full_like(mean, 0.5).log()), obs_TNO[..., 0], state_TNH


def greedy_returns(believed_TP, true_TP, **seed):
    """Returns (T, 5) of the policies for some variants, played on others."""
    agent = Knowing()
    weights_TD = agent.generate(PLANT.encode(torch.as_tensor(believed_TP, dtype=torch.float32)))
    return play(PLANT, true_TP, AgentActor(agent, PLANT, weights_TD=weights_TD), 5, **seed).returns_TE


@pytest.fixture(scope="module")
def encoder():
    return inference.train_encoder(Knowing(), PLANT, updates=400, rounds=4, variants=64)


@pytest.fixture(scope="module")
def unknown(encoder):
    return inference.play_unknown(Knowing(), PLANT, encoder, PLANT.variants("interpolation", 40), 5, 3)


def test_gather_pairs_transitions_with_their_own_parameters():
    """The plant's formula, with the coordinates that stand beside each row."""
    told, z = inference.gather(Knowing(), PLANT, 0, torch.device("cpu"), rounds=2, variants=8)
    (x, y), (x_reward, y_reward) = told
    assert z.shape == (2 * 8 * inference.COPIES, 30, 2)
    gain, pull = PLANT.decode(z.flatten(0, 1)).view(*z.shape).unbind(-1)
    state, action = x.unbind(-1)
    expected = (state + 0.2 * (gain * action + pull)).clamp(-2, 2) - state
    torch.testing.assert_close(y[..., 0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_reward, torch.cat([x, y], -1))
    torch.testing.assert_close(y_reward, torch.stack([-state.square(), state**4], -1))
    assert len(z[:, 0].unique(dim=0)) == 16  # every variant of every round


def test_gather_plays_copies_under_policies_of_others():
    (x, _), _ = inference.gather(Knowing(), PLANT, 0, torch.device("cpu"), rounds=1, variants=64)[0]
    z = inference.gather(Knowing(), PLANT, 0, torch.device("cpu"), rounds=1, variants=64)[1]
    right = (x[..., 0] * x[..., 1] * z[..., 0] < 0).float().mean(1)  # share of pushes towards 0
    own, others = right[::2].mean(), right[1::2].mean()
    assert own > 0.6 > others


def test_the_plant_is_identified_and_the_spread_covers_the_error(unknown):
    true = PLANT.variants("interpolation", 40)[:, None]
    error = np.abs(unknown.mean_KTEP - true)
    assert np.median(error[0, ..., 0]) < 0.05 * 2
    assert np.median(error[2, ..., 0]) < 0.05 * 2
    assert np.median(error[2, ..., 1]) < 0.05 * 2
    covered = (error < unknown.std_KTEP).mean()
    assert 0.5 < covered < 0.9


def test_the_posterior_sharpens(encoder):
    variants = PLANT.variants("interpolation", 32)
    env = PLANT.vector(variants, 1)
    obs, _ = env.reset(seed=3)
    belief, agent, spread = inference.Belief(encoder, PLANT, 32), Knowing(), []
    for _ in range(25):
        distribution, _, _ = agent(belief.generate(agent), obs.unsqueeze(1), agent.begin(32, 1))
        action = distribution.mode.squeeze(1).clamp(-1, 1)
        after, reward, _, _, info = env.step(action)
        belief.see(obs, action, reward, info["final_obs"])
        belief.update()
        spread.append(belief.std_BP.mean(0))
        obs = after
    spread = torch.stack([inference.Belief(encoder, PLANT, 32).std_BP.mean(0), *spread])
    assert (spread[1] < spread[0]).all()
    assert (spread[25] < 0.5 * spread[1]).all()


def test_after_one_episode_the_agent_does_as_if_it_were_told(encoder, unknown):
    variants = PLANT.variants("interpolation", 40)
    second = next_seed(START_SEED, 1)
    told = greedy_returns(variants, variants, seed=second)
    prior = greedy_returns(inference.Belief(encoder, PLANT, 40).mean_BP, variants, seed=second)
    after = unknown.returns_KTE[1]
    assert told.mean() - prior.mean() > 20
    assert (after.mean() - prior.mean()) / (told.mean() - prior.mean()) > 0.95
    assert (unknown.lengths_KTE == 30).all()


def test_the_first_episode_is_better_than_the_prior_policy(encoder, unknown):
    variants = PLANT.variants("interpolation", 40)
    prior = greedy_returns(inference.Belief(encoder, PLANT, 40).mean_BP, variants)
    assert unknown.returns_KTE[0].mean() > prior.mean() + 20


def test_what_is_not_seen_says_nothing(encoder):
    belief = inference.Belief(encoder, PLANT, 2)
    before = belief.posterior
    obs, reward = torch.tensor([[0.5], [0.5]]), torch.tensor([-0.25, -0.25])
    belief.see(obs, torch.ones(2, 1), reward, obs + 0.4, torch.tensor([True, False]))
    after = belief.update()
    torch.testing.assert_close(after.mean_BZ[1], before.mean_BZ[1])
    assert after.mean_BZ[0, 0] > before.mean_BZ[0, 0] + 0.5  # x' = x + 0.2 gain: gain is 2, or less with a pull
    assert belief.statistics.count_B.tolist() == [1, 0]


def test_training_is_reproducible_and_tells_its_progress():
    seen = []
    one, other = (
        inference.train_encoder(
            Knowing(), PLANT, seed=5, updates=3, rounds=2, variants=8, progress=lambda *at: seen.append(at)
        )
        for _ in range(2)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    third = inference.train_encoder(Knowing(), PLANT, seed=6, updates=3, rounds=2, variants=8)
    assert not torch.equal(one.first.weight, third.first.weight)


def test_an_encoder_is_saved_and_read(encoder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    inference.save(encoder, SimpleNamespace(folder=tmp_path, identity="", agent=encoder))
    read = inference.load(PLANT, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), read.state_dict().values(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in read.parameters())
    with pytest.raises(InputError, match="not an encoder of family 'cartpole'"):
        inference.load(registry.get("cartpole"), tmp_path)
    with pytest.raises(InputError, match="no checkpoint there"):
        inference.load(PLANT, tmp_path / "elsewhere")


def test_of_distractors_nothing_is_known():
    family = distractors(PLANT, 2, train=1.0, evaluation=0.0)
    belief = inference.Belief(inference.build_encoder(family).requires_grad_(False), family, 3)
    assert belief.posterior.mean_BZ.shape == (3, 2)
    assert belief.mean_BP[:, 2:].eq(1.0).all()
    assert belief.std_BP[:, 2:].isnan().all()
    assert belief.std_BP[:, :2].isfinite().all()


def test_a_family_of_distractors_alone_is_refused():
    alone = PhysicsFamily(
        name="nothing",
        parameters=(Parameter("idle", "1", 0.0, (1, 1), (0, 1), distractor=True),),
        observation_space=PLANT.observation_space,
        action_space=PLANT.action_space,
        max_episode_steps=30,
        draws=1,
        start=PLANT.start,
        step=lambda state, action, p: (state, state[..., 0], state[..., 0] > 9),
    )
    with pytest.raises(InputError, match="nothing to infer"):
        inference.train_encoder(Knowing(), alone)


@pytest.mark.parametrize("name", ["cartpole", "point", "pendulum_signed"])
def test_coordinates_and_back(name):
    family = registry.get(name)
    variants = torch.as_tensor(family.variants("interpolation", 50))
    z = family.coordinates(variants)
    torch.testing.assert_close(family.decode(z), variants)
    for i, parameter in enumerate(family.parameters):
        if not parameter.period:
            assert z[:, i].abs().max() <= 1
            ends = torch.tensor([parameter.train[0], sum(parameter.train) / 2, parameter.train[1]])
            torch.testing.assert_close(parameter.coordinate(ends), torch.tensor([-1.0, 0.0, 1.0]))
    # far out, a value stays where the physics is defined, and an angle turns
    far = family.decode(100 * torch.ones_like(z))
    assert all(parameter.admits(float(value)) for parameter, value in zip(family.parameters, far[0], strict=True))


def test_discrete_actions_and_early_ends():
    family = registry.get("cartpole")
    agent = build_agent(family, Config(family="cartpole"), torch.device("cpu"))
    encoder = inference.build_encoder(family).requires_grad_(False)
    variants = family.variants("interpolation", 3)
    unknown = inference.play_unknown(agent, family, encoder, variants, 2, 2)
    assert unknown.returns_KTE.shape == (2, 3, 2)
    assert unknown.mean_KTEP.shape == unknown.std_KTEP.shape == (2, 3, 2, 5)
    assert np.array_equal(unknown.returns_KTE, unknown.lengths_KTE)  # every step pays 1
    assert unknown.lengths_KTE.max() < 500
    # what came after an end was not read
    assert np.array_equal(unknown.belief.statistics.count_B.numpy(), unknown.lengths_KTE.sum(0).flatten())


@pytest.mark.parametrize("updates", [1, 2, 3, 10, 29, 800])
def test_the_learning_rate_goes_through_one_cycle_as_pytorchs(updates):
    adam = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], 1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 1.0, updates, pct_start=inference.RISE)
    for update in range(updates):
        group = adam.param_groups[0]
        assert inference.one_cycle(update, updates) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-6)
        if update + 1 < updates:
            adam.step()
            schedule.step()
