"""Collecting ahead: steps/s with and without it beside the simulator's own, and the learning curves of both.

    python benchmarks/ahead.py [half_cheetah_velocity hopper] [--rounds 5] [--seeds 3] [--steps 1e6]

Each family with its own settings. Rounds of the simulator alone (the same copies, random actions, nothing learned), of
training without and of training with it alternate in one process. Then so many seeds are trained either way; their
validation returns are saved. Resumable: finished runs in runs/benchmarks are kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import Family, registry
from hyperrl.families import tuned
from hyperrl.training.trainer import Trainer

FOLDER = Path("runs/benchmarks")
ITERATIONS = 10
CHOICES = ("off", "on")


def simulator(family: Family, config: Config, steps: int = 200) -> float:
    """Steps/s of the copies of a training, without any."""
    env = family.vector(family.variants("train", config.variants), config.copies)
    env.reset(seed=0)
    action_SN = torch.rand(steps, env.num_envs, *family.action_space.shape) * 2 - 1
    began = time.perf_counter()
    for action_N in action_SN:
        env.step(action_N)
    seconds = time.perf_counter() - began
    env.close()
    return steps * env.num_envs / seconds


def training(trainer: Trainer) -> float:
    """Steps/s of some iterations."""
    began = time.perf_counter()
    for _ in range(ITERATIONS):
        trainer.iterate()
    return ITERATIONS * trainer.config.iteration_steps / (time.perf_counter() - began)


def speeds(name: str, rounds: int) -> dict[str, Any]:
    """Medians over alternating rounds, and the ratios of the medians to the simulator's."""
    family = registry.get(name)
    settings = tuned(family).training
    trainers = {
        choice: Trainer(family, Config(family=name, device="cpu", ahead=choice).updated(settings)) for choice in CHOICES
    }
    for trainer in trainers.values():
        training(trainer)  # and compile
    found: dict[str, list[float]] = {"simulator": [], "off": [], "on": []}
    for _ in range(rounds):
        found["simulator"].append(simulator(family, trainers["off"].config))
        for choice, trainer in trainers.items():
            found[choice].append(training(trainer))
        print(name, {key: round(values[-1]) for key, values in found.items()}, flush=True)
    for trainer in trainers.values():
        trainer.close()
    median = {key: float(np.median(values)) for key, values in found.items()}
    return {
        "steps_per_second": {key: [round(value) for value in values] for key, values in found.items()},
        "over_simulator": {choice: round(median[choice] / median["simulator"], 3) for choice in CHOICES},
        "on_over_off": round(median["on"] / median["off"], 3),
    }


def learning(name: str, seeds: int, steps: int) -> dict[str, list[list[float]]]:
    """Validation returns of every seed at the points of the held-out curves."""
    found: dict[str, list[list[float]]] = {"off": [], "on": []}
    for seed in range(seeds):
        for choice, curves in found.items():
            folder = FOLDER / f"ahead-{choice}-{name}-{seed}-{steps}"
            more = {"seed": seed, "steps": steps, "ahead": choice, "device": "cpu", "encoder": False}
            run = hyperrl.train(name, run=folder, quiet=True, resume=True, **more)
            curves.append([round(value, 1) for value in run.curves["validation"]])
            print(name, seed, choice, curves[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", default=["half_cheetah_velocity", "hopper"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=float, default=1e6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {name: {"speed": speeds(name, args.rounds)} for name in args.families}
    for name in args.families:
        result[name]["learning"] = learning(name, args.seeds, int(args.steps))
    save("ahead", {"steps": int(args.steps), **result})


if __name__ == "__main__":
    main()
