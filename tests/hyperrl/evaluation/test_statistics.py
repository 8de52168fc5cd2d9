"""The statistics against hand-computed numbers, naive loops, and what they promise."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyperrl.evaluation.statistics import (
    improvement,
    interval,
    interval_ends,
    iqm,
    spearman,
    student_t_quantile,
    worst_tenth,
    worst_tenth_of_variants,
)

THESE, FAMILY = ("seeds", "starts"), ("seeds", "variants", "starts")

finite = st.floats(-1e6, 1e6)
tables = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite)
crossed = hnp.arrays(np.float64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.floats(-1e3, 1e3))


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


def test_worst_tenth_of_variants_is_that_of_their_means():
    tables_NRTE = np.random.default_rng(0).normal(size=(4, 3, 25, 2))
    expected = [worst_tenth(table_RTE.mean((0, 2))) for table_RTE in tables_NRTE]
    np.testing.assert_allclose(worst_tenth_of_variants(tables_NRTE, axis=(1, 2, 3)), expected)
    tables_NRTE[2, 0, 7, 1] = np.nan
    np.testing.assert_array_equal(
        np.isnan(worst_tenth_of_variants(tables_NRTE, axis=(1, 2, 3))), [False, False, True, False]
    )


# ---- Student's t


@pytest.mark.parametrize(
    ("probability", "df", "expected"),
    [  # tables of the NIST/SEMATECH handbook and, to more digits, R's qt
        (0.975, 1, 12.706204736),
        (0.975, 2, 4.302652730),
        (0.975, 3, 3.182446305),
        (0.975, 4, 2.776445105),
        (0.975, 9, 2.262157163),
        (0.975, 10, 2.228138852),
        (0.975, 30, 2.042272456),
        (0.975, 63, 1.998340543),
        (0.975, 1000, 1.962339081),
        (0.95, 5, 2.015048373),
        (0.995, 8, 3.355387331),
        (0.75, 1, 1.0),
        (0.5, 7, 0.0),
        (0.025, 4, -2.776445105),
    ],
)
def test_t_quantile_is_the_table(probability, df, expected):
    assert student_t_quantile(probability, df) == pytest.approx(expected, abs=1e-8)


def test_t_quantile_falls_to_the_normal_one():
    quantiles = [student_t_quantile(0.975, df) for df in (1, 2, 3, 4, 5, 6, 7, 10, 11, 100, 101, 10_000)]
    assert quantiles == sorted(quantiles, reverse=True)
    assert student_t_quantile(0.975, 100_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-4)


@pytest.mark.parametrize(("probability", "df"), [(0.0, 3), (1.0, 3), (0.9, 0), (0.9, 2.5)])
def test_no_t_quantile(probability, df):
    with pytest.raises(ValueError, match="a whole number above 0"):
        student_t_quantile(probability, df)


# ---- intervals by hand


def test_seeds_alone_are_a_t_interval():
    """1, 3, 5: mean 3, variance 4, so that half = t(2) sqrt(4 / 3); they are not skewed."""
    found = interval(np.array([1.0, 3.0, 5.0]).reshape(3, 1, 1), np.mean, over=("seeds",))
    half = 4.302652730 * np.sqrt(4 / 3)
    assert found.ends == pytest.approx((3 - half, 3 + half))


def test_half_widths_of_seeds_and_starts_add_in_squares():
    """Seeds 0, 2, 4 (variance 4) and starts 0, 3 (variance 4.5), without noise; variants are held."""
    returns_RTE = np.array([0.0, 2.0, 4.0])[:, None, None] + np.array([0.0, 100.0])[:, None] + np.array([0.0, 3.0])
    half = np.sqrt(4.302652730**2 * 4 / 3 + 12.706204736**2 * 4.5 / 2)
    assert interval(returns_RTE, np.mean).ends == pytest.approx((53.5 - half, 53.5 + half))


def test_variants_count_where_the_claim_is_about_the_family():
    """Variants 0, 100 (variance 5000)."""
    returns_RTE = np.array([0.0, 2.0, 4.0])[:, None, None] + np.array([0.0, 100.0])[:, None]
    half = np.sqrt(4.302652730**2 * 4 / 3 + 12.706204736**2 * 5000 / 2)
    assert interval(returns_RTE, np.mean, FAMILY).ends == pytest.approx((52 - half, 52 + half))
    assert interval(returns_RTE, np.mean, ("variants", "seeds")).ends == pytest.approx((52 - half, 52 + half))


def test_the_end_on_the_side_of_the_long_tail_moves_out():
    """0, 0, 3: mean 1, variance 3, third moment (-1 - 1 + 8) / 3 = 2: skew = (1 + 2 z^2) / 6 (2 / 9) / (3 / 3)."""
    returns_RTE = np.array([0.0, 0.0, 3.0]).reshape(1, 1, 3)
    half, z = 4.302652730, NormalDist().inv_cdf(0.975)
    moved = (1 + 2 * z**2) / 6 * 2 / 9
    assert interval(returns_RTE, np.mean, ("starts",)).ends == pytest.approx((1 - half, 1 + half + moved))
    assert interval(-returns_RTE, np.mean, ("starts",)).ends == pytest.approx((-1 - half - moved, -1 + half))


@pytest.mark.parametrize("statistic", [iqm, np.mean, worst_tenth_of_variants])
def test_interval_is_a_naive_loop(statistic):
    returns_RTE = np.random.default_rng(1).exponential(size=(4, 6, 5))

    def of(rows):
        return float(statistic(np.array(rows)[None], axis=(1, 2, 3))[0])

    half2 = variance = third = 0.0
    for axis, n in ((0, 4), (2, 5)):
        table = np.moveaxis(returns_RTE, axis, 0)
        left_out = [of(np.moveaxis(np.array([table[j] for j in range(n) if j != i]), 0, axis)) for i in range(n)]
        mean = sum(left_out) / n
        influences = [(n - 1) * (mean - value) for value in left_out]
        part = sum(x**2 for x in influences) / (n * (n - 1))
        half2 += student_t_quantile(0.95, n - 1) ** 2 * part
        variance += part
        third += sum(x**3 for x in influences) / n**3
    skew = (1 + 2 * NormalDist().inv_cdf(0.95) ** 2) / 6 * third / variance
    low = of(returns_RTE) - np.sqrt(half2) + min(skew, 0)
    high = of(returns_RTE) + np.sqrt(half2) + max(skew, 0)
    assert interval(returns_RTE, statistic, confidence=0.9).ends == pytest.approx((low, high))


# ---- what an interval is about


@pytest.mark.parametrize(
    ("shape", "over", "about", "method"),
    [
        ((5, 64, 10), THESE, "agents of any seed, on these 64 variants, from any start", "5 seeds and 10 starts"),
        (
            (5, 64, 10),
            FAMILY,
            "agents of any seed, on any variant of the family, from any start",
            "5 seeds and 64 variants and 10 starts",
        ),
        ((1, 64, 10), THESE, "this agent, on these 64 variants, from any start", "10 starts"),
        ((1, 1, 10), FAMILY, "this agent, on this variant, from any start", "10 starts"),
        ((5, 8, 1), THESE, "agents of any seed, on these 8 variants, from these starts", "5 seeds"),
        ((5, 8, 3), ("starts",), "these 5 agents, on these 8 variants, from any start", "3 starts"),
        ((1, 8, 1), ("variants",), "this agent, on any variant of the family, from these starts", "8 variants"),
    ],
)
def test_interval_says_what_it_is_about(shape, over, about, method):
    found = interval(np.random.default_rng(0).normal(size=shape), over=over)
    assert found.about == about
    assert found.method == f"t interval; each of {method} left out in turn"


@pytest.mark.parametrize(
    ("shape", "over"), [((1, 64, 10), ("seeds",)), ((1, 64, 1), THESE), ((1, 1, 1), FAMILY), ((5, 1, 2), ("variants",))]
)
def test_one_row_has_no_interval(shape, over):
    assert interval(np.ones(shape), over=over) is None
    low_N, high_N = interval_ends(np.ones((3, *shape)), over=over)
    assert np.isnan([low_N, high_N]).all()


def test_a_variant_that_is_not_resampled_moves_nothing():
    """Returns that differ between variants only: an exact claim about these, a wide one about the family."""
    returns_RTE = np.tile(np.array([0.0, 100.0, 250.0, 500.0])[:, None], (5, 1, 3))
    assert interval(returns_RTE).ends == pytest.approx((175.0, 175.0))
    family = interval(returns_RTE, over=FAMILY)
    assert family.high - family.low > 300


def test_paired_arms_are_compared_by_their_difference():
    """Seeds and starts that are hard for both arms leave the difference alone."""
    rng = np.random.default_rng(0)
    shared_RTE = 50 * rng.normal(size=(5, 1, 1)) + 50 * rng.normal(size=(1, 1, 10))
    a_RTE, b_RTE = (shared_RTE + gain + rng.normal(size=(5, 16, 10)) for gain in (3.0, 0.0))
    difference = interval(a_RTE - b_RTE, np.mean)
    assert 2 < difference.low < 3 < difference.high < 4
    assert interval(a_RTE, np.mean).low < interval(b_RTE, np.mean).high


# ---- properties


@settings(deadline=None, max_examples=50)
@given(crossed, st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3), st.floats(-1e3, 1e3))
def test_interval_follows_units(returns_RTE, scale, shift):
    """The interval of a x + b is that of x, scaled and shifted; a negative scale swaps the ends."""
    for statistic in (np.mean, iqm):
        before = interval(returns_RTE, statistic)
        if before is None:
            continue
        ends = sorted(scale * end + shift for end in before.ends)
        assert interval(scale * returns_RTE + shift, statistic).ends == pytest.approx(ends, rel=1e-6, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(crossed, st.randoms(use_true_random=False))
def test_interval_is_ordered_nested_and_blind_to_the_order_of_rows(returns_RTE, random):
    found = interval(returns_RTE, np.mean, FAMILY)
    if found is None:
        return
    narrow = interval(returns_RTE, np.mean, FAMILY, confidence=0.5)
    assert found.low - 1e-6 <= narrow.low <= returns_RTE.mean() + 1e-6
    assert returns_RTE.mean() - 1e-6 <= narrow.high <= found.high + 1e-6
    orders = [random.sample(range(n), n) for n in returns_RTE.shape]
    again = interval(returns_RTE[np.ix_(*orders)], np.mean, FAMILY)
    assert again.ends == pytest.approx(found.ends, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("over", [THESE, FAMILY])
def test_many_tables_at_once_are_each_alone(over):
    tables_NRTE = np.random.default_rng(2).exponential(size=(7, 3, 5, 4))
    low_N, high_N = interval_ends(tables_NRTE, iqm, over)
    alone = [interval(table_RTE, iqm, over).ends for table_RTE in tables_NRTE]
    np.testing.assert_allclose(np.stack([low_N, high_N], axis=1), alone, rtol=1e-12)


def test_nan_is_in_the_ends():
    returns_RTE = np.ones((3, 4, 5))
    returns_RTE[0, 0, 0] = np.nan
    assert np.isnan(interval(returns_RTE).ends).all()


@settings(deadline=None)
@given(finite, st.integers(1, 6), st.integers(1, 6))
def test_constant_scores_have_no_spread(value, runs, variants):
    table = np.full((runs, variants), value)
    assert iqm(table) == pytest.approx(value)
    assert worst_tenth(table[0]) == pytest.approx(value)
    if runs > 1:
        found = interval(table[..., None])
        assert found.ends == pytest.approx((value, value), rel=1e-9, abs=1e-9)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="at least one score"):
        iqm(np.array([]))
    with pytest.raises(ValueError, match="at least one variant"):
        worst_tenth(np.array([]))
    with pytest.raises(ValueError, match=r"\(3, 2\): must be \(seeds, variants, starts\)"):
        interval(np.ones((3, 2)))
    with pytest.raises(ValueError, match="none of them 0"):
        interval(np.ones((3, 0, 2)))
    with pytest.raises(ValueError, match="confidence=95"):
        interval(np.ones((2, 2, 2)), confidence=95)
    for over in ((), "seeds", ("seeds", "seeds"), ("episodes",)):
        with pytest.raises(ValueError, match="one or more of seeds, variants, starts"):
            interval(np.ones((2, 2, 2)), over=over)


# ---- probability of improvement


def test_improvement_by_hand():
    """Two seeds of a against one of b. Variant 0: 3 > 2, 2 = 2; variant 1: 0 < 1, 5 > 1. So (1 + 0.5 + 0 + 1) / 4."""
    a_RTE = np.array([[3.0, 0.0], [2.0, 5.0]])[..., None]
    b_RTE = np.array([[2.0, 1.0]])[..., None]
    assert improvement(a_RTE, b_RTE) == (0.625, None)
    assert improvement(b_RTE, a_RTE) == (0.375, None)


def test_improvement_is_a_loop_over_seeds_and_variants():
    rng = np.random.default_rng(0)
    a_RTE, b_RTE = rng.integers(0, 3, (4, 6, 2)), rng.integers(0, 3, (3, 6, 2))
    wins = []
    for a_TE, b_TE, t in itertools.product(a_RTE, b_RTE, range(6)):
        difference = a_TE[t].mean() - b_TE[t].mean()
        wins.append(0.5 if difference == 0 else float(difference > 0))
    probability, (low, high) = improvement(a_RTE, b_RTE)
    assert probability == pytest.approx(np.mean(wins))
    other, ends = improvement(b_RTE, a_RTE)
    assert other == pytest.approx(1 - probability)
    assert ends == pytest.approx((1 - high, 1 - low))
    assert 0 <= low < probability < high <= 1


def test_the_interval_of_an_arm_that_always_wins():
    """Of 7 x 7 seeds; with one of b that always wins, 7 of 8 columns are 1 and one is 0, and the rows are alike."""
    a_RTE, b_RTE = np.ones((7, 5, 2)), np.zeros((7, 5, 2))
    columns = np.array([1.0] * 7 + [0.0])
    half = 2.364624252 * np.sqrt(columns.var(ddof=1) / 8)
    probability, ends = improvement(a_RTE, b_RTE)
    assert probability == 1
    assert ends == pytest.approx((7 / 8 - half, 1.0))


def test_starts_count_in_the_interval_of_an_improvement():
    """Seeds are alike, so that only the starts vary: wins turn where one is left out."""
    a_TE, b_TE = np.array([[4.0, 0.0, 0.0]]), np.array([[1.0, 1.0, 1.0]])
    _, same = improvement(np.stack([b_TE] * 9), np.stack([b_TE] * 9))
    _, ends = improvement(np.stack([a_TE] * 9), np.stack([b_TE] * 9))
    assert 0 < same[0] < same[1] < 1
    assert ends == (0, 1)


@pytest.mark.parametrize(("seeds", "told_apart"), [(3, False), (5, False), (6, True), (10, True)])
def test_an_arm_that_always_wins_needs_six_seeds(seeds, told_apart):
    probability, (low, high) = improvement(np.ones((seeds, 4, 3)), np.zeros((seeds, 4, 3)))
    assert (probability, high) == (1, 1)
    assert (low > 0.5) == told_apart


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("a", "b"), [(0.95, 0.8), (1, 0.9), (0.9, 0.9), (0.5, 0.9), (0.98, 0.98)])
def test_interval_of_an_improvement_covers_where_seeds_learn_or_fail(a, b, seeds):
    """Seeds reach the same return with a probability or fail: many tables hold nothing but ties."""
    rng = np.random.default_rng(11)
    truth = a * (1 - b) + 0.5 * (a * b + (1 - a) * (1 - b))

    def drawn(share):
        return np.broadcast_to((rng.random((seeds, 1, 1)) < share).astype(float), (seeds, 4, 3))

    ends = np.array([improvement(drawn(a), drawn(b))[1] for _ in range(300)])
    assert np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) >= 0.93


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 3.0, "by variant"])
def test_interval_of_an_improvement_covers(seeds, shift):
    """Effects of seeds, of seed and variant, and of starts beside the noise: at least 93 of 100, of 300."""
    rng, variants, starts = np.random.default_rng(7), 16, 10
    shift_T1 = np.linspace(-1, 3, variants)[:, None] if shift == "by variant" else np.full((variants, 1), shift)

    def drawn(count):
        start_TE = rng.normal(size=(variants, starts))
        tables = [
            rng.normal(size=(count, 1, 1))
            + 0.5 * rng.normal(size=(count, variants, 1))
            + start_TE
            + rng.normal(size=(count, variants, starts))
            for _ in range(2)
        ]
        return tables[0] + shift_T1, tables[1]

    truth = np.mean([improvement(*drawn(50))[0] for _ in range(40)])
    ends = np.array([improvement(*drawn(seeds))[1] for _ in range(300)])
    assert np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) >= 0.93


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 5)), ((2, 3, 4), (2, 2, 4)), ((2, 3, 4), (0, 3, 4))])
def test_tables_of_an_improvement_share_variants_and_starts(shapes):
    with pytest.raises(ValueError, match="must be"):
        improvement(*map(np.zeros, shapes))


def test_the_improvement_of_what_is_not_finite_is_not():
    a_RTE = np.zeros((2, 3, 4))
    a_RTE[0, 0, 0] = np.nan
    probability, ends = improvement(a_RTE, np.zeros((2, 3, 4)))
    assert np.isnan(probability)
    assert ends is None


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


# ---- coverage


@pytest.fixture(scope="module")
def coverage():
    """benchmarks/coverage.py, whose simulation is judged here."""
    folder = Path(__file__).parents[3] / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        spec = importlib.util.spec_from_file_location("benchmarks_coverage", folder / "coverage.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("common", None)


def cases(effects):
    return [
        pytest.param(effect, shape, claim, statistic, id=f"{effect}-{'x'.join(map(str, shape))}-{claim}-{statistic}")
        for effect, shape, claim, statistic in itertools.product(
            effects,
            ((1, 64, 10), (3, 64, 10), (5, 16, 10), (5, 64, 10), (10, 64, 10), (10, 16, 50)),
            ("these variants", "the family"),
            ("mean", "iqm"),
        )
    ]


LONG = {(3, 64, 10), (10, 64, 10)}
"""Shapes whose IQM is simulated here too; benchmarks/results/coverage.json has every case."""
QUICK = {((1, 64, 10), "these variants"), ((5, 16, 10), "these variants"), ((5, 16, 10), "the family")}


@pytest.mark.parametrize(
    ("effects", "shape", "claim", "statistic"),
    [case for case in cases(["normal", "skewed"]) if tuple(case.values[1:3]) in QUICK],
)
def test_interval_covers(coverage, effects, shape, claim, statistic):
    """Seed, start and seed x variant effects as large as the noise: at least 93 of 100 tables, of 1000."""
    assert coverage.simulated(shape, effects, claim, statistic, tables=1000)["coverage"] >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effects", "shape", "claim", "statistic"),
    [
        case
        for case in cases(["normal", "skewed"])
        if tuple(case.values[1:3]) not in QUICK and (case.values[3] == "mean" or case.values[1] in LONG)
    ],
)
def test_interval_covers_everywhere(coverage, effects, shape, claim, statistic):
    """The other shapes; and no interval is wide without need: the ratio to the best one is t(seeds - 1) / z at most."""
    found = coverage.simulated(shape, effects, claim, statistic, tables=1000)
    assert found["coverage"] >= 0.93
    assert found["width"] <= 1.1 * student_t_quantile(0.975, (shape[0] if shape[0] > 1 else shape[2]) - 1) / 1.96


def test_cells_one_by_one_do_not_cover(coverage):
    """Where a seed and a start are shared by all variants, resampling cells within a variant is far too sure."""
    rng, held = np.random.default_rng(0), {"rows": 0, "cells": 0}
    for _ in range(100):
        shared_RTE = rng.normal(size=(5, 1, 1)) + rng.normal(size=(1, 1, 10))
        returns_RTE = shared_RTE + rng.normal(size=(5, 16, 10))  # the truth is 0
        ends = {"rows": interval(returns_RTE).ends, "cells": coverage.cell_by_cell(returns_RTE, iqm, samples=200)}
        for name, (low, high) in ends.items():
            held[name] += low <= 0 <= high
    assert held["rows"] >= 93
    assert held["cells"] <= 40


def test_the_benchmark_of_coverage_is_what_its_cells_say(coverage):
    """The committed counts on real episodes, computed again from the committed cells."""
    result = json.loads((coverage.RESULTS / "coverage.json").read_text(encoding="utf-8"))
    worlds = coverage.cells(anew=False)
    for row in result["real"]:
        if row["statistic"] == "mean":
            found = coverage.real(worlds[row["family"]], row["design"], row["statistic"])
            assert {key: row[key] for key in found} == {**found, "width": pytest.approx(found["width"])}
        assert row["held"] >= 27
    for row in result["simulated"]:
        assert row["coverage"] >= (0.9 if row["effects"] == "very skewed" else 0.93)
