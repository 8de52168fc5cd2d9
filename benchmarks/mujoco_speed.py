"""MuJoCo's speed: environment steps/s of hyperrl's vector environment and of Gymnasium's, in turn in one process.

    OMP_NUM_THREADS=1 python benchmarks/mujoco_speed.py [--rounds 7]

Both step 256 copies with the same random actions and restart what ends: hyperrl 8 copies of each of 32 training
variants, Gymnasium 256 copies of its own task in ``make_vec(..., vectorization_mode="sync")``. A round is a stretch of
each task with one, then with the other; the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from common import save

from hyperrl.envs import registry
from hyperrl.envs.mujoco import processors

TASKS = (
    "half_cheetah",
    "hopper",
    "walker2d",
    "ant",
    "inverted_pendulum",
    "inverted_double_pendulum",
    "reacher",
    "swimmer",
)
VARIANTS, COPIES = 32, 8
SECONDS = 1.0


def steppers(name: str) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Step i of hyperrl's and of Gymnasium's vector environment, both warm."""
    family = registry.get(name)
    ours = family.vector(family.variants("train", VARIANTS), COPIES)
    # HalfCheetah's XML makes MuJoCo warn at every compilation, on screen and in a file of the working folder
    mujoco.set_mju_user_warning(lambda message: None)
    theirs = gymnasium.make_vec(family.env_id.removeprefix("hyperrl/"), ours.num_envs, vectorization_mode="sync")
    mujoco.set_mju_user_warning(None)
    space = family.action_space
    actions = np.random.default_rng(0).uniform(space.low, space.high, (16, ours.num_envs, *space.shape))
    actions = actions.astype(np.float32)
    tensors = torch.as_tensor(actions)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for i in range(len(actions)):
        ours.step(tensors[i])
        theirs.step(actions[i])
    return lambda i: ours.step(tensors[i % len(tensors)]), lambda i: theirs.step(actions[i % len(actions)])


def speed(step: Callable[[int], Any]) -> tuple[float, float]:
    """Environment steps/s over about a second, and how many processors were had meanwhile.

    Where the machine is shared, two threads may get no more of it than one: the second number tells.
    """
    began, spent, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < SECONDS:
        step(steps)
        steps += 1
    seconds = time.perf_counter() - began
    return steps * VARIANTS * COPIES / seconds, (time.process_time() - spent) / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    tasks: dict[str, Any] = {}
    for name in TASKS:
        ours, theirs = steppers(name)
        rows = np.array([(*speed(ours), *speed(theirs)) for _ in range(rounds)])
        ratios = rows[:, 0] / rows[:, 2]
        ours_per_s, ours_processors, theirs_per_s, theirs_processors = np.median(rows, axis=0).tolist()
        tasks[name] = {
            "hyperrl_steps_per_second": round(ours_per_s),
            "hyperrl_processors": round(ours_processors, 2),
            "gymnasium_sync_steps_per_second": round(theirs_per_s),
            "gymnasium_sync_processors": round(theirs_processors, 2),
            "ratio": round(float(np.median(ratios)), 2),
            "each_round": ratios.round(2).tolist(),
        }
        print(name, tasks[name], flush=True)
    save(
        "mujoco_speed",
        {
            "gymnasium": gymnasium.__version__,
            "mujoco": mujoco.__version__,
            "threads": processors(),
            "copies": VARIANTS * COPIES,
            "variants": VARIANTS,
            "tasks": tasks,
        },
    )


if __name__ == "__main__":
    main()
