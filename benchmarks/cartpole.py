"""CartPole: every one of 64 unseen variants at 475 or more, and how long that takes beside SB3 PPO on one variant.

    python benchmarks/cartpole.py [--seeds 5]

Three times for the family. `seconds` is the whole of ``hyperrl.train`` but for the encoder, as SB3 has none: set-up,
training, held-out evaluations, checkpoints and TensorBoard. `encoder_seconds` is the encoder's. `seconds_to_475` is the
meta-loop alone until each of 64 validation variants has a mean of 475 or more over 10 greedy episodes, and
`steps_to_475` the steps until then. SB3's time is its training alone, with rl-zoo's settings, in its own environment:
`make_vec_env("CartPole-v1")`, a DummyVecEnv around Gymnasium's CartPole and Monitor. It ends once the mean of 10 greedy
episodes is 475 or more. Both are checked outside the clock, on the same starts: SB3 every 2,048 steps, the family after
every iteration. A run that never gets there has null. Runs alternate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.evaluation.evaluate import evaluate
from hyperrl.experts.settings import expert_settings, greedy_returns, make_expert
from hyperrl.families import tuned
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play
from hyperrl.training.trainer import Trainer

KEYS = {
    "": ("summary", "hyperrl", "sb3"),
    "summary": (
        "seeds_with_all_64_at_475",
        "median_seconds_of_training",
        "median_seconds_of_the_encoder",
        "median_seconds_to_475_family",
        "median_seconds_to_475_sb3_one_variant",
        "ratio",
    ),
    "hyperrl": ("seed", "seconds", "encoder_seconds", "steps", "splits", "seconds_to_475", "steps_to_475"),
    "sb3": ("seed", "seconds_to_475", "steps_to_475"),
}
"""Keys of the result: of the whole, and of its parts."""
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
        if self.num_timesteps - self.checked >= CHECK_EVERY:
            self.check()
        if self.solved:
            raise StopIteration

    def _on_training_end(self) -> None:
        self.check()

    def check(self) -> None:
        """Play 10 greedy episodes outside the clock."""
        began = time.perf_counter()
        self.checked = self.num_timesteps
        self.solved = bool(np.mean(greedy_returns(self.model, self.family, self.parameters)) >= SOLVED)
        self.outside += time.perf_counter() - began


def sb3(seed: int) -> dict[str, Any]:
    """Time and steps until SB3 PPO solves Gymnasium's CartPole-v1, the default variant."""
    family = registry.get("cartpole")
    settings = expert_settings(family)
    env = make_vec_env("CartPole-v1", settings["n_envs"], seed)
    model = make_expert(family, family.defaults, settings, seed, env)
    callback = UntilSolved(family, family.defaults)
    began = time.perf_counter()
    with suppress(StopIteration):
        model.learn(settings["total_timesteps"], callback=callback)
    seconds = time.perf_counter() - began - callback.outside
    return {
        "seed": seed,
        "seconds_to_475": seconds if callback.solved else None,
        "steps_to_475": model.num_timesteps if callback.solved else None,
    }


def family_to_475(seed: int) -> dict[str, Any]:
    """Time and steps of the meta-loop until every validation variant is solved."""
    family = registry.get("cartpole")
    trainer = Trainer(family, Config(family="cartpole", seed=seed, device="cpu").updated(tuned(family).training))
    validation_TP, seconds = family.variants("validation", 64), 0.0
    while trainer.iteration < trainer.config.iterations:
        began = time.perf_counter()
        trainer.iterate()
        seconds += time.perf_counter() - began
        played = play(family, validation_TP, AgentActor(trainer.agent, family), 10)
        if played.returns_TE.mean(1).min() >= SOLVED:
            return {"seconds_to_475": seconds, "steps_to_475": trainer.steps}
    return {"seconds_to_475": None, "steps_to_475": None}


def family_run(seed: int, folder: Path) -> dict[str, Any]:
    """Time of one training, and what it gives on every split."""
    began = time.perf_counter()
    run = hyperrl.train("cartpole", seed=seed, run=folder / str(seed), device="cpu", quiet=True, encoder=False)
    seconds = time.perf_counter() - began
    assert run.encoder  # trained here
    encoder_seconds = time.perf_counter() - began - seconds
    splits = {}
    for split in ("interpolation", "extrapolation", "combination"):
        with warnings.catch_warnings(action="ignore"):  # extrapolation lies outside the training ranges by definition
            means = evaluate(run, split).means_T
        splits[split] = {
            "mean": float(means.mean()),
            "worst": float(means.min()),
            "variants_at_475": int((means >= SOLVED).sum()),
        }
    times = {"seconds": seconds, "encoder_seconds": encoder_seconds}
    return {"seed": seed, **times, "steps": run.steps, "splits": splits} | family_to_475(seed)


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
    family_times = [run["seconds_to_475"] or np.inf for run in families]
    single_times = [run["seconds_to_475"] or np.inf for run in singles]
    summary = {
        "seeds_with_all_64_at_475": sum(run["splits"]["interpolation"]["variants_at_475"] == 64 for run in families),
        "median_seconds_of_training": float(np.median([run["seconds"] for run in families])),
        "median_seconds_of_the_encoder": float(np.median([run["encoder_seconds"] for run in families])),
        "median_seconds_to_475_family": float(np.median(family_times)),
        "median_seconds_to_475_sb3_one_variant": float(np.median(single_times)),
        "ratio": float(np.median(family_times) / np.median(single_times)),
    }
    print(summary)
    save("cartpole", {"summary": summary, "hyperrl": families, "sb3": singles}, KEYS)


if __name__ == "__main__":
    main()
