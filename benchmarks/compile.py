"""What compiling costs and saves: seconds until the functions of training are compiled, and time of a call of each.

    python benchmarks/compile.py [--rounds 3] [--iterations 30]

CartPole with its own settings. Each number is measured in a process of its own, eager and compiled in turn: with an
empty cache (cold), then with the cache that this left (warm). A call is one environment step of all copies, or one
minibatch's gradient; ``calls`` is after how many of both the seconds of a cold start are saved.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from common import save

from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.families import tuned
from hyperrl.storage.device import cores, keep_freed_memory, threads
from hyperrl.training.trainer import Trainer

WARM = 2
KEYS = {"": ("one_thread", "all_cores"), "one_thread": ("cold_s", "warm_s", "step_ms", "minibatch_ms", "calls")}
KEYS |= {"all_cores": KEYS["one_thread"]}


def measure(choice: str, count: int, iterations: int) -> dict[str, float]:
    """Seconds of the first iterations beyond what they take later, and ms of a step and of a minibatch."""
    keep_freed_memory()
    family = registry.get("cartpole")
    chosen = {"compile": choice, "device": "cpu", "steps": 10**9}
    config = Config(family="cartpole").updated({**tuned(family).training, **chosen})
    spent = {"collect": 0.0, "update": 0.0}
    with threads(count):
        trainer = Trainer(family, config)
        began = time.perf_counter()
        for _ in range(WARM):
            trainer.iterate()
        first = time.perf_counter() - began
        for name in spent:
            _counted(trainer, name, spent)
        began = time.perf_counter()
        for _ in range(iterations):
            trainer.iterate()
        each = (time.perf_counter() - began) / iterations
    return {
        "start_s": max(first - WARM * each, 0.0),
        "step_ms": 1e3 * spent["collect"] / iterations / config.rollout,
        "minibatch_ms": 1e3 * spent["update"] / iterations / (config.epochs * config.minibatches),
    }


def _counted(trainer: Trainer, name: str, spent: dict[str, float]) -> None:
    """Let a part of an iteration add its seconds."""
    part = getattr(trainer, name)

    def counted(*given: Any) -> Any:
        began = time.perf_counter()
        answer = part(*given)
        spent[name] += time.perf_counter() - began
        return answer

    setattr(trainer, name, counted)


def in_a_process(choice: str, count: int, iterations: int, cache: str) -> dict[str, float]:
    """``measure`` in a process of its own."""
    words = [sys.executable, __file__, "--measure", choice, str(count), "--iterations", str(iterations)]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def result(count: int, rounds: int, iterations: int) -> dict[str, Any]:
    """Medians over rounds, with so many threads."""
    cold, warm, eager = [], [], []
    for round_ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(in_a_process("on", count, iterations, folder))
            eager.append(in_a_process("off", count, iterations, folder))
            warm.append(in_a_process("on", count, iterations, folder))
        print(round_, count, cold[-1], eager[-1], warm[-1], flush=True)

    def median(runs: list[dict[str, float]], name: str) -> float:
        return float(np.median([run[name] for run in runs]))

    kinds = {"eager": eager, "compiled": [*cold, *warm]}
    times = {
        name: {kind: round(median(runs, name), 4) for kind, runs in kinds.items()}
        for name in ("step_ms", "minibatch_ms")
    }
    config = Config(family="cartpole").updated(tuned(registry.get("cartpole")).training)
    minibatches = config.epochs * config.minibatches
    saved = [time["eager"] - time["compiled"] for time in times.values()]
    each = (config.rollout * saved[0] + minibatches * saved[1]) / (config.rollout + minibatches)
    start = median(cold, "start_s")
    return {
        "cold_s": round(start, 1),
        "warm_s": round(median(warm, "start_s"), 1),
        **times,
        "calls": round(1e3 * start / each) if each > 0 else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--measure", nargs=2, metavar=("CHOICE", "THREADS"), help="in this process, and print JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], int(args.measure[1]), args.iterations)))
        return
    sizes = {"one_thread": 1, "all_cores": cores()}
    save("compile", {name: result(count, args.rounds, args.iterations) for name, count in sizes.items()}, KEYS)


if __name__ == "__main__":
    main()
