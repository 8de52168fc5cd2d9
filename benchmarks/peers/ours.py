"""This package's training loop on the CartPole family: its own settings but for the batch, 32 variants x 8 copies."""

import argparse
import json
import time

import torch

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.families import tuned
from hyperrl.storage.device import keep_freed_memory, threads
from hyperrl.training.trainer import Trainer

WARM = 2
"""Iterations before the clock starts; the compiler works in them."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--agent", default="hyper")
    parser.add_argument("--compile", default="on")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    keep_freed_memory()
    batch = {"variants": 32, "copies": 8, "rollout": 64, "epochs": 4, "minibatches": 4, "hidden": (64, 64)}
    chosen = {
        "agent": args.agent,
        "steps": 32 * 8 * 64 * (WARM + args.iterations),
        "device": "cpu",
        "compile": args.compile,
        "threads": args.threads,
    }
    family = registry.get("cartpole")
    config = Config(family="cartpole").updated({**tuned(family).training, **batch, **chosen})
    with threads(args.threads):
        trainer = Trainer(family, config)
        began = time.perf_counter()
        for _ in range(WARM):
            trainer.iterate()
        warm = time.perf_counter()
        for _ in range(args.iterations):
            trainer.iterate()
        ended = time.perf_counter()
    iteration = (ended - warm) / args.iterations
    result = {
        "steps": args.iterations * config.iteration_steps,
        "seconds": ended - warm,
        "compile_s": max(warm - began - WARM * iteration, 0.0),
        "versions": {"hyperrl": hyperrl.__version__, "torch": torch.__version__.partition("+")[0]},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
