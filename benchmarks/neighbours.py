"""Two trainings side by side on one machine: steps/s of each beside those of one that is alone.

    python benchmarks/neighbours.py [--rounds 5] [--seconds 10]

CartPole with its own settings, each training a process of its own. Lone and paired runs alternate, once with the
default of one thread each and once with a thread for each core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
import torch
from common import save

from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.families import tuned
from hyperrl.storage.device import cores, keep_freed_memory, threads
from hyperrl.training.trainer import Trainer


def train(seconds: float, count: int) -> float:
    """Steps/s of the loop, measured over so many seconds with so many threads."""
    family = registry.get("cartpole")
    settings = {**tuned(family).training, "steps": 10**9}
    config = Config(family="cartpole", device="cpu", compile="off", steps=10**9).updated(settings)
    keep_freed_memory()
    with threads(count):
        trainer = Trainer(family, config)
        for _ in range(2):
            trainer.iterate()
        steps, began = trainer.steps, time.perf_counter()
        while time.perf_counter() - began < seconds:
            trainer.iterate()
        return (trainer.steps - steps) / (time.perf_counter() - began)


def side_by_side(runs: int, seconds: float, count: int) -> list[float]:
    """Steps/s of each of so many processes that train at once."""
    command = [sys.executable, __file__, "--seconds", str(seconds), "--threads", str(count)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(runs)]
    return [float(process.communicate()[0]) for process in started]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, help="train in this process, and print steps/s")
    args = parser.parse_args()
    if args.threads:
        print(train(args.seconds, args.threads))
        return
    result = {}
    for count in (1, cores()):
        lone, paired = [], []
        for _ in range(args.rounds):
            lone += side_by_side(1, args.seconds, count)
            paired += side_by_side(2, args.seconds, count)
        result[f"threads_{count}"] = {
            "lone": float(np.median(lone)),
            "paired": float(np.median(paired)),
            "worst_paired_over_lone": min(paired) / float(np.median(lone)),
        }
    print(result)
    torch.set_num_threads(1)
    save("neighbours", result)


if __name__ == "__main__":
    main()
