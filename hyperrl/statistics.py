"""Statistics of returns.

Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np

CHUNK = 2**22
"""Numbers resampled at a time: 32 MiB of scores."""


@overload
def iqm(scores: np.ndarray, axis: None = None) -> float: ...
@overload
def iqm(scores: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray: ...
def iqm(scores: np.ndarray, axis: int | tuple[int, ...] | None = None) -> Any:
    """Interquartile mean: the mean of what is left after a quarter is cut from both ends.

    Of n scores the lowest and the highest ``floor(n / 4)`` are cut, as in rliable and
    ``scipy.stats.trim_mean(scores, 0.25)``. One NaN makes the result NaN.

    Args:
        scores: any shape, at least one score.
        axis: reduce over this axis or these axes; all by default.

    Raises:
        ValueError: there are no scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    axes = tuple(range(scores.ndim)) if axis is None else tuple(np.atleast_1d(axis))
    last = np.moveaxis(scores, axes, range(-len(axes), 0))
    kept_shape = last.shape[: last.ndim - len(axes)]
    n = math.prod(last.shape[last.ndim - len(axes) :])
    if n == 0:
        raise ValueError("iqm: needs at least one score")
    flat = last.reshape(*kept_shape, n)
    kept = np.sort(flat, axis=-1)[..., n // 4 : n - n // 4].mean(-1)
    means = np.where(np.isnan(flat).any(-1), np.nan, kept)
    return float(means) if axis is None else means


def stratified_bootstrap(
    scores_RT: np.ndarray,
    statistic: Callable[..., Any] = iqm,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic; rows are resampled independently within each variant.

    The variants are strata: they stay as they are, and the interval says how far the statistic would move
    with other seeds or episodes. With one row nothing can be resampled: both ends are the statistic itself.

    Args:
        scores_RT: returns (R runs or episodes, T variants).
        statistic: ``iqm``, ``np.mean`` …, called as ``statistic(samples_NRT, axis=(1, 2))`` for (N,).
        samples: how often to resample.
        confidence: share of the resampled statistics that lies within the interval.
        seed: of the resampling.

    Returns:
        Low and high end.

    Raises:
        ValueError: ``scores_RT`` is no table with rows and columns, or the confidence is not within (0, 1).
    """
    scores_RT = np.asarray(scores_RT, dtype=np.float64)
    if scores_RT.ndim != 2 or scores_RT.size == 0:
        raise ValueError(f"scores of shape {scores_RT.shape}: must be (runs, variants), neither of them 0")
    if not 0 < confidence < 1 or samples < 1:
        raise ValueError(f"confidence={confidence}, samples={samples}: must be within (0, 1), and 1 or more")
    rng, variants_T = np.random.default_rng(seed), np.arange(scores_RT.shape[1])
    chunk = max(1, CHUNK // scores_RT.size)
    statistics = []
    for begin in range(0, samples, chunk):
        rows_NRT = rng.integers(len(scores_RT), size=(min(chunk, samples - begin), *scores_RT.shape))
        statistics.append(statistic(scores_RT[rows_NRT, variants_T], axis=(1, 2)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(statistics), [tail, 1 - tail])
    return float(low), float(high)


def spearman(x_N: np.ndarray, y_N: np.ndarray) -> float | None:
    """Rank correlation of two lists (N,), ties at their mean rank; ``None`` where either holds one value only."""

    def ranks(values_N: np.ndarray) -> np.ndarray:
        _, place_N, count = np.unique(np.asarray(values_N, dtype=np.float64), return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[place_N]

    x_N, y_N = ranks(x_N), ranks(y_N)
    return float(np.corrcoef(x_N, y_N)[0, 1]) if np.ptp(x_N) and np.ptp(y_N) else None


def worst_tenth(means_T: np.ndarray) -> float:
    """Mean of the lowest ``floor(T / 10)`` of the per-variant means (T,), at least one; NaN if any mean is.

    Raises:
        ValueError: there are no means.
    """
    means_T = np.asarray(means_T, dtype=np.float64)
    if means_T.size == 0:
        raise ValueError("worst_tenth: needs at least one variant")
    lowest = np.sort(means_T, axis=None)[: max(1, means_T.size // 10)]
    return float("nan") if np.isnan(means_T).any() else float(lowest.mean())
