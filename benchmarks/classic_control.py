"""Pendulum, Acrobot and the two mountain cars: zero-shot on unseen variants, beside SB3 experts where there are any.

    hyperrl experts pendulum --variants 8
    hyperrl experts acrobot --variants 8
    python benchmarks/classic_control.py [--seeds 3] [--families pendulum acrobot ...]

The first 8 interpolation variants have an expert each (rl-zoo's settings), trained on that variant alone; the
normalised return is their mean (0 a random policy, 1 the expert). All 64 count for what is solved. Resumable: finished
runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import save

import hyperrl
from hyperrl.config import Config
from hyperrl.evaluate import evaluate

FAMILIES = ("pendulum", "acrobot", "mountain_car_continuous", "mountain_car")
EXPERTS = 8


def judge(name: str, seed: int) -> dict[str, Any]:
    """Train one seed with the family's own settings and judge it on every split."""
    began = time.perf_counter()
    folder = Path("runs/benchmarks") / f"{name}-{seed}"
    run = hyperrl.train(name, seed=seed, run=folder, device="cpu", quiet=True, resume=True)
    own = Config(family=name, seed=seed, device="cpu").updated(run.family.training)
    if run.config != own:
        raise SystemExit(f"{folder} was trained with other settings than the family's own; remove it")
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "seed": seed,
        "steps": run.steps,
        "seconds_if_not_resumed": seconds,
        "splits": {},
    }
    for split in ("interpolation", "extrapolation", "combination"):
        means = evaluate(run, split).means_T
        result["splits"][split] = {
            "mean": float(means.mean()),
            "worst": float(means.min()),
            "solved": float((means >= run.family.solved).mean()) if run.family.solved is not None else None,
        }
    first = evaluate(run, "interpolation", variants=EXPERTS)
    known = np.isfinite(first.expert_T)
    result["experts"] = int(known.sum())
    if known.any():
        result |= {
            "normalised": float(first.normalised_T.mean()),
            "normalised_median": float(np.median(first.normalised_T)),
            "normalised_worst": float(first.normalised_T.min()),
            "normalised_each": first.normalised_T.round(3).tolist(),
            "returns": first.means_T[known].round(1).tolist(),
            "expert_returns": first.expert_T[known].round(1).tolist(),
            "random_returns": first.random_T[known].round(1).tolist(),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    args = parser.parse_args()
    for name in args.families:
        runs = []
        for seed in range(args.seeds):
            runs.append(judge(name, seed))
            print(name, runs[-1], flush=True)
        normalised = [run["normalised"] for run in runs if "normalised" in run]
        summary = {
            "normalised_mean_over_seeds": float(np.mean(normalised)) if normalised else None,
            "normalised_median_over_seeds": [run["normalised_median"] for run in runs if "normalised" in run],
            "normalised_worst_variant": [run["normalised_worst"] for run in runs if "normalised" in run],
            "interpolation_mean": float(np.mean([run["splits"]["interpolation"]["mean"] for run in runs])),
            "solved_share": [run["splits"]["interpolation"]["solved"] for run in runs],
        }
        print(name, summary)
        save(name, {"summary": summary, "runs": runs})


if __name__ == "__main__":
    main()
