"""The prior of the encoder: no mass where no variant is, and a density that is one."""

import math

import pytest
import torch

from hyperrl.agents.encoder import Coordinate, TransitionEncoder

PARTS = [(2, 1)]


def built(*coordinates):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TransitionEncoder(PARTS, coordinates)


@pytest.mark.parametrize(
    "coordinate",
    [
        Coordinate(),
        Coordinate(beyond=False),
        Coordinate(angle=True),
        Coordinate(gap=(-0.3, 0.3)),
        Coordinate(gap=(-0.9, 0.1)),
        Coordinate(gap=(-1.0, 1.0), beyond=False),
    ],
    ids=str,
)
def test_the_prior_is_a_density_and_its_draws_follow_it(coordinate):
    encoder = built(coordinate)
    ends = (-math.pi, math.pi) if coordinate.angle else (-3.0, 3.0)
    z_N1 = torch.linspace(*ends, 600_001).unsqueeze(1)
    density_N = encoder._log_prior(z_N1).exp().double()
    cumulative_N = torch.cumulative_trapezoid(density_N, z_N1[:, 0].double())
    assert float(cumulative_N[-1]) == pytest.approx(1, abs=2e-3)
    for share in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9):
        at = float(z_N1[1:][cumulative_N >= share][0])
        drawn = float((encoder.prior_MZ[:, 0] <= at + 1e-4).float().mean())
        assert drawn == pytest.approx(share, abs=0.02)


def test_no_mass_lies_in_a_gap_and_both_sides_have_half():
    encoder = built(Coordinate(gap=(-0.3, 0.3)), Coordinate())
    posterior = encoder.posterior(encoder.nothing(1))
    inside = (posterior.draws_BMZ[0, :, 0].abs() < 0.3).float()
    assert float((posterior.weight_BM[0] * inside).sum()) == 0
    positive = (posterior.draws_BMZ[0, :, 0] > 0).float()
    assert float((posterior.weight_BM[0] * positive).sum()) == pytest.approx(0.5, abs=0.05)


def test_the_mean_of_a_coordinate_with_a_gap_is_that_of_the_likelier_side():
    encoder = built(Coordinate(gap=(-0.3, 0.3)))
    draws_BMZ = torch.tensor([[[-0.9], [-0.5], [0.6]]])
    weight_BM = torch.tensor([[0.2, 0.2, 0.6]])
    summary = encoder._summary(draws_BMZ, weight_BM)
    assert float(summary.mean_BZ) == pytest.approx(0.6)
    assert float(summary.std_BZ) == pytest.approx(math.sqrt(0.2 * 1.5**2 + 0.2 * 1.1**2), rel=1e-5)
    swapped = encoder._summary(draws_BMZ, torch.tensor([[0.4, 0.4, 0.2]]))
    assert float(swapped.mean_BZ) == pytest.approx(-0.7)


def test_an_output_that_jumps_says_nothing():
    """A bonus paid once, of thousands of deviations, leaves what the other transitions say as it is."""
    encoder = built(Coordinate())
    x_BNI, y_BNY = torch.randn(1, 50, 2), torch.randn(1, 50, 1)
    mask_BN = torch.ones(1, 50)
    mask_BN[0, 7] = 0
    without = encoder.read([(x_BNI, y_BNY)], mask_BN)
    y_BNY[0, 7] = 4e3
    told = encoder.read([(x_BNI, y_BNY)], torch.ones(1, 50))
    torch.testing.assert_close(told.pull_BK, without.pull_BK)
    torch.testing.assert_close(told.precision_BKK, without.precision_BKK)
