"""Speed: generating one variant's weights, and the hypernetwork arm's steps/s beside the concat arm's in one loop.

    python benchmarks/speed.py [--rounds 7]

Both arms run the same meta-loop with the same settings and target networks, one iteration of each in turn.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import save

from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.families import tuned
from hyperrl.storage.device import keep_freed_memory
from hyperrl.training.trainer import Trainer

ARMS = ("hyper", "concat", "blind")
ITERATIONS = 6


def trainer(agent: str) -> Trainer:
    """A warm trainer with CartPole's tuned settings."""
    family = registry.get("cartpole")
    warm = Trainer(family, Config(family="cartpole", agent=agent, device="cpu").updated(tuned(family).training))
    for _ in range(2):
        warm.iterate()
    return warm


def generation_ms(repeats: int = 1000) -> dict[str, float]:
    """Encode one variant and generate its policy's and value network's weights, in ms a call."""
    warm = trainer("hyper")
    variant_1P = torch.tensor([list(warm.family.defaults.values())])
    seconds = []
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            warm.agent.generate(warm.family.encode(variant_1P))
            seconds.append(time.perf_counter() - began)
    return {"median": float(np.median(seconds)) * 1e3, "p99": float(np.quantile(seconds, 0.99)) * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    trainers = {agent: trainer(agent) for agent in ARMS}
    speeds: dict[str, list[float]] = {agent: [] for agent in ARMS}
    for _ in range(rounds):
        for agent, warm in trainers.items():
            began = time.perf_counter()
            for _ in range(ITERATIONS):
                warm.iterate()
            speeds[agent].append(ITERATIONS * warm.config.iteration_steps / (time.perf_counter() - began))
    parameters = {agent: sum(p.numel() for p in warm.agent.parameters()) for agent, warm in trainers.items()}
    ratios = np.array(speeds["hyper"]) / np.array(speeds["concat"])
    result = {
        "generate_one_variant_ms": generation_ms(),
        "steps_per_second": {agent: float(np.median(speed)) for agent, speed in speeds.items()},
        "hyper_over_concat": {"median": float(np.median(ratios)), "each_round": ratios.round(3).tolist()},
        "parameters": parameters,
    }
    print(result)
    save("speed", result)


if __name__ == "__main__":
    main()
