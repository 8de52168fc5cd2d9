"""Sets of transitions -> a distribution over the parameters that they were made under.

A transition is an input row and an output row, in one or more parts. The network says how the outputs depend on the
parameters as a product, ``output = basis(input) . features(parameters)`` with Gaussian noise (the branch and trunk of
DeepONet, Lu et al., 2021). So what any number of transitions say of the parameters is a quadratic form in the features:
it adds up over transitions, in any order, and never grows. The product is fitted by regression, and how far it is wrong
for a whole set is learned afterwards, so that many transitions do not make the posterior too sure.

The posterior is found from the quadratic form: fixed draws from the prior, Gauss-Newton steps with Levenberg's and
Marquardt's damping from the best of them, and importance weights for draws around where these end (a defensive mixture,
Owen and Zhou, 2000). Nothing in it is random.

B sets, N transitions of each, I inputs, Y outputs, Z coordinates of the parameters, K features, M draws, R starts.
Coordinates are about [-1, 1], or angles in radians. The prior is uniform there, with Gaussian edges beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

DRAWS = 256
"""Draws from the prior."""
EDGE = 0.25
"""Deviation of the prior beyond [-1, 1]."""
WIDTH = 2 + EDGE * math.sqrt(2 * math.pi)
"""Of a uniform distribution that is as high as the prior."""
STARTS = 6
"""Draws from which Gauss-Newton steps are made, and how many steps."""
STEPS = 4
WIDENINGS = 8
"""How often the doubt of the features may be doubled until the spread fits the errors."""
OUTPUTS = 24
"""Outputs that are read of one part at the most."""
NEAR = 24
"""Draws around each end of the Gauss-Newton steps."""

Rows = Sequence[tuple[Tensor, Tensor]]
"""For each part of a transition inputs (..., I) and outputs (..., Y)."""


class Statistics(NamedTuple):
    """What transitions say, added up; the log likelihood of features f is ``pull . f - f . precision f / 2``."""

    precision_BKK: Tensor
    pull_BK: Tensor
    count_B: Tensor
    """How many transitions."""

    def plus(self, other: Statistics) -> Statistics:
        """What both say together."""
        return Statistics(*(mine + its for mine, its in zip(self, other, strict=True)))

    def joined(self, other: Statistics) -> Statistics:
        """The sets of both, one after the other."""
        return Statistics(*(torch.cat([mine, its]) for mine, its in zip(self, other, strict=True)))


class Posterior(NamedTuple):
    """Weighted draws of the coordinates, their mean and deviation."""

    draws_BMZ: Tensor
    weight_BM: Tensor
    """Sums to 1 over M."""
    mean_BZ: Tensor
    """An angle's is the direction of the mean, within [-pi, pi]."""
    std_BZ: Tensor


class Part(nn.Module):
    """One part of the transitions: inputs (..., I) -> a basis (..., Y, K) and log precisions (..., Y) of its outputs.

    Of more outputs than ``OUTPUTS`` as many random directions are taken instead.
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

        An output's scale is half the width of its middle 68 %: a few jumps must not make all else look small.
        """
        thin = y_NY[:: -(-len(y_NY) // 10_000)]
        low, centre, high = torch.quantile(thin, torch.tensor([0.16, 0.5, 0.84], device=y_NY.device), dim=0)
        self.input_mean.copy_(x_NI.mean(0))
        self.input_std.copy_(x_NI.std(0).clamp(min=1e-6))
        self.output_mean.copy_(centre)
        self.output_std.copy_(((high - low) / 2).maximum(0.05 * y_NY.std(0)).clamp(min=1e-6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Basis (..., Y, K) and log precisions (..., Y) in the scale of ``scaled``."""
        x = ((x - self.input_mean) / self.input_std).clamp(-5, 5)
        bent, left, right = self.first(x).chunk(3, -1)
        lower = torch.cat([nn.functional.silu(bent), 0.3 * left * right], -1)
        upper = nn.functional.silu(self.second(lower))
        basis = self.basis(torch.cat([upper, lower, x], -1)).unflatten(-1, self.shape)
        return basis, self.log_precision(upper).clamp(-12, 14)

    def scaled(self, y: Tensor) -> Tensor:
        """Outputs (..., Y) of about size one."""
        y = (y - self.output_mean) / self.output_std
        return y if self.mix is None else y @ self.mix


class TransitionEncoder(nn.Module):
    """Sets of transitions -> a posterior over Z coordinates."""

    angle_Z: Tensor
    prior_MZ: Tensor
    noise_RMZ: Tensor
    turning: Tensor
    eye_ZZ: Tensor
    prior_features_MK: Tensor
    certainty_KK: Tensor

    def __init__(
        self,
        parts: Sequence[tuple[int, int]],
        angles: Sequence[bool],
        features: int = 48,
        hidden: int = 96,
    ) -> None:
        """Set up the network.

        Args:
            parts: inputs I and outputs Y of each part of a transition.
            angles: for each coordinate whether it is an angle.
            features: K.
            hidden: width of the hidden layers, even.
        """
        super().__init__()
        self.register_buffer("angle_Z", torch.tensor(list(angles)))
        self.register_buffer("prior_MZ", self._prior_draws())
        half = torch.randn((STARTS, NEAR // 2, len(self.angle_Z)), generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise_RMZ", torch.cat([half, -half], 1))
        inputs = len(self.angle_Z) + int(self.angle_Z.sum())
        self.register_buffer("turning", self.angle_Z.nonzero().flatten())
        self.register_buffer("eye_ZZ", torch.eye(len(self.angle_Z)))
        products = inputs + inputs**2
        features = max(features, inputs + 2)
        self.first = nn.Linear(products, 64)
        self.second = nn.Linear(64, 64)
        self.last = nn.Linear(64 + products, features - 1 - inputs)
        modules = nn.ModuleList([Part(i, y, features, hidden) for i, y in parts])
        self.parts: Sequence[Part] = modules  # type: ignore[assignment]  # a ModuleList does not say of what
        self.register_buffer("prior_features_MK", self.features(self.prior_MZ).detach())
        self.register_buffer("certainty_KK", 1e4 * torch.eye(features))

    def _prior_draws(self) -> Tensor:
        """Evenly spread draws (M, Z) from the prior."""
        unit = torch.quasirandom.SobolEngine(len(self.angle_Z), scramble=True, seed=0).draw(DRAWS)
        v = (2 * unit - 1).clamp(-0.9999, 0.9999)
        middle = 2 / WIDTH
        edge = 1 + EDGE * math.sqrt(2) * torch.erfinv(((v.abs() - middle) / (1 - middle)).clamp(min=0))
        return torch.where(self.angle_Z, math.pi * v, torch.where(v.abs() < middle, v / middle, v.sign() * edge))

    def features(self, z: Tensor) -> Tensor:
        """Features (..., K) of coordinates (..., Z): a constant, the coordinates, and what is learned."""
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
        """Mean negative log likelihood of N transitions, each weighted by its deviation.

        Without the weights, what is noisy would hardly be learned (beta-NLL: Seitzer et al., 2022, beta = 0.5).
        """
        features = self.features(z_NZ).unsqueeze(-1)
        total = z_NZ.new_zeros(())
        for part, (x, y) in zip(self.parts, rows, strict=True):
            basis, log_precision = part(x)
            error = part.scaled(y) - (basis @ features).squeeze(-1)
            nll = 0.5 * (error.square() * log_precision.exp() - log_precision)
            total = total + (nll * (-0.5 * log_precision.detach()).exp()).mean(0).sum()
        return total

    @torch.no_grad()
    def correct(self, statistics: Statistics, z_BZ: Tensor, rounds: int = 20) -> None:
        """Learn how far the features are wrong for a set as a whole, from sets whose coordinates are known.

        To be called once the weights are trained, before ``posterior``.

        Errors that all transitions of a set share do not average out: without this, many transitions would make the
        posterior sure of what is wrong. The features of a set are off by a Gaussian vector; its covariance is found by
        expectation maximisation, as in a model with random effects (Laird and Ware, 1982), and then widened until a
        deviation of the posterior covers 68 % of the coordinates, as it should.

        Args:
            statistics: of B sets that were not trained on.
            z_BZ: their coordinates.
            rounds: of expectation and maximisation.
        """
        precision, pull = statistics.precision_BKK.double(), statistics.pull_BK.double()
        residual_BK = pull - (precision @ self.features(z_BZ).double().unsqueeze(-1)).squeeze(-1)
        eye = torch.eye(precision.shape[1], dtype=precision.dtype, device=precision.device)
        covariance = 0.01 * eye
        for _ in range(rounds):
            left_BKK = torch.linalg.inv(precision + torch.linalg.inv(covariance))
            mean_BK = (left_BKK @ residual_BK.unsqueeze(-1)).squeeze(-1)
            covariance = left_BKK.mean(0) + mean_BK.mT @ mean_BK / len(mean_BK) + 1e-7 * eye
        self.prior_features_MK.copy_(self.features(self.prior_MZ))
        for widening in 2.0 ** torch.arange(WIDENINGS):
            self.certainty_KK.copy_(torch.linalg.inv(widening * covariance))
            posterior = self.posterior(statistics)
            if ((self._turned(posterior.mean_BZ - z_BZ).abs() < posterior.std_BZ).float().mean()) >= 0.68:
                break

    def nothing(self, sets: int) -> Statistics:
        """What no transition says, of ``sets`` sets."""
        k, device = len(self.certainty_KK), self.prior_MZ.device
        return Statistics(
            torch.zeros(sets, k, k, device=device),
            torch.zeros(sets, k, device=device),
            torch.zeros(sets, device=device),
        )

    @torch.no_grad()
    def read(self, rows: Rows, mask_BN: Tensor) -> Statistics:
        """Add up what B sets of N transitions say; where the mask is 0 there is none."""
        precision, pull, _ = self.nothing(len(mask_BN))
        for part, (x, y) in zip(self.parts, rows, strict=True):
            basis, log_precision = part(x)
            root = (0.5 * log_precision).exp() * mask_BN.unsqueeze(-1)
            basis = (basis * root.unsqueeze(-1)).flatten(1, 2)
            precision = precision + basis.mT @ basis
            pull = pull + (basis.mT @ (part.scaled(y) * root).flatten(1, 2).unsqueeze(-1)).squeeze(-1)
        return Statistics(precision, pull, mask_BN.sum(1))

    @torch.no_grad()
    def posterior(self, statistics: Statistics) -> Posterior:
        """What is believed of the coordinates after what was read."""
        form, sets = self._saturated(statistics), len(statistics.count_B)
        prior_BMZ = self.prior_MZ.expand(sets, -1, -1)
        prior_energy = self._energy(prior_BMZ, self.prior_features_MK.expand(sets, -1, -1), form)
        best = prior_energy.topk(STARTS, dim=1, largest=False).indices
        z_BRZ, curve = self._descend(prior_BMZ.gather(1, best.unsqueeze(-1).expand(-1, -1, prior_BMZ.shape[2])), form)
        root = self._root(curve)
        noise = self.noise_RMZ.mT.expand(sets, -1, -1, -1)
        near = torch.linalg.solve_triangular(root.mT, noise, upper=True).mT + z_BRZ.unsqueeze(2)
        near_BMZ = near.flatten(1, 2)
        draws = torch.cat([prior_BMZ, near_BMZ], 1)
        energy = torch.cat([prior_energy, self._energy(near_BMZ, self.features(near_BMZ), form)], 1)
        weight = (-energy - self._log_density(draws, z_BRZ, root)).softmax(1)
        return self._summary(draws, weight)

    def _saturated(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """The quadratic form, as far as the features can be trusted: precision (B, K, K) and pull (B, K)."""
        precision, pull = statistics.precision_BKK.double(), statistics.pull_BK.double().unsqueeze(-1)
        certainty = self.certainty_KK.double()
        both = certainty @ torch.linalg.solve(precision + certainty, torch.cat([precision, pull], -1))
        precision = 0.5 * (both[..., :-1] + both[..., :-1].mT)
        return precision.float(), both[..., -1].float()

    def _root(self, curve: Tensor) -> Tensor:
        """Cholesky factors (B, R, Z, Z) of curvatures, with the prior's and what rounding may have taken away."""
        diagonal = curve.diagonal(dim1=-2, dim2=-1)
        base = torch.where(self.angle_Z, 3 / math.pi**2, 3.0) + 3e-6 * diagonal.amax(-1, keepdim=True)
        root, failed = torch.linalg.cholesky_ex(curve + torch.diag_embed(base))
        return torch.where(failed[..., None, None] > 0, torch.diag_embed((diagonal + base).sqrt()), root)

    def _beyond(self, z: Tensor) -> Tensor:
        """How many deviations of the prior's edge coordinates (..., Z) lie beyond it."""
        return torch.where(self.angle_Z, 0.0, z - z.clamp(-1, 1)) / EDGE

    def _energy(self, z_BMZ: Tensor, features_BMK: Tensor, form: tuple[Tensor, Tensor]) -> Tensor:
        """Negative log posterior (B, M), up to a constant."""
        precision, pull = form
        gain = (features_BMK * (0.5 * features_BMK @ precision - pull.unsqueeze(1))).sum(-1)
        return gain + 0.5 * self._beyond(z_BMZ).square().sum(-1)

    def _descend(self, z: Tensor, form: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Gauss-Newton steps from starts (B, R, Z): where they end, and the curvature (B, R, Z, Z) there."""
        precision, pull = form

        def local(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            features, slopes = self.features_and_slopes(z)
            curved, beyond = features @ precision, self._beyond(z)
            pull_B1K = pull.unsqueeze(1)
            energy = (features * (0.5 * curved - pull_B1K)).sum(-1) + 0.5 * beyond.square().sum(-1)
            slope = (slopes @ (curved - pull_B1K).unsqueeze(-1)).squeeze(-1) + beyond / EDGE
            curve = (slopes.flatten(1, 2) @ precision).view_as(slopes) @ slopes.mT
            return energy, slope, curve + torch.diag_embed((beyond != 0) / EDGE**2)

        energy, slope, curve = local(z)
        damping = torch.full_like(energy, 1e-2)
        for _ in range(STEPS):
            damped = curve + torch.diag_embed(damping.unsqueeze(-1) * (curve.diagonal(dim1=-2, dim2=-1) + 1))
            trial = z - torch.linalg.solve(damped, slope).clamp(-0.5, 0.5)
            there = local(trial)
            better = there[0] < energy
            damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-6, 1e6)
            z = torch.where(better[..., None], trial, z)
            energy = torch.where(better, there[0], energy)
            slope = torch.where(better[..., None], there[1], slope)
            curve = torch.where(better[..., None, None], there[2], curve)
        return z, curve

    def _log_density(self, draws_BMZ: Tensor, z_BRZ: Tensor, root: Tensor) -> Tensor:
        """Log density (B, M) of the mixture that the draws come from: the prior's, and a Gaussian around each z."""
        gap = self._turned(draws_BMZ.unsqueeze(1) - z_BRZ.unsqueeze(2))
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        near = (log_det - 0.5 * (gap @ root).square().sum(-1)).logsumexp(1)
        near = near - math.log(STARTS) - 0.5 * math.log(2 * math.pi) * len(self.angle_Z)
        height = torch.where(self.angle_Z, math.log(2 * math.pi), math.log(WIDTH)).sum()
        share = len(self.prior_MZ) / draws_BMZ.shape[1]
        far = math.log(share) - height - 0.5 * self._beyond(draws_BMZ).square().sum(-1)
        return torch.logaddexp(near + math.log(1 - share), far)

    def _turned(self, gap: Tensor) -> Tensor:
        """Differences (..., Z), of angles the short way round."""
        return torch.where(self.angle_Z, torch.remainder(gap + math.pi, 2 * math.pi) - math.pi, gap)

    def _summary(self, draws_BMZ: Tensor, weight_BM: Tensor) -> Posterior:
        weight = weight_BM.unsqueeze(1)
        sin, cos = (weight @ draws_BMZ.sin()).squeeze(1), (weight @ draws_BMZ.cos()).squeeze(1)
        mean = torch.where(self.angle_Z, torch.atan2(sin, cos), (weight @ draws_BMZ).squeeze(1))
        spread = (weight @ self._turned(draws_BMZ - mean.unsqueeze(1)).square()).squeeze(1)
        return Posterior(draws_BMZ, weight_BM, mean, spread.sqrt())
