"""Any family: zero-shot on unseen variants over several seeds and arms, beside SB3 experts where there are any.

    hyperrl experts FAMILY --variants 8
    python benchmarks/families.py FAMILY ... [--seeds 3] [--agents hyper concat blind]

Every agent plays 64 variants of a split, 10 greedy episodes each, from the same starts. The return of each episode is
saved in results/cells/FAMILY-AGENT.npz: `SPLIT_variants` (T, P), `SPLIT_returns` (R seeds, T, E starts), and, where the
first interpolation variants have an expert each (rl-zoo's settings, trained on that variant alone), `expert_returns`
and `random_returns` (N,) of the expert and of a random policy. results_page.py computes its tables from these.
Resumable: finished runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import SETTINGS, parameter_count, save, save_cells

import hyperrl
from hyperrl.agents import ARMS
from hyperrl.api import Run
from hyperrl.config import Config
from hyperrl.evaluation.evaluate import Evaluation, evaluate
from hyperrl.experts.cache import normalised
from hyperrl.families import tuned

EXPERTS = 8
"""First interpolation variants that are looked up in the cache of experts."""
FOLDER = Path("runs/benchmarks")
KEYS = {
    "": ("family", "agent", "seeds", "steps", "parameters", "settings", "curves", "calibration", "experts"),
    "experts": ("count", "normalised"),
}
"""Keys of the result: of the whole, and of its parts."""


def trained(name: str, agent: str, seed: int, **changes: Any) -> Run:
    """The run of one seed with the family's own settings; trained where it is not finished."""
    folder = FOLDER / f"{name}-{agent}-{seed}"
    settings = {"agent": agent, "seed": seed, "device": "cpu", **changes}
    run = hyperrl.train(name, run=folder, quiet=True, resume=True, encoder=False, **settings)
    if run.config != Config(family=name).updated({**tuned(run.family).training, **settings}):
        raise SystemExit(f"{folder} was trained with other settings than the family's own; remove it")
    return run


def judged(runs: list[Run]) -> dict[str, list[Evaluation]]:
    """Every seed on every split that nothing was picked by."""
    splits = [split for split in runs[0].family.splits if split != "validation"]
    with warnings.catch_warnings(action="ignore"):  # extrapolation lies outside the training ranges by definition
        return {split: [evaluate(run, split) for run in runs] for split in splits}


def cells_of(found: dict[str, list[Evaluation]]) -> dict[str, np.ndarray]:
    """Everything that the tables are computed from."""
    cells = {}
    for split, evaluations in found.items():
        cells[f"{split}_variants"] = evaluations[0].variants_TP
        cells[f"{split}_returns"] = np.stack([evaluation.returns_TE for evaluation in evaluations])
    first = found["interpolation"][0]
    count = int(np.isfinite(first.expert_T[:EXPERTS]).cumprod().sum())
    if count:
        cells["expert_returns"], cells["random_returns"] = first.expert_T[:count], first.random_T[:count]
    return cells


def calibration(evaluations: list[Evaluation]) -> dict[str, list[float]]:
    """What each seed's value network predicted, what was measured, and the difference over what was measured."""
    found = [evaluation.prediction.json() for evaluation in evaluations]
    return {
        "predicted": [row["predicted"] for row in found],
        "measured": [row["measured"] for row in found],
        "relative_error": [abs(row["predicted"] - row["measured"]) / abs(row["measured"]) for row in found],
    }


def normalised_RT(cells: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return of each seed on the variants that have an expert: 0 a random policy, 1 the expert."""
    if "expert_returns" not in cells:
        return None
    means_RT = cells["interpolation_returns"].mean(2)[:, : len(cells["expert_returns"])]
    return normalised(means_RT, cells["random_returns"], cells["expert_returns"])


def result_of(runs: list[Run], found: dict[str, list[Evaluation]], cells: dict[str, np.ndarray]) -> dict[str, Any]:
    """What is saved beside the cells."""
    scores_RT = normalised_RT(cells)
    return {
        "family": runs[0].family.name,
        "agent": runs[0].config.agent,
        "seeds": [run.config.seed for run in runs],
        "steps": runs[0].steps,
        "parameters": parameter_count(runs[0].agent),
        "settings": SETTINGS,
        "curves": [run.curves for run in runs],
        "calibration": {split: calibration(evaluations) for split, evaluations in found.items()},
        "experts": {
            "count": 0 if scores_RT is None else scores_RT.shape[1],
            "normalised": [] if scores_RT is None else scores_RT.tolist(),
        },
    }


def label(name: str, agent: str) -> str:
    """Name of the result's file; cartpole.json is that of cartpole.py."""
    return name if agent == Config(name).agent and name != "cartpole" else f"{name}-{agent}"


def measure(name: str, agent: str, seeds: int, **changes: Any) -> None:
    """Train and judge one arm, and write its result and its cells."""
    runs = [trained(name, agent, seed, **changes) for seed in range(seeds)]
    found = judged(runs)
    cells = cells_of(found)
    save_cells(f"{name}-{agent}", cells)
    save(label(name, agent), result_of(runs, found, cells), KEYS)
    means = {split: float(cells[f"{split}_returns"].mean()) for split in found}
    print(name, agent, {split: round(mean, 2) for split, mean in means.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and judge families with their own settings.")
    parser.add_argument("families", nargs="+", metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agents", nargs="+", default=["hyper"], choices=list(ARMS))
    args = parser.parse_args()
    for name in args.families:
        for agent in args.agents:
            measure(name, agent, args.seeds)


if __name__ == "__main__":
    main()
