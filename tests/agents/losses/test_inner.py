"""The inner step against torch.optim.Adam, Adam in NumPy, and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from hyperrl.agents.losses.inner import InnerLoss, InnerStep

T, W = 3, 4
CURVATURES = torch.tensor([0.3, 1.0, 2.0, 5.0], dtype=torch.float64)


def bowls(weights_TW, minimum_TW):
    """Every variant's own quartic bowl, all of them active."""
    error_TW = weights_TW - minimum_TW
    loss_T = (CURVATURES.to(error_TW.dtype) * (error_TW.square() + 0.1 * error_TW**4)).sum(1)
    return InnerLoss(loss_T.sum(), torch.ones_like(loss_T))


def points(seed, rows=T):
    return torch.randn(rows, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def descend(start_TW, minimum_TW, sizes, steps, differentiable=False, loss=bowls, norm=0.5):
    """Some steps of one sequence."""
    step, weights_TW = InnerStep(loss, learning_rate=0.05, max_grad_norm=norm), start_TW
    for _ in range(steps):
        weights_TW = step(weights_TW, minimum_TW, sizes, differentiable)
    return weights_TW


ONES = torch.ones(T, 1, dtype=torch.float64)


@pytest.mark.parametrize("norm", [1e-3, 0.5, 1e9])
def test_ten_steps_are_those_of_torchs_adam_on_each_row_by_itself(norm):
    start_TW, minimum_TW = points(0), points(1)
    found_TW = descend(start_TW, minimum_TW, ONES, 10, norm=norm)
    for t in range(T):
        row = start_TW[t : t + 1].clone().requires_grad_(True)
        optimiser = torch.optim.Adam([row], 0.05, eps=1e-5)
        for _ in range(10):
            optimiser.zero_grad()
            bowls(row, minimum_TW[t : t + 1]).loss.backward()
            nn.utils.clip_grad_norm_([row], norm)
            optimiser.step()
        torch.testing.assert_close(found_TW[t], row[0].detach(), rtol=1e-6, atol=0)
    assert ((found_TW - start_TW).abs() > 0.01).all()


def adam_in_numpy(row, gradients, rate, norm, sizes):
    """Adam (Kingma and Ba, 2015, algorithm 1) of one row, its gradient clipped, its steps scaled."""
    first, second = np.zeros_like(row), np.zeros_like(row)
    for t, (gradient, size) in enumerate(zip(gradients, sizes, strict=True), 1):
        clipped = gradient * min(1, norm / (np.linalg.norm(gradient) + 1e-6))
        first, second = 0.9 * first + 0.1 * clipped, 0.999 * second + 0.001 * clipped**2
        row = row - size * rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-5)
    return row


def test_each_row_has_step_sizes_of_its_own():
    rng = np.random.default_rng(0)
    start_TW = rng.normal(size=(3, 4))
    gradients_STW = rng.normal(size=(5, 3, 4)) * np.array([0.01, 1.0, 100.0])[:, None]  # only the first is not clipped
    sizes_ST = np.array([[1, 1, 1], [0.5, 1, 0], [4, 0.25, 1], [1, 0, 2], [0, 1, 1]])

    def slope(weights_TW, gradient_TW):
        return InnerLoss((weights_TW * gradient_TW).sum(), weights_TW.new_ones(3))

    step, weights_TW = InnerStep(slope, 0.05, max_grad_norm=0.5), torch.as_tensor(start_TW)
    for gradient_TW, size_T in zip(gradients_STW, sizes_ST, strict=True):
        weights_TW = step(weights_TW, torch.as_tensor(gradient_TW), torch.as_tensor(size_T).unsqueeze(1))
    for t in range(3):
        expected = adam_in_numpy(start_TW[t], gradients_STW[:, t], 0.05, 0.5, sizes_ST[:, t])
        np.testing.assert_allclose(weights_TW[t], expected, rtol=1e-6)


def test_rows_know_nothing_of_each_other():
    """Whatever stands beside it, a row ends where it ends alone; the others would be clipped, or hardly move."""
    start_TW, minimum_TW = points(0), points(1)
    together_TW = descend(start_TW, minimum_TW, ONES, 10)
    for t in range(T):
        alone_TW = descend(start_TW[t : t + 1], minimum_TW[t : t + 1], ONES[:1], 10)
        torch.testing.assert_close(together_TW[t : t + 1], alone_TW, rtol=1e-12, atol=0)
    far_TW = minimum_TW.clone()
    far_TW[1:] += 1e3
    assert torch.equal(descend(start_TW, far_TW, ONES, 10)[0], together_TW[0])


def test_what_is_not_active_stays_and_its_moments_go_on():
    """A variant that is let go later steps as Adam does whose earlier gradients were of one place."""
    start_TW, minimum_TW = points(0), points(1)
    active = {"T": torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)}
    step = InnerStep(lambda *inputs: bowls(*inputs)._replace(active_T=active["T"]), 0.05, max_grad_norm=1e9)
    weights_TW, gradients = start_TW, []
    for s in range(6):
        active["T"][1] = float(s >= 4)
        at = weights_TW[1:2].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(bowls(at, minimum_TW[1:2]).loss, [at])
        gradients.append(gradient[0].numpy())
        weights_TW = step(weights_TW, minimum_TW, ONES)
        if s < 4:
            assert torch.equal(weights_TW[1], start_TW[1])
    whole_TW = descend(start_TW, minimum_TW, ONES, 6, norm=1e9)
    torch.testing.assert_close(weights_TW[[0, 2]], whole_TW[[0, 2]], rtol=1e-12, atol=0)
    expected = adam_in_numpy(start_TW[1].numpy(), gradients, 0.05, 1e9, [0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(weights_TW[1], expected, rtol=1e-6)


def test_no_graph_is_kept_unless_asked_for():
    start_TW = points(0).requires_grad_(True)
    assert not descend(start_TW, points(1), ONES, 2).requires_grad
    found_TW = descend(start_TW, points(1), ONES, 2, differentiable=True)
    assert found_TW.requires_grad
    torch.testing.assert_close(found_TW.detach(), descend(start_TW, points(1), ONES, 2), rtol=0, atol=0)
    with torch.no_grad():  # as adaptation calls it
        assert torch.equal(descend(start_TW, points(1), ONES, 2), found_TW)


def central_differences(function, x, h=1e-6):
    """Slopes of a scalar function along each entry of ``x``."""
    slopes = torch.zeros_like(x)
    for i in range(x.numel()):
        aside = torch.zeros_like(x).flatten()
        aside[i] = h
        aside = aside.view_as(x)
        slopes.view(-1)[i] = (function(x + aside) - function(x - aside)) / (2 * h)
    return slopes


@pytest.mark.parametrize("norm", [0.5, 1e9])
@pytest.mark.parametrize("width", [1, W])
def test_gradients_through_two_steps_are_finite_differences(norm, width):
    """Of another loss after two steps, with respect to where they began and how long they were: (T, 1) or (T, W)."""
    start_TW, minimum_TW, goal_TW = points(0), points(1), points(2)
    sizes = 0.5 + torch.rand(T, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def outer(start_TW, sizes, differentiable=False):
        return bowls(descend(start_TW, minimum_TW, sizes, 2, differentiable, norm=norm), goal_TW).loss

    leaves = start_TW.clone().requires_grad_(True), sizes.clone().requires_grad_(True)
    by_start_TW, by_sizes = torch.autograd.grad(outer(*leaves, differentiable=True), leaves)
    expected_TW = central_differences(lambda x: outer(x, sizes), start_TW)
    torch.testing.assert_close(by_start_TW, expected_TW, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(by_sizes, central_differences(lambda x: outer(start_TW, x), sizes), rtol=1e-5, atol=1e-6)
    assert (by_start_TW.abs() > 1e-3).all()
    assert (by_sizes.abs() > 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [0.5, 1e9])
def test_a_gradient_of_exactly_zero_gives_no_nan(norm, dtype):
    """A row that is at its minimum, as of a variant whose advantages are all 0, and one with a dead entry."""
    start_TW = points(0).to(dtype)
    minimum_TW = start_TW + 1.0
    minimum_TW[0] = start_TW[0]
    minimum_TW[1, 2] = start_TW[1, 2]
    leaves = start_TW.clone().requires_grad_(True), ONES.to(dtype).clone().requires_grad_(True)
    found_TW = descend(leaves[0], minimum_TW, leaves[1], 2, differentiable=True, norm=norm)
    gradients = torch.autograd.grad(bowls(found_TW, minimum_TW + 1).loss, leaves)
    assert found_TW.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    torch.testing.assert_close(found_TW[0].detach(), start_TW[0], rtol=0, atol=0)
    torch.testing.assert_close(found_TW[1, 2].detach(), start_TW[1, 2], rtol=0, atol=0)
    assert torch.equal(gradients[1][0], torch.zeros(1, dtype=dtype))
