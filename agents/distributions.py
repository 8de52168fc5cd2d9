"""Distributions over actions, as tensors and the functions of them that losses and actors need.

Nothing in them is checked or copied to the host, so that what calls them can be compiled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Categorical(NamedTuple):
    """A distribution over A discrete actions for each of (T, N) observations."""

    logits: Tensor
    """Logarithms of the probabilities (T, N, A)."""

    @property
    def probs(self) -> Tensor:
        """Probabilities (T, N, A)."""
        return self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """The most probable actions (T, N)."""
        return self.logits.argmax(-1)

    def log_prob(self, action_TN: Tensor) -> Tensor:
        """Logarithms (T, N) of the actions' probabilities."""
        return self.logits.gather(-1, action_TN.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropies (T, N), in nats."""
        return -(self.probs * self.logits).sum(-1)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Actions (T, N)."""
        return self.drawn(noise(True, self.logits.shape, generator))

    def drawn(self, noise_TNA: Tensor) -> Tensor:
        """Actions (T, N) of exponential noise e: argmax p / e, which never reads a tensor on the host."""
        return (self.probs / noise_TNA).argmax(-1)


class Gaussian(NamedTuple):
    """Independent normal distributions of the A entries of an action for each of (T, N) observations."""

    mean: Tensor
    """(T, N, A)."""
    log_std: Tensor
    """Logarithms of the standard deviations, (T, 1, A) or (A,): the same for every observation of a variant."""

    @property
    def mode(self) -> Tensor:
        """The most probable actions (T, N, A)."""
        return self.mean

    @property
    def stddev(self) -> Tensor:
        """Standard deviations (T, N, A)."""
        return self.log_std.exp().expand_as(self.mean)

    def log_prob(self, action_TNA: Tensor) -> Tensor:
        """Logarithms (T, N) of the actions' densities."""
        squares_TN = ((action_TNA - self.mean) * (-self.log_std).exp()).square().sum(-1)
        return -0.5 * squares_TN - (self.log_std + HALF_LOG_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropies (T, N), in nats."""
        return (self.log_std + 0.5 + HALF_LOG_2PI).sum(-1).expand(self.mean.shape[:-1])

    def sample(self, generator: torch.Generator) -> Tensor:
        """Actions (T, N, A)."""
        return self.drawn(noise(False, self.mean.shape, generator))

    def drawn(self, noise_TNA: Tensor) -> Tensor:
        """Actions (T, N, A) of normal noise."""
        return self.mean + self.log_std.exp() * noise_TNA


Distribution = Categorical | Gaussian


def noise(discrete: bool, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """What ``drawn`` makes actions of, (..., T, N, A), on the generator's device."""
    empty = torch.empty(shape, dtype=torch.float32, device=generator.device)
    return empty.exponential_(generator=generator) if discrete else empty.normal_(generator=generator)
