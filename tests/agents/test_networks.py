"""Grouped networks, distributions, sampling, normalisation against PyTorch, NumPy and numbers by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.profiler import profile

from hyperrl.agents import AgentSpec
from hyperrl.agents.networks import action_distribution, grouped_mlp, shared_mlp
from hyperrl.agents.normaliser import Normaliser
from hyperrl.agents.spec import tanh

DISCRETE = AgentSpec(4, 2, True, context=3)
CONTINUOUS = AgentSpec(4, 2, False, context=3)
MODULES = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    variants=st.integers(1, 5),
    samples=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(MODULES)),
    seed=st.integers(0, 1000),
)
def test_grouped_mlp_equals_vmap_and_a_loop_over_plain_networks(variants, samples, sizes, activation, seed):
    torch.manual_seed(seed)
    networks = []
    for _ in range(variants):
        modules = []
        for fan_in, fan_out in pairwise(sizes):
            modules += [nn.Linear(fan_in, fan_out), MODULES[activation]()]
        networks.append(nn.Sequential(*modules[:-1]).double())
    x_TNI = torch.randn(variants, samples, sizes[0]).double()
    stacked, buffers = stack_module_state(networks)

    grouped = grouped_mlp(list(stacked.values()), x_TNI, activation)
    looped = torch.stack([network(x_NI) for network, x_NI in zip(networks, x_TNI, strict=True)])
    mapped = vmap(lambda parameters, x_NI: functional_call(networks[0], (parameters, {}), (x_NI,)))(stacked, x_TNI)
    assert not buffers
    assert grouped.shape == (variants, samples, sizes[-1])
    torch.testing.assert_close(grouped, looped, **CLOSE)
    torch.testing.assert_close(grouped, mapped, **CLOSE)
    shared = shared_mlp(list(networks[0].parameters()), x_TNI, activation)
    torch.testing.assert_close(shared, networks[0](x_TNI), **CLOSE)


def test_discrete_distribution_by_hand():
    """Logits 0 and ln 3 are probabilities 1/4 and 3/4."""
    distribution = action_distribution(torch.tensor([[[0.0, math.log(3)]]]), None)
    assert distribution.log_prob(torch.tensor([[0]])).item() == pytest.approx(-1.386294, abs=1e-6)
    assert distribution.log_prob(torch.tensor([[1]])).item() == pytest.approx(-0.287682, abs=1e-6)
    assert distribution.entropy().item() == pytest.approx(0.562335, abs=1e-6)
    assert distribution.mode.item() == 1


def test_gaussian_distribution_by_hand():
    """-z^2/2 - ln sigma - ln(2 pi)/2, summed: z = 2, sigma = 1: -2.918939; z = 1, sigma = 2: -2.112086."""
    mean_TNA, log_std_T1A = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, math.log(2)]]])
    distribution = action_distribution(mean_TNA, log_std_T1A)
    assert distribution.log_prob(torch.tensor([[[2.0, 3.0]]])).item() == pytest.approx(-5.031025, abs=1e-5)
    assert distribution.entropy().item() == pytest.approx(2 * 1.418939 + 0.693147, abs=1e-5)
    assert torch.equal(distribution.mode, mean_TNA)


def test_each_variant_has_its_own_deviation():
    log_std_T1A = torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]])
    distribution = action_distribution(torch.zeros(2, 5, 2), log_std_T1A)
    torch.testing.assert_close(distribution.stddev[1], torch.tensor([1.0, 2.0]).exp().expand(5, 2))
    assert distribution.log_prob(torch.zeros(2, 5, 2)).shape == (2, 5)


def test_sampled_actions_follow_their_probabilities():
    probs_TNA = torch.tensor([[[0.1, 0.2, 0.7]], [[0.5, 0.5, 0.0]]]).expand(2, 20_000, 3)
    action_TN = action_distribution(probs_TNA.log(), None).sample(torch.Generator().manual_seed(0))
    assert action_TN.shape == (2, 20_000)
    assert action_TN.dtype == torch.int64
    shares = torch.stack([(action_TN == action).double().mean(1) for action in range(3)], dim=1)
    torch.testing.assert_close(shares, probs_TNA[:, 0].double(), rtol=0, atol=0.015)
    assert not (action_TN[1] == 2).any()


def test_sampled_actions_have_the_means_and_deviations_of_their_gaussian():
    mean_TNA = torch.tensor([[[3.0, -1.0]]]).expand(1, 20_000, 2)
    log_std_T1A = torch.tensor([[[math.log(0.5), math.log(2.0)]]])
    action_TNA = action_distribution(mean_TNA, log_std_T1A).sample(torch.Generator().manual_seed(0))
    assert action_TNA.shape == (1, 20_000, 2)
    torch.testing.assert_close(action_TNA.mean((0, 1)), torch.tensor([3.0, -1.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(action_TNA.std((0, 1)), torch.tensor([0.5, 2.0]), rtol=0.02, atol=0)
    assert abs(np.corrcoef(action_TNA[0].T)[0, 1]) < 0.03


def distribution_of(spec):
    output_TNA = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(1))
    return action_distribution(output_TNA, None if spec.discrete else torch.zeros(3, 1, 2))


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_sampling_depends_on_its_generator_alone(spec):
    distribution = distribution_of(spec)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(5)
    first, second = distribution.sample(generator), distribution.sample(generator)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(distribution.sample(torch.Generator().manual_seed(5)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_sampling_copies_nothing_to_the_host(spec):
    """So that a rollout can be captured in a CUDA graph."""
    distribution, generator = distribution_of(spec), torch.Generator()
    with profile() as profiled:
        action = distribution.sample(generator)
        distribution.log_prob(action)
    names = {event.name for event in profiled.events()}
    assert "aten::_local_scalar_dense" not in names
    assert names & {"aten::exponential_", "aten::normal_"}


def test_normaliser_holds_the_mean_and_variance_of_everything_it_has_seen():
    rng = np.random.default_rng(0)
    normaliser = Normaliser(3)
    batches, return_variances = [], []
    for steps in (4, 1, 9):
        obs = rng.normal([5, -100, 0], [1, 30, 0.01], size=(steps, 6, 2, 3))
        returns = rng.normal(7, 3, size=(steps, 6, 2))
        batches.append(obs.reshape(-1, 3))
        return_variances += [returns.var()] * steps
        normaliser.update(torch.tensor(obs).float(), torch.tensor(returns).float())
        seen = np.concatenate(batches)
        np.testing.assert_allclose(normaliser.mean, seen.mean(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(normaliser.var, seen.var(0), rtol=1e-4)
        assert normaliser.count == len(seen)
        assert normaliser.return_var.item() == pytest.approx(np.mean(return_variances), rel=1e-5)
        assert normaliser.value_scale.item() == pytest.approx(np.sqrt(np.mean(return_variances)), rel=1e-5)


def test_normalised_observations_by_hand():
    """Of 1, 3, 5 and 7 the mean is 4 and the variance 5."""
    normaliser = Normaliser(1)
    normaliser.update(torch.tensor([1.0, 3, 5, 7]).view(2, 2, 1, 1), torch.tensor([0.0, 4, 0, 4]).view(2, 2, 1))
    seen = normaliser(torch.tensor([[4.0], [4 + 5**0.5], [1000], [-1000]]))
    torch.testing.assert_close(seen, torch.tensor([[0.0], [1], [10], [-10]]))
    assert normaliser.value_scale.item() == pytest.approx(2.0)


def test_a_fresh_normaliser_changes_nothing():
    normaliser = Normaliser(3)
    obs = torch.randn(4, 3)
    torch.testing.assert_close(normaliser(obs), obs)
    assert normaliser.value_scale.item() == pytest.approx(1.0)


def test_a_constant_observation_stays_finite():
    normaliser = Normaliser(2)
    normaliser.update(torch.full((3, 2, 1, 2), 4.0), torch.zeros(3, 2, 1))
    assert torch.equal(normaliser(torch.full((1, 2), 4.0)), torch.zeros(1, 2))
    assert normaliser(torch.full((1, 2), 4.1)).abs().max() == 10


def test_a_normaliser_is_frozen_between_updates_and_part_of_the_checkpoint():
    normaliser = Normaliser(3)
    normaliser.update(torch.randn(5, 4, 2, 3), torch.randn(5, 4, 2))
    state = {name: tensor.clone() for name, tensor in normaliser.state_dict().items()}
    assert set(state) == {"mean", "var", "count", "return_var"}
    normaliser(torch.randn(100, 3) + 50)
    restored = Normaliser(3)
    restored.load_state_dict(state)
    for name, tensor in normaliser.state_dict().items():
        assert torch.equal(tensor, restored.state_dict()[name])
    assert list(normaliser.parameters()) == []


def test_tanh_is_pytorchs_with_its_gradients():
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -1e4, 1e4, torch.inf, -torch.inf])])
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    y, expected = tanh(ours), theirs.tanh()
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-7)
    (slope,) = torch.autograd.grad(y.sum(), ours, create_graph=True)
    (expected_slope,) = torch.autograd.grad(expected.sum(), theirs, create_graph=True)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=0, atol=4e-7)
    (bend,) = torch.autograd.grad(slope.sum(), ours)
    (expected_bend,) = torch.autograd.grad(expected_slope.sum(), theirs)
    torch.testing.assert_close(bend.double(), expected_bend, rtol=0, atol=2e-6)
    each = torch.func.vmap(torch.func.grad(lambda x: tanh(x).sum()))(x)
    torch.testing.assert_close(each, slope)


@pytest.mark.parametrize("power", [-30, 30])
def test_observations_and_returns_are_normalised_whatever_their_unit(power):
    obs, returns = torch.randn(5, 4, 2, 3) + 1, torch.randn(5, 4, 2)
    plain, scaled = Normaliser(3), Normaliser(3)
    plain.update(obs, returns)
    scaled.update(obs * 2.0**power, returns * 2.0**power)
    torch.testing.assert_close(scaled(obs * 2.0**power), plain(obs), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scaled.value_scale, plain.value_scale * 2.0**power)


def test_what_is_0_or_the_same_at_every_step_divides_nothing_by_0():
    normaliser = Normaliser(2)
    normaliser.update(torch.zeros(3, 2, 1, 2), torch.zeros(3, 2, 1))
    assert torch.equal(normaliser(torch.zeros(1, 2)), torch.zeros(1, 2))
    assert 0 < normaliser.value_scale < 1e-10
    normaliser = Normaliser(2)
    normaliser.update(torch.zeros(3, 2, 1, 2), torch.full((3, 2, 1), 7.0))
    assert normaliser.value_scale.item() == pytest.approx(7e-4)
