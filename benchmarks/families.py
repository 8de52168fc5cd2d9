"""Any family: zero-shot on unseen variants over several seeds and arms, beside SB3 experts where there are any.

    hyperrl experts FAMILY --variants 8
    python benchmarks/families.py FAMILY ... [--seeds 3] [--agents hyper concat blind]

The first interpolation variants have an expert each (rl-zoo's settings), trained on that variant alone; the normalised
return is their mean (0 a random policy, 1 the expert). All variants of a split count for its mean, and for what is
solved. Resumable: finished runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import save

import hyperrl
from hyperrl.agents import ARMS
from hyperrl.config import Config
from hyperrl.evaluate import evaluate

EXPERTS = 8


def judge(name: str, agent: str, seed: int) -> dict[str, Any]:
    """Train one seed with the family's own settings and judge it on every split."""
    began = time.perf_counter()
    folder = Path("runs/benchmarks") / f"{name}-{agent}-{seed}"
    run = hyperrl.train(name, agent=agent, seed=seed, run=folder, device="cpu", quiet=True, resume=True, encoder=False)
    own = Config(family=name, agent=agent, seed=seed, device="cpu").updated(run.family.training)
    if run.config != own:
        raise SystemExit(f"{folder} was trained with other settings than the family's own; remove it")
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "seed": seed,
        "steps": run.steps,
        "seconds_if_not_resumed": seconds,
        "splits": {},
        "curves": run.curves,
    }
    for split in (split for split in run.family.splits if split != "validation"):
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


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and each seed's own numbers where one would hide a bad one."""
    normalised = [run["normalised"] for run in runs if "normalised" in run]
    return {
        "normalised_mean_over_seeds": float(np.mean(normalised)) if normalised else None,
        "normalised_median_over_seeds": [run["normalised_median"] for run in runs if "normalised" in run],
        "normalised_worst_variant": [run["normalised_worst"] for run in runs if "normalised" in run],
        **{
            f"{split}_mean": float(np.mean([run["splits"][split]["mean"] for run in runs]))
            for split in runs[0]["splits"]
        },
        "solved_share": [run["splits"]["interpolation"]["solved"] for run in runs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and judge families with their own settings.")
    parser.add_argument("families", nargs="+", metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agents", nargs="+", default=["hyper"], choices=list(ARMS))
    args = parser.parse_args()
    for name in args.families:
        for agent in args.agents:
            runs = []
            for seed in range(args.seeds):
                runs.append(judge(name, agent, seed))
                print(name, agent, {key: value for key, value in runs[-1].items() if key != "curves"}, flush=True)
            summary = summarise(runs)
            print(name, agent, summary)
            label = name if agent == Config(name).agent else f"{name}-{agent}"
            save(label, {"agent": agent, "summary": summary, "runs": runs})


if __name__ == "__main__":
    main()
