"""CartPole: every one of 64 unseen variants at 475 or more, and how long that takes beside SB3 PPO on one variant.

    python benchmarks/cartpole.py [--seeds 5]

A family's time is the whole of ``hyperrl.train``: set-up, training, held-out evaluations, checkpoints and TensorBoard.
SB3's time is its training alone (rl-zoo's settings, the default variant), until the mean of 10 greedy episodes, played
every 2,048 steps outside the clock, is first 475 or more. Runs alternate, one of each a seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from stable_baselines3.common.callbacks import BaseCallback

import hyperrl
from hyperrl.envs import registry
from hyperrl.evaluate import evaluate
from hyperrl.experts import expert_settings, greedy_returns, make_expert

SOLVED = 475.0
CHECK_EVERY = 2048


class UntilSolved(BaseCallback):
    """Stops SB3 once its greedy policy is good enough; its own evaluations do not count."""

    def __init__(self, family: Any, parameters: dict[str, float]) -> None:
        super().__init__()
        self.family, self.parameters = family, parameters
        self.outside, self.checked, self.solved = 0.0, 0, False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.checked < CHECK_EVERY:
            return
        began = time.perf_counter()
        self.checked = self.num_timesteps
        self.solved = bool(np.mean(greedy_returns(self.model, self.family, self.parameters)) >= SOLVED)
        self.outside += time.perf_counter() - began
        if self.solved:
            raise StopIteration


def sb3(seed: int) -> dict[str, Any]:
    """Time and steps until SB3 PPO solves the default variant."""
    family = registry.get("cartpole")
    settings = expert_settings(family)
    model = make_expert(family, family.defaults, settings, seed)
    callback = UntilSolved(family, family.defaults)
    began = time.perf_counter()
    with suppress(StopIteration):
        model.learn(settings["total_timesteps"], callback=callback)
    seconds = time.perf_counter() - began - callback.outside
    return {"seed": seed, "seconds": seconds, "steps": model.num_timesteps, "solved": callback.solved}


def family_run(seed: int, folder: Path) -> dict[str, Any]:
    """Time of one training, and what it gives on every split."""
    began = time.perf_counter()
    run = hyperrl.train("cartpole", seed=seed, run=folder / str(seed), device="cpu", quiet=True)
    seconds = time.perf_counter() - began
    splits = {}
    for split in ("interpolation", "extrapolation", "combination"):
        means = evaluate(run, split).means_T
        splits[split] = {
            "mean": float(means.mean()),
            "worst": float(means.min()),
            "variants_at_475": int((means >= SOLVED).sum()),
        }
    return {"seed": seed, "seconds": seconds, "steps": run.steps, "splits": splits}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    families, singles = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            families.append(family_run(seed, Path(folder)))
            print(families[-1], flush=True)
            singles.append(sb3(seed))
            print(singles[-1], flush=True)
    family_seconds = float(np.median([run["seconds"] for run in families]))
    single_seconds = float(np.median([run["seconds"] for run in singles]))
    summary = {
        "seeds_with_all_64_at_475": sum(run["splits"]["interpolation"]["variants_at_475"] == 64 for run in families),
        "median_seconds_family": family_seconds,
        "median_seconds_sb3_one_variant": single_seconds,
        "ratio": family_seconds / single_seconds,
    }
    print(summary)
    save("cartpole", {"summary": summary, "hyperrl": families, "sb3": singles})


if __name__ == "__main__":
    main()
