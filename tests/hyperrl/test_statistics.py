"""The statistics against hand-computed numbers, naive loops, and what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyperrl import statistics
from hyperrl.statistics import iqm, spearman, stratified_bootstrap, worst_tenth

finite = st.floats(-1e6, 1e6)
tables = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 3.0], 2.0),  # floor(3 / 4) = 0 is cut
        ([0.0, 2.0, 4.0, 100.0], 3.0),
        ([100.0, 5.0, 1.0, 3.0, -50.0], 3.0),  # floor(5 / 4) = 1 from either end
        ([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 1000.0]], 3.5),  # over all entries, whatever the shape
    ],
)
def test_iqm_by_hand(scores, expected):
    assert iqm(np.array(scores)) == expected
    assert isinstance(iqm(np.array(scores)), float)


def test_iqm_over_axes_is_a_loop():
    scores = np.random.default_rng(0).normal(size=(3, 7, 5))
    np.testing.assert_allclose(iqm(scores, axis=(1, 2)), [iqm(x) for x in scores], rtol=1e-12)
    np.testing.assert_allclose(iqm(scores, axis=-1), [[iqm(x) for x in rows] for rows in scores], rtol=1e-12)


def test_nan_is_never_trimmed_away():
    scores = np.array([1.0, 2.0, 3.0, np.nan])
    assert np.isnan(iqm(scores))
    assert np.isnan(worst_tenth(scores))
    np.testing.assert_array_equal(np.isnan(iqm(np.stack([scores, np.ones(4)]), axis=1)), [True, False])


@settings(deadline=None)
@given(tables)
def test_iqm_lies_between_the_quartile_neighbours_and_ignores_order(table):
    ordered = np.sort(table, axis=None)
    cut = table.size // 4
    assert ordered[cut] - 1e-6 <= iqm(table) <= ordered[-1 - cut] + 1e-6
    assert iqm(ordered[::-1]) == pytest.approx(iqm(table))


@settings(deadline=None)
@given(tables, st.floats(0, 1e6))
def test_iqm_is_monotone_and_shifts_with_its_scores(table, by):
    raised = table.copy()
    raised.flat[0] += by
    assert iqm(raised) >= iqm(table) - 1e-6
    assert iqm(table + by) == pytest.approx(iqm(table) + by, abs=1e-6)


@pytest.mark.parametrize(
    ("means", "expected"),
    [([5.0], 5.0), ([3.0, 1.0, 2.0], 1.0), (np.arange(19.0), 0.0), (np.arange(64.0)[::-1], 2.5)],  # 6 of 64
)
def test_worst_tenth_by_hand(means, expected):
    assert worst_tenth(np.array(means)) == expected


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=finite), st.floats(0, 1e6))
def test_worst_tenth_is_bounded_and_monotone(means, by):
    assert means.min() - 1e-6 <= worst_tenth(means) <= means.mean() + 1e-6
    raised = means.copy()
    raised[0] += by
    assert worst_tenth(raised) >= worst_tenth(means) - 1e-6


@pytest.mark.parametrize("reduce", [iqm, np.mean, np.median])
def test_bootstrap_is_a_naive_loop(reduce):
    scores_RT = np.random.default_rng(1).normal(size=(6, 4)) * [1, 2, 5, 10]
    rng, resampled = np.random.default_rng(3), []
    for rows_RT in rng.integers(6, size=(50, 6, 4)):
        sample = [[scores_RT[rows_RT[r, t], t] for t in range(4)] for r in range(6)]
        resampled.append(reduce(np.array(sample)))
    expected = np.quantile(resampled, [0.05, 0.95])
    found = stratified_bootstrap(scores_RT, reduce, samples=50, confidence=0.9, seed=3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bootstrap_keeps_variants_apart():
    """Rows differ only between variants, so that resampling within variants changes nothing."""
    scores_RT = np.tile([0.0, 100.0, 250.0, 500.0], (5, 1))
    assert stratified_bootstrap(scores_RT) == (175.0, 175.0)


def test_bootstrap_in_chunks_is_the_same(monkeypatch):
    scores_RT = np.random.default_rng(2).normal(size=(5, 3))
    whole = stratified_bootstrap(scores_RT, samples=101)
    monkeypatch.setattr(statistics, "CHUNK", 7 * scores_RT.size)
    assert stratified_bootstrap(scores_RT, samples=101) == whole
    monkeypatch.setattr(statistics, "CHUNK", 1)
    assert stratified_bootstrap(scores_RT, samples=101) == whole


def test_bootstrap_takes_a_statistic_of_variants():
    """The worst variant's mean: needs to see which axis is which."""

    def worst(samples_NRT, axis):
        return samples_NRT.mean(axis[0]).min(-1)

    low, high = stratified_bootstrap(np.random.default_rng(0).normal([0, 10, 20], 1, size=(30, 3)), worst)
    assert -1 < low < 0.2 < high + 0.2 < 1.2


def test_interval_covers_the_mean_as_often_as_it_says():
    """200 tables of 40 runs at 95 % and 80 %: as often as that, within three standard errors."""
    rng, covered = np.random.default_rng(0), {0.95: 0, 0.8: 0}
    for seed in range(200):
        scores_RT = rng.exponential([1.0, 2.0, 4.0], size=(40, 3))
        for confidence in covered:
            low, high = stratified_bootstrap(scores_RT, np.mean, 400, confidence, seed)
            covered[confidence] += low <= 7 / 3 <= high
    for confidence, count in covered.items():
        assert abs(count / 200 - confidence) <= 3 * np.sqrt(confidence * (1 - confidence) / 200)


@settings(deadline=None, max_examples=50)
@given(tables, st.integers(0, 9))
def test_interval_is_ordered_bounded_repeatable_and_nested(table, seed):
    low, high = stratified_bootstrap(table, samples=50, seed=seed)
    narrow_low, narrow_high = stratified_bootstrap(table, samples=50, confidence=0.5, seed=seed)
    assert table.min() - 1e-6 <= low <= narrow_low <= narrow_high <= high <= table.max() + 1e-6
    assert (low, high) == stratified_bootstrap(table, samples=50, seed=seed)


@settings(deadline=None)
@given(finite, st.integers(1, 6), st.integers(1, 6))
def test_constant_scores_have_no_spread(value, runs, variants):
    table = np.full((runs, variants), value)
    assert iqm(table) == pytest.approx(value)
    assert worst_tenth(table[0]) == pytest.approx(value)
    assert stratified_bootstrap(table, samples=20) == pytest.approx((value, value))


def test_one_run_has_no_spread():
    table = np.array([[1.0, 2.0, 4.0, 9.0]])
    assert stratified_bootstrap(table) == (3.0, 3.0)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="at least one score"):
        iqm(np.array([]))
    with pytest.raises(ValueError, match="at least one variant"):
        worst_tenth(np.array([]))
    with pytest.raises(ValueError, match=r"\(3,\): must be \(runs, variants\)"):
        stratified_bootstrap(np.ones(3))
    with pytest.raises(ValueError, match="confidence=95"):
        stratified_bootstrap(np.ones((2, 2)), confidence=95)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 25, 1000], 1.0),
        ([1, 2, 3, 4], [8, 4, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 (1 + 1) / (4 (16 - 1))
        ([1, 2, 2, 3], [1, 3, 2, 4], 4.5 / np.sqrt(4.5 * 5)),  # the two alike share rank 2.5
        ([1, 2, 3], [5, 5, 5], None),
        ([1], [1], None),
    ],
)
def test_rank_correlation_by_hand(x, y, expected):
    found = spearman(np.array(x), np.array(y))
    assert found is None if expected is None else found == pytest.approx(expected)
