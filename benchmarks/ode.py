"""ODE-1 and ODE-2: the average evaluation reward (AER) over the published grid, several seeds and arms.

    python benchmarks/ode.py [--seeds 3] [--agents hyper concat blind]

Published for ODE-2 (Beukman et al., NeurIPS 2023, SAC, 300k steps, 16 seeds): Decision Adapter 159, concatenation 109;
the ceiling is 199.5. Theirs is another algorithm, so that the arms here compare with each other first. Each arm trains
with the family's own settings, and its checkpoint is the best on the validation variants, none of which is on the grid.
Resumable: finished runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from common import save

import hyperrl
from hyperrl.agents import ARMS
from hyperrl.envs.ode import evaluation_grid, ode1, ode2
from hyperrl.episodes import episode_returns
from hyperrl.rollout import Greedy


def main() -> None:
    parser = argparse.ArgumentParser(description="AER of every arm on ODE-1 and ODE-2.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agents", nargs="+", default=list(ARMS), choices=list(ARMS))
    args = parser.parse_args()
    result: dict[str, dict[str, dict]] = {}
    for family in (ode1, ode2):
        grid_TP = evaluation_grid(family)
        outside = np.abs(grid_TP).max(1) > family.parameters[0].train[1]
        for agent in args.agents:
            scores = []
            for seed in range(args.seeds):
                folder = Path("runs/benchmarks") / f"{family.name}-{agent}-{seed}"
                settings = {"agent": agent, "seed": seed, "device": "cpu"}
                run = hyperrl.train(family.name, run=folder, quiet=True, resume=True, encoder=False, **settings)
                act = Greedy(run.agent, family, grid_TP, torch.device("cpu"))
                scores.append(episode_returns(family, grid_TP, act, 1)[0].mean(1))  # judged episodes all start at 1
            scores_ST = np.array(scores)
            result.setdefault(family.name, {})[agent] = {
                "aer": float(scores_ST.mean()),
                "aer_of_each_seed": scores_ST.mean(1).round(2).tolist(),
                "inside_training_range": float(scores_ST[:, ~outside].mean()),
                "outside": float(scores_ST[:, outside].mean()),
                "variants": len(grid_TP),
            }
            print(family.name, agent, result[family.name][agent], flush=True)
    save("ode", result)


if __name__ == "__main__":
    main()
