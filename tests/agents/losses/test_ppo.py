"""Advantages and loss against numbers done by hand and against the definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperrl.agents import AgentSpec
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.objective import Batch
from hyperrl.agents.losses.ppo import ppo_loss
from hyperrl.agents.networks import action_distribution

DISCRETE = AgentSpec(4, 2, True, context=3)


def column(*numbers):
    """Numbers as (S, 1, 1)."""
    return torch.tensor(numbers).view(-1, 1, 1)


FALSE3 = column(False, False, False)


def test_gae_by_hand_without_an_end():
    """delta: 1 + 2/2 - 1 = 1, 2 + 3/2 - 2 = 1.5, 3 + 4/2 - 3 = 2; gamma lambda = 1/4 of the next is added."""
    advantage = gae(column(1.0, 2, 3), column(1.0, 2, 3), column(2.0, 3, 4), FALSE3, FALSE3, 0.5, 0.5)
    torch.testing.assert_close(advantage, column(1 + 0.25 * 2, 1.5 + 0.25 * 2, 2.0))


def test_a_terminated_step_is_not_bootstrapped():
    """The middle step ends for good: delta 2 - 2 = 0, nothing of step 3 flows back."""
    ended = column(False, True, False)
    advantage = gae(column(1.0, 2, 3), column(1.0, 2, 3), column(2.0, 99, 4), ended, ended, 0.5, 0.5)
    torch.testing.assert_close(advantage, column(1.0, 0.0, 2.0))


def test_a_truncated_step_is_bootstrapped_with_the_value_of_where_it_led():
    """The middle step is cut off at a state of value 10: delta 2 + 10/2 - 2 = 5; step 3 stays out."""
    ended = column(False, True, False)
    advantage = gae(column(1.0, 2, 3), column(1.0, 2, 3), column(2.0, 10, 4), FALSE3, ended, 0.5, 0.5)
    torch.testing.assert_close(advantage, column(1 + 0.25 * 5, 5.0, 2.0))


def test_the_last_step_of_a_rollout_is_bootstrapped_unless_terminated():
    """Ending or not, truncated or not: only termination takes the value of the next state away."""
    args = (column(1.0), column(0.0), column(8.0))
    no, yes = column(False), column(True)
    assert gae(*args, no, no, 0.5, 0.9).item() == 5
    assert gae(*args, no, yes, 0.5, 0.9).item() == 5
    assert gae(*args, yes, yes, 0.5, 0.9).item() == 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    steps=st.integers(1, 12),
    variants=st.integers(1, 3),
    copies=st.integers(1, 3),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_gae_is_the_discounted_sum_of_td_errors_up_to_the_episodes_end(
    steps, variants, copies, gamma, gae_lambda, seed
):
    random = torch.Generator().manual_seed(seed)
    shape = (steps, variants, copies)
    reward, value, next_value = (torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(3))
    terminated, truncated = (torch.rand(shape, generator=random) < 0.2 for _ in range(2))
    done = terminated | truncated
    expected = torch.zeros(shape, dtype=torch.float64)
    for t in range(variants):
        for e in range(copies):
            for s in range(steps):
                for later in range(s, steps):
                    bootstrap = 0.0 if terminated[later, t, e] else next_value[later, t, e]
                    delta = reward[later, t, e] + gamma * bootstrap - value[later, t, e]
                    expected[s, t, e] += (gamma * gae_lambda) ** (later - s) * delta
                    if done[later, t, e]:
                        break
    advantage = gae(reward, value, next_value, terminated, done, gamma, gae_lambda)
    torch.testing.assert_close(advantage, expected, rtol=1e-10, atol=1e-12)


RATIOS = (1.5, 1.5, 0.5, 0.5, 1.1)
ADVANTAGES = (2.0, -2.0, 1.0, -1.0, 1.0)


def five_samples():
    """One variant, five samples: action 0 now has probability 0.6, and had 0.6 / ratio."""
    logits_TNA = torch.tensor([0.6, 0.4]).log().expand(1, 5, 2).clone().requires_grad_()
    batch = Batch(
        obs_TNO=torch.zeros(1, 5, 4),
        state_TNH=torch.zeros(1, 5, 0),
        action_TN=torch.zeros(1, 5, dtype=torch.int64),
        log_prob_TN=torch.tensor([[math.log(0.6 / ratio) for ratio in RATIOS]]),
        advantage_TN=torch.tensor([ADVANTAGES]),
        return_TN=torch.zeros(1, 5),
        return_scale_T1=torch.ones(1, 1),
    )
    return logits_TNA, batch


def test_ppo_loss_by_hand():
    """Surrogates at clip 0.2: min(3, 2.4), min(-3, -2.4), min(.5, .8), min(-.5, -.8), 1.1; mean 0.04."""
    logits_TNA, batch = five_samples()
    loss = ppo_loss(action_distribution(logits_TNA, None), torch.zeros(1, 5), batch, clip=0.2)
    assert loss.policy.item() == pytest.approx(-(2.4 - 3 + 0.5 - 0.8 + 1.1) / 5, abs=1e-6)
    assert loss.entropy.item() == pytest.approx(0.673012, abs=1e-6)
    assert loss.clip_fraction.item() == pytest.approx(4 / 5)
    # r - 1 - ln r is 0.094535 at 1.5, 0.193147 at 0.5 and 0.004690 at 1.1
    assert loss.approx_kl_T.mean().item() == pytest.approx((2 * 0.094535 + 2 * 0.193147 + 0.004690) / 5, abs=1e-6)


def test_what_the_clip_cuts_off_has_no_gradient():
    """Pushing a ratio further where it already pays enough is worth nothing; undoing a mistake always is."""
    logits_TNA, batch = five_samples()
    loss = ppo_loss(action_distribution(logits_TNA, None), torch.zeros(1, 5), batch, clip=0.2)
    loss.policy.backward()
    # d ratio / d logit_0 = ratio (1 - 0.6); the loss is minus the mean over five samples
    expected = [-ratio * 0.4 * advantage / 5 for ratio, advantage in zip(RATIOS, ADVANTAGES, strict=True)]
    expected[0] = expected[3] = 0.0
    torch.testing.assert_close(logits_TNA.grad[0, :, 0], torch.tensor(expected))
    assert not loss.approx_kl_T.mean().requires_grad
    assert not loss.clip_fraction.requires_grad


def test_a_wide_clip_cuts_nothing():
    logits_TNA, batch = five_samples()
    loss = ppo_loss(action_distribution(logits_TNA, None), torch.zeros(1, 5), batch, clip=0.6)
    assert loss.policy.item() == pytest.approx(-(3 - 3 + 0.5 - 0.5 + 1.1) / 5, abs=1e-6)
    assert loss.clip_fraction.item() == 0


def test_value_errors_are_measured_in_each_variants_own_deviation():
    """Errors 1 and 3 in a variant of deviation 1, 10 and 30 in one of deviation 10: both count alike."""
    batch = Batch(
        obs_TNO=torch.zeros(2, 2, 4),
        state_TNH=torch.zeros(2, 2, 0),
        action_TN=torch.zeros(2, 2, dtype=torch.int64),
        log_prob_TN=torch.full((2, 2), math.log(0.5)),
        advantage_TN=torch.zeros(2, 2),
        return_TN=torch.tensor([[5.0, 5.0], [100.0, 100.0]]),
        return_scale_T1=torch.tensor([[1.0], [10.0]]),
    )
    value_TN = torch.tensor([[6.0, 8.0], [90.0, 130.0]], requires_grad=True)
    loss = ppo_loss(action_distribution(torch.zeros(2, 2, 2), None), value_TN, batch, clip=0.2)
    assert loss.value.item() == pytest.approx((1 + 9) / 2)
    assert loss.approx_kl_T.mean().item() == pytest.approx(0, abs=1e-7)
    loss.value.backward()
    # 2 error / scale^2 / 4
    torch.testing.assert_close(value_TN.grad, torch.tensor([[0.5, 1.5], [-0.05, 0.15]]))


def test_continuous_actions_take_the_ratio_of_whole_actions():
    """Both entries of the action move the ratio: means 0, then 1, for an action at (1, 1): ratio e."""
    old = action_distribution(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    new = action_distribution(torch.ones(1, 1, 2), torch.zeros(1, 1, 2))
    action = torch.ones(1, 1, 2)
    one = torch.ones(1, 1)
    batch = Batch(
        obs_TNO=torch.zeros(1, 1, 4),
        state_TNH=torch.zeros(1, 1, 0),
        action_TN=action,
        log_prob_TN=old.log_prob(action),
        advantage_TN=-one,
        return_TN=one,
        return_scale_T1=one,
    )
    loss = ppo_loss(new, one, batch, clip=0.2)
    assert loss.policy.item() == pytest.approx(math.e, rel=1e-5)
    assert loss.approx_kl_T.mean().item() == pytest.approx(math.e - 2, rel=1e-5)
    assert loss.entropy.item() == pytest.approx(2 * 1.418939, abs=1e-5)
