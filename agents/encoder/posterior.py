"""Sets of transitions -> a distribution over the parameters of their variants.

After the network is fitted, the covariance of its errors that a whole set shares is estimated; otherwise the posterior
of many transitions would be too narrow. The posterior is computed from the quadratic form: fixed draws from the prior,
Gauss-Newton steps with Levenberg-Marquardt damping from the best of them, and importance weights for draws around the
end points (a defensive mixture, Owen and Zhou, 2000). The computation is deterministic.

B sets, Z coordinates of the parameters, K features, M draws, R starts. The prior of a coordinate is uniform within
[-1, 1] with Gaussian edges beyond, or over a turn. In a gap it is 0, and each side has a probability of one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyperrl.agents.encoder.network import Statistics, TransitionNetwork

DRAWS = 256
"""Draws from the prior."""
EDGE, SHARP_EDGE = 0.25, 0.01
"""Standard deviations of the prior's edges beyond [-1, 1]: if values may lie there, and if not."""
LEAST_WIDTH = 0.01
"""Least width of either side of a gap: a coordinate that is -1 or 1 only would have sides of width 0."""
STARTS = 6
"""Number of draws from which Gauss-Newton steps start, and number of steps."""
STEPS = 4
WIDENINGS = 8
"""Largest number of times that the errors' covariance is doubled until the posterior covers the true values."""
NEAR = 24
"""Number of draws around each end point of the Gauss-Newton steps."""


class Posterior(NamedTuple):
    """Weighted draws of the coordinates, their mean and deviation."""

    draws_BMZ: Tensor
    weight_BM: Tensor
    """Sums to 1 over M."""
    mean_BZ: Tensor
    """For an angle the direction of the mean, within [-pi, pi]; for a coordinate with a gap the mean of the more
    probable side."""
    std_BZ: Tensor
    """Root of the mean squared distance from the mean."""


class Coordinate(NamedTuple):
    """Prior of a coordinate."""

    angle: bool = False
    """Whether it is an angle, in radians."""
    gap: tuple[float, float] | None = None
    """Ends of an interval within [-1, 1] without values."""
    beyond: bool = True
    """Whether values may lie beyond [-1, 1]."""


class TransitionEncoder(TransitionNetwork):
    """Sets of transitions -> a posterior over Z coordinates."""

    gap_low_Z: Tensor
    gap_high_Z: Tensor
    edge_Z: Tensor
    prior_MZ: Tensor
    noise_RMZ: Tensor
    prior_features_MK: Tensor
    certainty_KK: Tensor

    def __init__(
        self, parts: Sequence[tuple[int, int]], coordinates: Sequence[Coordinate], features: int = 48, hidden: int = 96
    ) -> None:
        """As ``TransitionNetwork``, with the prior and its fixed draws."""
        super().__init__(parts, [coordinate.angle for coordinate in coordinates], features, hidden)
        gaps = [coordinate.gap or (0.0, 0.0) for coordinate in coordinates]
        # a side of no width would have no density
        self.register_buffer("gap_low_Z", torch.tensor([low for low, _ in gaps]).clamp(min=LEAST_WIDTH - 1))
        self.register_buffer("gap_high_Z", torch.tensor([high for _, high in gaps]).clamp(max=1 - LEAST_WIDTH))
        edges = [EDGE if coordinate.beyond else SHARP_EDGE for coordinate in coordinates]
        self.register_buffer("edge_Z", torch.tensor(edges))
        self.register_buffer("prior_MZ", self._prior_draws())
        half = torch.randn((STARTS, NEAR // 2, len(self.angle_Z)), generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise_RMZ", torch.cat([half, -half], 1))
        self.register_buffer("prior_features_MK", self.features(self.prior_MZ).detach())
        self.register_buffer("certainty_KK", 1e4 * torch.eye(self.width))

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Widths (Z,) of the uniform distributions with the prior's density below and above the gap, or the middle."""
        edge_Z = self.edge_Z * math.sqrt(math.pi / 2)
        return self.gap_low_Z + 1 + edge_Z, 1 - self.gap_high_Z + edge_Z

    def _prior_draws(self) -> Tensor:
        """Evenly spread draws (M, Z) from the prior."""
        unit = torch.quasirandom.SobolEngine(len(self.angle_Z), scramble=True, seed=0).draw(DRAWS)
        v = (2 * unit - 1).clamp(-0.9999, 0.9999)
        width = torch.where(v < 0, *self._sides())
        inner = torch.where(v < 0, self.gap_low_Z + 1, 1 - self.gap_high_Z)
        reach = v.abs() * width
        """Distance of a draw from the gap if the edge were uniform too."""
        start = torch.where(v < 0, -self.gap_low_Z, self.gap_high_Z)
        tail = ((reach - inner) / (width - inner)).clamp(min=0)
        size = torch.where(reach < inner, start + reach, 1 + self.edge_Z * math.sqrt(2) * torch.erfinv(tail))
        return torch.where(self.angle_Z, math.pi * v, v.sign() * size)

    def _log_prior(self, z: Tensor) -> Tensor:
        """Log density (...) of coordinates (..., Z); minus infinity in a gap."""
        low_Z, high_Z = self._sides()
        middle_Z = (self.gap_low_Z + self.gap_high_Z) / 2
        height = torch.where(z < middle_Z, -torch.log(2 * low_Z), -torch.log(2 * high_Z))
        height = torch.where((z > self.gap_low_Z) & (z < self.gap_high_Z), -torch.inf, height)
        height = torch.where(self.angle_Z, -math.log(2 * math.pi), height)
        return (height - 0.5 * self._beyond(z).square()).sum(-1)

    @torch.no_grad()
    def correct(self, statistics: Statistics, z_BZ: Tensor, rounds: int = 20) -> None:
        """Estimate the errors that all transitions of a set share, from sets whose coordinates are known.

        Call it after the weights are trained and before ``posterior``.

        These errors do not average out over transitions; without this, many transitions would give a narrow posterior
        at a wrong place. Model: the features of a set are ``f + e`` with a Gaussian vector ``e``. Its covariance is
        estimated by expectation maximisation, as in a model with random effects (Laird and Ware, 1982), and then
        enlarged until the mean plus or minus one standard deviation of the posterior covers 68 % of the coordinates.

        Args:
            statistics: sums of B sets that were not trained on.
            z_BZ: their coordinates.
            rounds: number of expectation and maximisation steps.
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

    @torch.no_grad()
    def posterior(self, statistics: Statistics) -> Posterior:
        """The posterior of the coordinates after the transitions."""
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
        """The quadratic form with the errors of the features: precision (B, K, K) and pull (B, K)."""
        precision, pull = statistics.precision_BKK.double(), statistics.pull_BK.double().unsqueeze(-1)
        certainty = self.certainty_KK.double()
        both = certainty @ torch.linalg.solve(precision + certainty, torch.cat([precision, pull], -1))
        precision = 0.5 * (both[..., :-1] + both[..., :-1].mT)
        return precision.float(), both[..., -1].float()

    def _root(self, curve: Tensor) -> Tensor:
        """Cholesky factors (B, R, Z, Z) of curvatures plus that of the prior and a small diagonal against rounding."""
        diagonal = curve.diagonal(dim1=-2, dim2=-1)
        base = torch.where(self.angle_Z, 3 / math.pi**2, 3.0) + 3e-6 * diagonal.amax(-1, keepdim=True)
        root, failed = torch.linalg.cholesky_ex(curve + torch.diag_embed(base))
        return torch.where(failed[..., None, None] > 0, torch.diag_embed((diagonal + base).sqrt()), root)

    def _beyond(self, z: Tensor) -> Tensor:
        """Distance of coordinates (..., Z) beyond the prior's ends, in standard deviations of its edges."""
        return torch.where(self.angle_Z, 0.0, z - z.clamp(-1, 1)) / self.edge_Z

    def _energy(self, z_BMZ: Tensor, features_BMK: Tensor, form: tuple[Tensor, Tensor]) -> Tensor:
        """Negative log posterior (B, M), up to a constant."""
        precision, pull = form
        gain = (features_BMK * (0.5 * features_BMK @ precision - pull.unsqueeze(1))).sum(-1)
        return gain - self._log_prior(z_BMZ)

    def _descend(self, z: Tensor, form: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Gauss-Newton steps from starts (B, R, Z): end points, and the curvature (B, R, Z, Z) there."""
        precision, pull = form

        def local(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            features, slopes = self.features_and_slopes(z)
            curved, beyond = features @ precision, self._beyond(z)
            pull_B1K = pull.unsqueeze(1)
            energy = (features * (0.5 * curved - pull_B1K)).sum(-1) + 0.5 * beyond.square().sum(-1)
            slope = (slopes @ (curved - pull_B1K).unsqueeze(-1)).squeeze(-1) + beyond / self.edge_Z
            curve = (slopes.flatten(1, 2) @ precision).view_as(slopes) @ slopes.mT
            return energy, slope, curve + torch.diag_embed((beyond != 0) / self.edge_Z**2)

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
        """Log density (B, M) of the mixture from which the draws come: the prior, and a Gaussian around each z."""
        gap = self._turned(draws_BMZ.unsqueeze(1) - z_BRZ.unsqueeze(2))
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        near = (log_det - 0.5 * (gap @ root).square().sum(-1)).logsumexp(1)
        near = near - math.log(STARTS) - 0.5 * math.log(2 * math.pi) * len(self.angle_Z)
        share = len(self.prior_MZ) / draws_BMZ.shape[1]
        far = math.log(share) + self._log_prior(draws_BMZ)
        return torch.logaddexp(near + math.log(1 - share), far)

    def _turned(self, gap: Tensor) -> Tensor:
        """Differences (..., Z); for angles within [-pi, pi]."""
        return torch.where(self.angle_Z, torch.remainder(gap + math.pi, 2 * math.pi) - math.pi, gap)

    def _mean(self, draws_BMZ: Tensor, weight_BM: Tensor) -> Tensor:
        """Means (B, Z); for a coordinate with a gap, of its more probable side."""
        above_BMZ = (draws_BMZ > (self.gap_low_Z + self.gap_high_Z) / 2).float()
        share_B1Z = (weight_BM.unsqueeze(1) @ above_BMZ).clamp(1e-6, 1 - 1e-6)
        side_BMZ = torch.where(share_B1Z >= 0.5, above_BMZ / share_B1Z, (1 - above_BMZ) / (1 - share_B1Z))
        side_BMZ = torch.where(self.gap_low_Z < self.gap_high_Z, side_BMZ, 1.0)
        return (weight_BM.unsqueeze(2) * side_BMZ * draws_BMZ).sum(1)

    def _summary(self, draws_BMZ: Tensor, weight_BM: Tensor) -> Posterior:
        weight = weight_BM.unsqueeze(1)
        sin, cos = (weight @ draws_BMZ.sin()).squeeze(1), (weight @ draws_BMZ.cos()).squeeze(1)
        mean = torch.where(self.angle_Z, torch.atan2(sin, cos), self._mean(draws_BMZ, weight_BM))
        spread = (weight @ self._turned(draws_BMZ - mean.unsqueeze(1)).square()).squeeze(1)
        return Posterior(draws_BMZ, weight_BM, mean, spread.sqrt())
