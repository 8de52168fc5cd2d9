"""The encoder on plants whose posterior is known, and by what a set of transitions must satisfy."""

import math

import pytest
import torch

from hyperrl.agents.encoder import Coordinate
from hyperrl.agents.encoder.network import OUTPUTS, Part
from hyperrl.agents.encoder.posterior import EDGE, TransitionEncoder


def build(angles=(False, True), parts=((3, 2), (5, 1))):
    """An encoder of random weights, and transitions that fit it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    encoder = TransitionEncoder(parts, [Coordinate(angle=angle) for angle in angles]).requires_grad_(False)
    rows = [
        (torch.randn((4, 6, i), generator=generator), torch.randn((4, 6, y), generator=generator)) for i, y in parts
    ]
    return encoder, rows


def test_slopes_are_the_derivatives_of_the_features():
    encoder, _ = build((False, True, False))
    z = torch.tensor([0.3, -2.0, 0.8])
    features, slopes = encoder.features_and_slopes(z)
    torch.testing.assert_close(features, encoder.features(z))
    torch.testing.assert_close(slopes.mT, torch.autograd.functional.jacobian(encoder.features, z))


def test_the_order_of_transitions_does_not_matter():
    encoder, rows = build()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    one = encoder.read(rows, torch.ones(4, 6))
    other = encoder.read([(x[:, order], y[:, order]) for x, y in rows], torch.ones(4, 6))
    for mine, its in zip(one, other, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


def test_reading_in_pieces_is_reading_at_once():
    encoder, rows = build()
    whole = encoder.read(rows, torch.ones(4, 6))
    first = encoder.read([(x[:, :2], y[:, :2]) for x, y in rows], torch.ones(4, 2))
    rest = encoder.read([(x[:, 2:], y[:, 2:]) for x, y in rows], torch.ones(4, 4))
    for mine, its in zip(whole, first.plus(rest), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


def test_what_the_mask_leaves_out_says_nothing():
    encoder, rows = build()
    mask = torch.ones(4, 6)
    mask[:, 3:] = 0
    changed = [(x.clone(), y.clone()) for x, y in rows]
    for x, y in changed:
        x[:, 3:], y[:, 3:] = 7, -7
    one = encoder.posterior(encoder.read(rows, mask))
    other = encoder.posterior(encoder.read(changed, mask))
    torch.testing.assert_close(one.mean_BZ, other.mean_BZ)
    torch.testing.assert_close(one.std_BZ, other.std_BZ)


def test_without_transitions_the_posterior_is_the_prior():
    encoder, _ = build((False, False))
    posterior = encoder.posterior(encoder.nothing(3))
    torch.testing.assert_close(posterior.weight_BM.sum(1), torch.ones(3))
    # uniform on [-1, 1] with half a Gaussian on either side
    edge = EDGE * math.sqrt(math.pi / 2)  # mass of one edge where the middle has 2
    variance = (2 / 3 + 2 * (edge * (1 + EDGE**2) + 2 * EDGE**2)) / (2 + 2 * edge)
    assert posterior.mean_BZ.abs().max() < 0.05
    torch.testing.assert_close(posterior.std_BZ, torch.full((3, 2), variance**0.5), rtol=0.05, atol=0.0)


def test_a_linear_gaussian_plant_has_the_posterior_of_its_normal_equations():
    """Outputs x * z0 + noise of known precision: ordinary least squares says what must come out."""
    encoder, _ = build((False,), ((1, 1),))
    encoder.certainty_KK.copy_(1e9 * torch.eye(len(encoder.certainty_KK)))
    generator = torch.Generator().manual_seed(3)
    x, z, sigma = torch.randn((5, 20, 1), generator=generator), torch.linspace(-0.8, 0.8, 5), 0.2
    y = x * z.view(5, 1, 1) + sigma * torch.randn((5, 20, 1), generator=generator)

    class Known(torch.nn.Module):
        shape = (1, len(encoder.certainty_KK))

        def forward(self, x):
            basis = torch.zeros((*x.shape[:-1], *self.shape))
            basis[..., 0, 1] = x[..., 0]  # the first feature is constant, the second the coordinate
            return basis, torch.full_like(x, -2 * math.log(sigma))

        def scaled(self, y):
            return y

        def fits(self, y):
            return torch.ones_like(y)

    encoder.parts[0] = Known()
    posterior = encoder.posterior(encoder.read([(x, y)], torch.ones(5, 20)))
    squares = x.square().sum((1, 2))
    torch.testing.assert_close(posterior.mean_BZ[:, 0], (x * y).sum((1, 2)) / squares, rtol=0.0, atol=0.01)
    torch.testing.assert_close(posterior.std_BZ[:, 0], sigma / squares.sqrt(), rtol=0.15, atol=0.0)


def test_two_far_modes_are_both_kept():
    """Where only cos z is seen, z and -z are equally likely."""
    encoder, _ = build((True,), ((1, 1),))
    k = len(encoder.certainty_KK)
    precision, pull = torch.zeros(1, k, k), torch.zeros(1, k)
    precision[0, 1, 1], pull[0, 1] = 400.0, 400.0 * math.cos(1.2)
    encoder.certainty_KK.copy_(1e9 * torch.eye(k))
    posterior = encoder.posterior(encoder.nothing(1)._replace(precision_BKK=precision, pull_BK=pull))
    positive = posterior.weight_BM[posterior.draws_BMZ[..., 0].remainder(2 * math.pi) < math.pi].sum()
    assert 0.35 < positive < 0.65
    cos = (posterior.weight_BM * posterior.draws_BMZ[..., 0].cos()).sum()
    assert cos == pytest.approx(math.cos(1.2), abs=0.03)


def test_of_many_outputs_some_directions_are_read():
    encoder, rows = build((False,), ((3, 2 * OUTPUTS),))
    assert encoder.parts[0](rows[0][0])[0].shape[-2] == OUTPUTS
    assert encoder.posterior(encoder.read(rows, torch.ones(4, 6))).mean_BZ.isfinite().all()


def test_correcting_makes_an_encoder_less_sure_where_its_features_are_wrong():
    encoder, _ = build((False,), ((1, 1),))
    k, generator = len(encoder.certainty_KK), torch.Generator().manual_seed(4)
    z = 2 * torch.rand((200, 1), generator=generator) - 1
    precision = torch.zeros(200, k, k)
    precision[:, 1, 1] = 1e4
    wrong = z[:, 0] + 0.1 * torch.randn(200, generator=generator)
    pull = torch.zeros(200, k)
    pull[:, 1] = 1e4 * wrong
    statistics = encoder.nothing(200)._replace(precision_BKK=precision, pull_BK=pull)
    assert encoder.posterior(statistics).std_BZ.mean() < 0.03
    encoder.correct(statistics, z)
    assert 0.08 < encoder.posterior(statistics).std_BZ.mean() < 0.16


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
def test_units_of_transitions_do_not_matter(unit):
    torch.manual_seed(0)
    part = Part(3, 2, 4, 8)
    x, y = torch.randn(200, 3) + 1, torch.randn(200, 2) - 1
    part.set_scales(x, y)
    expected = (*part(x), part.scaled(y))
    part.set_scales(x * unit, y * unit)
    for found, known in zip((*part(x * unit), part.scaled(y * unit)), expected, strict=True):
        torch.testing.assert_close(found, known)
