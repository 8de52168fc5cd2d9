"""A differentiable step of learning on the weights of T variants at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5
"""Adam's (Kingma and Ba, 2015, algorithm 1)."""

Samples = TypeVar("Samples")


class InnerLoss(NamedTuple):
    """A loss over T variants, and which of them take the step."""

    loss: Tensor
    """Scalar, a sum over variants."""
    active_T: Tensor
    """1.0 where the variant takes the step, 0.0 where it stays."""


class InnerStep(Generic[Samples]):
    """A step of Adam; each variant's gradient norm is clipped separately, and each has its step sizes.

    The moments belong to one sequence of steps: use a new object for a new sequence.
    """

    def __init__(
        self, loss: Callable[[Tensor, Samples], InnerLoss], learning_rate: float, max_grad_norm: float
    ) -> None:
        """Begin a sequence of steps.

        Args:
            loss: of weights (T, W) and samples.
            learning_rate: learning rate for a step size of 1.
            max_grad_norm: largest gradient norm of each variant.
        """
        self.loss, self.learning_rate, self.max_grad_norm = loss, learning_rate, max_grad_norm
        self._steps = 0
        self._first_TW = self._second_TW = torch.zeros(())

    def __call__(self, weights_TW: Tensor, batch: Samples, step_sizes: Tensor, differentiable: bool = False) -> Tensor:
        """The weights (T, W) after one step.

        Args:
            weights_TW: weights, or other rows of which the loss is a function.
            batch: samples for the loss.
            step_sizes: (T, 1) or (T, W), in learning rates.
            differentiable: whether gradients shall flow through the step, to ``weights_TW`` and ``step_sizes``.
        """
        if not differentiable:
            weights_TW = weights_TW.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = self.loss(weights_TW, batch)
            (gradient_TW,) = torch.autograd.grad(loss.loss, [weights_TW], create_graph=differentiable)
        with torch.set_grad_enabled(differentiable):
            moved_TW = self._adam(weights_TW, gradient_TW)
            return torch.lerp(weights_TW, moved_TW, step_sizes * loss.active_T.unsqueeze(1))

    def _adam(self, weights_TW: Tensor, gradient_TW: Tensor) -> Tensor:
        norm_T1 = gradient_TW.norm(dim=1, keepdim=True)
        gradient_TW = gradient_TW * (self.max_grad_norm / (norm_T1 + 1e-6)).clamp(max=1)
        if not self._steps:
            self._first_TW = self._second_TW = torch.zeros_like(gradient_TW)
        self._steps += 1
        self._first_TW = self._first_TW.lerp(gradient_TW, 1 - BETA_1)
        self._second_TW = (self._second_TW * BETA_2).addcmul(gradient_TW, gradient_TW, value=1 - BETA_2)
        size = self.learning_rate / (1 - BETA_1**self._steps)
        # the derivative of the square root is infinite at 0
        deviation_TW = self._second_TW.clamp(min=1e-30).sqrt() / (1 - BETA_2**self._steps) ** 0.5 + EPSILON
        return weights_TW.addcdiv(self._first_TW, deviation_TW, value=-size)
