"""How often the 95 % intervals of ``hyperrl.statistics.interval`` hold the truth, simulated and on real episodes.

    python benchmarks/coverage.py [--tables 1000] [--anew]

Simulated: return = variant + seed + start + seed x variant + noise. All but the variant (deviation 2) have deviation 1,
so that what cells share is as large as what each has of its own; `skewed` draws all but the variant from a gamma
distribution of shape 4 (skewness 1), `very skewed` from an exponential one (skewness 2). A claim is about these
variants or about the family. The truth of IQM is that of all cells of an endless table; with one seed, of this agent's.
`width` is the mean width over that of the best interval for a known normal distribution, 2 x 1.96 deviations of the
estimate.

Real: 20 agents a family are trained too briefly to be alike, and play 100 starts on 64 interpolation variants. These
cells (results/coverage.npz, made anew with --anew) are the whole world: seeds, starts and, where the claim is about the
family, variants are drawn from them **with replacement**, so that a draw is independent rows of a known distribution
and the truth is the statistic of all cells. `held` counts 30 draws, which are listed; `held_of_1000` is of 1000. The
same 30 draws are judged by the percentile bootstrap that resamples cells one by one within each variant
(`held_cell_by_cell`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from common import RESULTS, save

import hyperrl
from hyperrl.evaluation.statistics import interval_ends, iqm
from hyperrl.play import episodes
from hyperrl.play.actors import AgentActor

STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "iqm": iqm}
THESE, FAMILY = ("seeds", "starts"), ("seeds", "variants", "starts")
CLAIMS = {"these variants": THESE, "the family": FAMILY}

SHAPES = ((1, 64, 10), (3, 64, 10), (5, 16, 10), (5, 64, 10), (10, 64, 10), (10, 16, 50))
"""Seeds, variants, starts."""
EFFECTS: dict[str, Callable[[np.random.Generator, Any], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: (rng.gamma(4, size=shape) - 4) / 2,
    "very skewed": lambda rng, shape: rng.exponential(size=shape) - 1,
}
"""Distributions with mean 0 and deviation 1."""
VARIANTS_DEVIATION = 2.0
TRUTH = 2_000_000
"""Cells of an endless table from which the true IQM is computed."""

TRAINED = {"pendulum": 150_000, "cartpole": 40_000, "point": 80_000}
"""Family -> steps of training."""
SEEDS, VARIANTS, STARTS, START_SEED = 20, 64, 100, 40_000
DESIGNS = {
    "one agent, 10 starts": ((1, None, 10), THESE),
    "5 seeds, 10 starts": ((5, None, 10), THESE),
    "5 seeds, 16 variants, 10 starts": ((5, 16, 10), FAMILY),
}
"""What is drawn -> seeds, variants (None: all as they are) and starts of a draw, and what is resampled."""
DRAWS, MANY = 30, 1000
SCALE = {"pendulum": 1, "cartpole": 1, "point": 10}
"""The cells are saved as whole numbers of 1 / SCALE."""


def simulated(
    shape: tuple[int, int, int], effects: str, claim: str, statistic: str, tables: int, seed: int = 0
) -> dict[str, float]:
    """How many intervals of ``tables`` simulated tables hold the truth, and how wide they are."""
    rng, draw, reduce = np.random.default_rng(seed), EFFECTS[effects], STATISTICS[statistic]
    (seeds, variants, starts), family = shape, claim == "the family"
    variant_NRTE = VARIANTS_DEVIATION * rng.normal(size=(tables if family else 1, 1, variants, 1))
    seed_NRTE = draw(rng, (tables, seeds, 1, 1))
    both_NRTE = draw(rng, (tables, seeds, variants, 1))
    start_NRTE = draw(rng, (tables, 1, 1, starts))
    returns_NRTE = variant_NRTE + seed_NRTE + both_NRTE + start_NRTE + draw(rng, (tables, *shape))

    # The truth: what is resampled varies in it without end, the rest stays as it is.
    endless = draw(rng, TRUTH) + draw(rng, TRUTH)  # start and noise
    truth_N: Any
    if seeds > 1:
        endless += draw(rng, TRUTH) + draw(rng, TRUTH)
    known_NT = np.zeros((1, 1)) if family else variant_NRTE[:, 0, :, 0]
    if family:
        endless += VARIANTS_DEVIATION * rng.normal(size=TRUTH)
        endless += draw(rng, TRUTH) if seeds == 1 else 0.0  # this agent's effects on variants are drawn with them
    elif seeds == 1:
        known_NT = known_NT + both_NRTE[:, 0, :, 0]
    if statistic == "mean":
        truth_N = known_NT.mean(1)
    else:
        cells = np.quantile(endless, (np.arange(400) + 0.5) / 400)
        truth_N = np.array([iqm(known_T[:, None] + cells) for known_T in known_NT])
    truth_N = truth_N + (seed_NRTE[:, 0, 0, 0] if seeds == 1 else 0.0)

    low_N, high_N = interval_ends(returns_NRTE, reduce, CLAIMS[claim])
    error_N = reduce(returns_NRTE, axis=(1, 2, 3)) - truth_N
    return {
        "coverage": float(np.mean((low_N <= truth_N) & (truth_N <= high_N))),
        "truth_below": float(np.mean(truth_N < low_N)),
        "truth_above": float(np.mean(truth_N > high_N)),
        "width": float(np.mean(high_N - low_N) / (2 * 1.96 * error_N.std())),
    }


def cell_by_cell(returns_RTE: np.ndarray, statistic: Callable[..., Any], samples: int = 500) -> tuple[float, float]:
    """The interval that does not cover: every cell resampled by itself within its variant, 95 % percentiles."""
    cells_CT = returns_RTE.transpose(0, 2, 1).reshape(-1, returns_RTE.shape[1])
    rows_NCT = np.random.default_rng(0).integers(len(cells_CT), size=(samples, *cells_CT.shape))
    low, high = np.quantile(statistic(cells_CT[rows_NCT, np.arange(cells_CT.shape[1])], axis=(1, 2)), [0.025, 0.975])
    return float(low), float(high)


def play(family: str, seed: int) -> np.ndarray:
    """Train one agent and play every start on every variant: whole numbers (T, E), see ``SCALE``."""
    run = hyperrl.train(
        family,
        seed=seed,
        steps=TRAINED[family],
        run=f"runs/coverage/{family}-{seed}",
        device="cpu",
        resume=True,
        quiet=True,
        encoder=False,
        evaluations=1,
    )
    variants_TP = run.family.variants("interpolation", VARIANTS)
    actor = AgentActor(run.agent, run.family)
    returns_TE = episodes.play(run.family, variants_TP, actor, STARTS, START_SEED).returns_TE
    return np.rint(returns_TE * SCALE[family]).astype(np.int16)


def cells(anew: bool) -> dict[str, np.ndarray]:
    """Returns (R, T, E) of each family: the committed ones, or of agents trained now."""
    path = RESULTS / "coverage.npz"
    if anew or not path.exists():
        played = {family: np.stack([play(family, seed) for seed in range(SEEDS)]) for family in TRAINED}
        np.savez_compressed(path, **played)
    with np.load(path) as saved:
        return {family: saved[family] / SCALE[family] for family in TRAINED}


def draws(world_RTE: np.ndarray, design: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tables drawn with replacement, and the part of the world that each is about."""
    (seeds, variants, starts), _ = DESIGNS[design]
    rng, (R, T, E) = np.random.default_rng(0), world_RTE.shape
    for _ in range(count):
        r, e = rng.integers(R, size=seeds), rng.integers(E, size=starts)
        t = np.arange(T) if variants is None else rng.integers(T, size=variants)
        yield world_RTE[np.ix_(r, t, e)], world_RTE[r] if seeds == 1 else world_RTE


def real(world_RTE: np.ndarray, design: str, statistic: str) -> dict[str, Any]:
    """How many intervals of real episodes hold the truth."""
    reduce, over = STATISTICS[statistic], DESIGNS[design][1]
    tables, abouts = zip(*draws(world_RTE, design, MANY), strict=True)
    truth_N = np.array([reduce(about_RTE) for about_RTE in abouts])
    low_N, high_N = interval_ends(np.stack(tables), reduce, over)
    held_N = (low_N <= truth_N) & (truth_N <= high_N)
    old = [cell_by_cell(table_RTE, reduce) for table_RTE in tables[:DRAWS]]
    rows = [
        {
            "truth": round(truth, 2),
            "interval": [round(low, 2), round(high, 2)],
            "cell_by_cell": np.round(ends, 2).tolist(),
        }
        for truth, low, high, ends in zip(truth_N.tolist(), low_N.tolist(), high_N.tolist(), old, strict=False)
    ]
    error_N = np.array([reduce(table_RTE) for table_RTE in tables]) - truth_N
    return {
        "held": int(held_N[:DRAWS].sum()),
        "held_cell_by_cell": sum(row["cell_by_cell"][0] <= row["truth"] <= row["cell_by_cell"][1] for row in rows),
        "held_of_1000": int(held_N.sum()),
        "truth_below_of_1000": int((truth_N < low_N).sum()),
        "truth_above_of_1000": int((truth_N > high_N).sum()),
        "width": float(np.mean(high_N - low_N) / (2 * 1.96 * error_N.std())),
        "draws": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables of each kind")
    parser.add_argument("--anew", action="store_true", help="train and play again")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found_real: list[dict[str, Any]] = []
    found_simulated: list[dict[str, Any]] = []
    for family, world_RTE in cells(args.anew).items():
        for design in DESIGNS:
            for statistic in STATISTICS:
                row = {"family": family, "design": design, "statistic": statistic, **real(world_RTE, design, statistic)}
                found_real.append(row)
                counts = f"{row['held']} of 30, cell by cell {row['held_cell_by_cell']}, {row['held_of_1000']} of 1000"
                print(f"{family}, {design}, {statistic}: {counts}, width {row['width']:.2f}", flush=True)
    for effects in EFFECTS:
        for shape in SHAPES:
            for claim in CLAIMS:
                for statistic in STATISTICS:
                    found = simulated(shape, effects, claim, statistic, args.tables)
                    labels = {"effects": effects, "shape": list(shape), "claim": claim, "statistic": statistic}
                    found_simulated.append({**labels, **found})
                    print(*labels.values(), f"{found['coverage']:.3f}, width {found['width']:.2f}", flush=True)
    save(
        "coverage",
        {
            "steps": TRAINED,
            "seeds": SEEDS,
            "variants": VARIANTS,
            "starts": STARTS,
            "tables": args.tables,
            "real": found_real,
            "simulated": found_simulated,
        },
    )


if __name__ == "__main__":
    main()
