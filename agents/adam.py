"""Adam: one fused call a step, which waits for nothing and can be made void on the device.

The kernel is called directly, since ``torch.optim`` first imports PyTorch's compiler, which takes a second, and copies
void steps to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-5


def norm_of(gradient: list[Tensor]) -> Tensor:
    """The norm of all tensors of a gradient together."""
    return torch.stack(torch._foreach_norm(gradient)).norm()


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1), with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2).

    Gradients longer than ``max_norm`` are shortened to it.
    """

    def __init__(
        self, parameters: Sequence[Tensor], max_norm: float, eps: float = EPSILON, weight_decay: float = 0.0
    ) -> None:
        """Begin with moments of zero.

        Args:
            parameters: what is learned, in place.
            max_norm: largest norm of the gradient of all of them together.
            eps: added to the deviations of the gradient, by which a step is divided.
            weight_decay: share of the parameters that a step takes away, in learning rates.
        """
        self.parameters, self.max_norm, self.eps, self.weight_decay = list(parameters), max_norm, eps, weight_decay
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = torch.zeros((), device=self.parameters[0].device)

    def gradient(self, loss: Tensor) -> tuple[list[Tensor], Tensor]:
        """The gradient of a scalar, 0 where it does not depend on a parameter, and its norm."""
        found = list(torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True))
        return found, norm_of(found)

    @torch.no_grad()
    def step(
        self, gradient: list[Tensor], norm: Tensor, learning_rate: Tensor, active: Tensor, beta_1: float = BETA_1
    ) -> None:
        """Take a step.

        Args:
            gradient: for each parameter; overwritten.
            norm: its norm, a scalar.
            learning_rate: a scalar.
            active: a scalar; where it is 0 instead of 1, parameters and moments stay as they are.
            beta_1: decay of the first moment.
        """
        self.steps += active
        torch._fused_adamw_(
            self.parameters,
            gradient,
            self.first,
            self.second,
            [],
            [self.steps] * len(self.parameters),
            lr=learning_rate,
            beta1=beta_1,
            beta2=BETA_2,
            weight_decay=self.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
            grad_scale=(norm / self.max_norm).clamp(min=1),
            found_inf=1 - active,
        )

    def state_dict(self) -> dict[str, Any]:
        """The moments, and the number of steps."""
        return {"first": self.first, "second": self.second, "steps": self.steps}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``'s answer."""
        for name in ("first", "second"):
            for moment, stored in zip(getattr(self, name), state[name], strict=True):
                moment.copy_(stored)
        self.steps.copy_(state["steps"])
