"""The likelihood of transitions as a function of the parameters of their variant.

A transition is an input row and an output row, in one or more parts. The model is ``output = basis(input) .
features(parameters)`` with Gaussian noise (the branch and trunk of DeepONet, Lu et al., 2021). The log likelihood of
any number of transitions is therefore a quadratic form in the features: a sum over transitions, in any order, of
constant size. The product is fitted by regression.

B sets, N transitions of each, I inputs, Y outputs, Z coordinates of the parameters, K features.
Coordinates are about [-1, 1], or angles in radians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

JUMP = 30.0
"""Scaled size from which an output is an outlier and left out of the likelihood, such as a bonus that is paid once: no
product fits it, and it would dominate the error."""
OUTPUTS = 24
"""Largest number of outputs of one part."""

Rows = Sequence[tuple[Tensor, Tensor]]
"""For each part of a transition inputs (..., I) and outputs (..., Y)."""


class Statistics(NamedTuple):
    """Sums over transitions; the log likelihood of features f is ``pull . f - f . precision f / 2``."""

    precision_BKK: Tensor
    pull_BK: Tensor
    count_B: Tensor
    """Number of transitions."""

    def plus(self, other: Statistics) -> Statistics:
        """The sums over both sets of transitions."""
        return Statistics(
            self.precision_BKK + other.precision_BKK, self.pull_BK + other.pull_BK, self.count_B + other.count_B
        )

    def joined(self, other: Statistics) -> Statistics:
        """The B sets of both, concatenated."""
        return Statistics(
            torch.cat([self.precision_BKK, other.precision_BKK]),
            torch.cat([self.pull_BK, other.pull_BK]),
            torch.cat([self.count_B, other.count_B]),
        )


def _least(x_NI: Tensor) -> Tensor:
    """The least deviations (I,) of inputs: a millionth of 1, or of their largest where they are smaller in all."""
    return (1e-6 * x_NI.abs().amax(0)).clamp(min=1e-30, max=1e-6)


class Part(nn.Module):
    """One part of the transitions: inputs (..., I) -> a basis (..., Y, K) and log precisions (..., Y) of its outputs.

    More than ``OUTPUTS`` outputs are replaced by that number of random projections.
    """

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor
    mix: Tensor | None

    def __init__(self, inputs: int, outputs: int, features: int, hidden: int) -> None:
        super().__init__()
        for name, size in (("input", inputs), ("output", outputs)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        generator = torch.Generator().manual_seed(0)
        mix = torch.linalg.qr(torch.randn((outputs, OUTPUTS), generator=generator))[0] if outputs > OUTPUTS else None
        self.register_buffer("mix", mix)
        outputs = min(outputs, OUTPUTS)
        self.shape = (outputs, features)
        self.first = nn.Linear(inputs, 3 * hidden // 2)
        self.second = nn.Linear(hidden, hidden)
        self.basis = nn.Linear(2 * hidden + inputs, outputs * features)
        self.log_precision = nn.Linear(hidden, outputs)

    def set_scales(self, x_NI: Tensor, y_NY: Tensor) -> None:
        """Take the scales of inputs and outputs from data.

        An output's scale is half the distance between its 16th and 84th percentile, on which outliers have no
        influence.
        """
        thin = y_NY[:: -(-len(y_NY) // 10_000)]
        low, centre, high = torch.quantile(thin, torch.tensor([0.16, 0.5, 0.84], device=y_NY.device), dim=0)
        self.input_mean.copy_(x_NI.mean(0))
        self.input_std.copy_(x_NI.std(0).maximum(_least(x_NI)))
        self.output_mean.copy_(centre)
        self.output_std.copy_(((high - low) / 2).maximum(0.05 * y_NY.std(0)).maximum(_least(y_NY)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Basis (..., Y, K) and log precisions (..., Y) in the scale of ``scaled``."""
        x = ((x - self.input_mean) / self.input_std).clamp(-5, 5)
        bent, left, right = self.first(x).chunk(3, -1)
        lower = torch.cat([nn.functional.silu(bent), 0.3 * left * right], -1)
        upper = nn.functional.silu(self.second(lower))
        basis = self.basis(torch.cat([upper, lower, x], -1)).unflatten(-1, self.shape)
        return basis, self.log_precision(upper).clamp(-12, 14)

    def fits(self, y: Tensor) -> Tensor:
        """1.0 for scaled outputs (..., Y) that are not outliers, else 0.0."""
        return (self.scaled(y).abs() < JUMP).to(y.dtype)

    def scaled(self, y: Tensor) -> Tensor:
        """Outputs (..., Y) divided by their scales, about 1 in size."""
        y = (y - self.output_mean) / self.output_std
        return y if self.mix is None else y @ self.mix


class TransitionNetwork(nn.Module):
    """The likelihood of transitions as a function of Z coordinates."""

    angle_Z: Tensor
    turning: Tensor
    eye_ZZ: Tensor

    def __init__(self, parts: Sequence[tuple[int, int]], angles: Sequence[bool], features: int, hidden: int) -> None:
        """Set up the network.

        Args:
            parts: inputs I and outputs Y of each part of a transition.
            angles: for each coordinate whether it is an angle.
            features: K; it is raised if the coordinates alone need more.
            hidden: width of the hidden layers, even.
        """
        super().__init__()
        self.register_buffer("angle_Z", torch.tensor(list(angles)))
        self.register_buffer("turning", self.angle_Z.nonzero().flatten())
        self.register_buffer("eye_ZZ", torch.eye(len(self.angle_Z)))
        inputs = len(self.angle_Z) + int(self.angle_Z.sum())
        products = inputs + inputs**2
        self.width = max(features, inputs + 2)
        """K."""
        self.first = nn.Linear(products, 64)
        self.second = nn.Linear(64, 64)
        self.last = nn.Linear(64 + products, self.width - 1 - inputs)
        modules = nn.ModuleList([Part(i, y, self.width, hidden) for i, y in parts])
        self.parts: Sequence[Part] = modules  # type: ignore[assignment]  # a ModuleList does not say of what

    def features(self, z: Tensor) -> Tensor:
        """Features (..., K) of coordinates (..., Z): a constant, the coordinates, and learned ones."""
        x = torch.cat([torch.where(self.angle_Z, z.cos(), z), z.index_select(-1, self.turning).sin()], -1)
        u = torch.cat([x, (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)], -1)
        h = torch.tanh(self.second(torch.tanh(self.first(u))))
        return torch.cat([torch.ones_like(x[..., :1]), x, self.last(torch.cat([h, u], -1))], -1)

    def features_and_slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., K), and their derivatives (..., Z, K) by the coordinates."""
        cos, sin = z.cos(), z.sin()
        x = torch.cat([torch.where(self.angle_Z, cos, z), sin.index_select(-1, self.turning)], -1)
        by_itself = torch.where(self.angle_Z, -sin, 1.0).unsqueeze(-1) * self.eye_ZZ
        dx = torch.cat([by_itself, (cos.unsqueeze(-1) * self.eye_ZZ).index_select(-1, self.turning)], -1)  # Z, X
        u = torch.cat([x, (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)], -1)
        product = dx.unsqueeze(-1) * x[..., None, None, :]
        du = torch.cat([dx, (product + product.mT).flatten(-2)], -1)
        h = torch.tanh(self.first(u))
        dh = nn.functional.linear(du, self.first.weight) * (1 - h.square()).unsqueeze(-2)
        h = torch.tanh(self.second(h))
        dh = nn.functional.linear(dh, self.second.weight) * (1 - h.square()).unsqueeze(-2)
        features = torch.cat([torch.ones_like(x[..., :1]), x, self.last(torch.cat([h, u], -1))], -1)
        learned = nn.functional.linear(torch.cat([dh, du], -1), self.last.weight)
        return features, torch.cat([torch.zeros_like(dx[..., :1]), dx, learned], -1)

    def loss(self, rows: Rows, z_NZ: Tensor) -> Tensor:
        """Mean negative log likelihood of N transitions, each weighted by its standard deviation.

        Without the weights, noisy outputs would hardly be learned (beta-NLL: Seitzer et al., 2022, beta = 0.5).
        """
        features = self.features(z_NZ).unsqueeze(-1)
        total = z_NZ.new_zeros(())
        for part, (x, y) in zip(self.parts, rows, strict=True):
            basis, log_precision = part(x)
            error = part.scaled(y) - (basis @ features).squeeze(-1)
            nll = 0.5 * (error.square() * log_precision.exp() - log_precision) * part.fits(y)
            total = total + (nll * (-0.5 * log_precision.detach()).exp()).mean(0).sum()
        return total

    def nothing(self, sets: int) -> Statistics:
        """The sums over no transitions, for ``sets`` sets."""
        k, device = self.width, self.angle_Z.device
        return Statistics(
            torch.zeros(sets, k, k, device=device),
            torch.zeros(sets, k, device=device),
            torch.zeros(sets, device=device),
        )

    @torch.no_grad()
    def read(self, rows: Rows, mask_BN: Tensor) -> Statistics:
        """The sums of B sets of N transitions; those with mask 0 are left out."""
        precision, pull, _ = self.nothing(len(mask_BN))
        for part, (x, y) in zip(self.parts, rows, strict=True):
            basis, log_precision = part(x)
            root = (0.5 * log_precision).exp() * mask_BN.unsqueeze(-1) * part.fits(y)
            basis = (basis * root.unsqueeze(-1)).flatten(1, 2)
            precision = precision + basis.mT @ basis
            pull = pull + (basis.mT @ (part.scaled(y) * root).flatten(1, 2).unsqueeze(-1)).squeeze(-1)
        return Statistics(precision, pull, mask_BN.sum(1))
