"""Distributions of actions against PyTorch's own, which check their arguments and are slower."""

import pytest
import torch
from torch.distributions import Categorical as Discrete
from torch.distributions import Independent, Normal

from hyperrl.agents.distributions import Categorical, Gaussian, noise

T, N, A = 3, 50, 4


def pair(kind):
    """Ours and PyTorch's distribution, of the same leaf tensors."""
    generator = torch.Generator().manual_seed(0)
    output_TNA = torch.randn(T, N, A, dtype=torch.float64, generator=generator).mul_(3).requires_grad_()
    if kind == "discrete":
        return [output_TNA], Categorical(output_TNA.log_softmax(-1)), Discrete(logits=output_TNA)
    log_std_T1A = torch.randn(T, 1, A, dtype=torch.float64, generator=generator).requires_grad_()
    theirs = Independent(Normal(output_TNA, log_std_T1A.exp().expand_as(output_TNA)), 1)
    return [output_TNA, log_std_T1A], Gaussian(output_TNA, log_std_T1A), theirs


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_densities_entropies_and_their_gradients_are_pytorchs(kind):
    leaves, ours, theirs = pair(kind)
    action = theirs.sample()
    torch.testing.assert_close(ours.mode, theirs.mode)
    for number in (lambda d: d.log_prob(action), lambda d: d.entropy()):
        own_TN, other_TN = number(ours), number(theirs)
        assert own_TN.shape == (T, N)
        torch.testing.assert_close(own_TN, other_TN)
        own, other = (
            torch.autograd.grad(x.sum(), leaves, materialize_grads=True, retain_graph=True) for x in (own_TN, other_TN)
        )
        torch.testing.assert_close(own, other)


def test_deviations_are_those_of_the_logarithms():
    _, ours, theirs = pair("continuous")
    torch.testing.assert_close(ours.stddev, theirs.base_dist.stddev)


def test_actions_are_made_of_noise_by_the_papers_formulas():
    _, categorical, _ = pair("discrete")
    noise_TNA = noise(True, (T, N, A), torch.Generator().manual_seed(1))
    best_TN = (noise_TNA.double() / categorical.probs).argmin(-1)  # the first of A exponential clocks with these rates
    assert torch.equal(categorical.drawn(noise_TNA), best_TN)
    assert torch.equal(categorical.sample(torch.Generator().manual_seed(1)), best_TN)
    _, gaussian, _ = pair("continuous")
    noise_TNA = noise(False, (T, N, A), torch.Generator().manual_seed(1))
    torch.testing.assert_close(gaussian.drawn(noise_TNA), gaussian.mean + gaussian.stddev * noise_TNA)
