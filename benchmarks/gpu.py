"""Training on a GPU: is it the CPU's, how fast is it, and how soon is a family solved?

    python benchmarks/gpu.py [--parts ceilings checks speed solved learning] [--device cuda]

- `ceilings`: what the device reaches: bytes read and written by a copy of 1 GiB, and operations of a product of two
  matrices of 8,192 x 8,192.
- `checks`: ten iterations as a CUDA graph against the same ones call by call, and ten resumed after five against ten.
- `speed`: steps/s of whole iterations on CartPole over variants x copies, in alternating rounds: call by call, as a
  CUDA graph, and as a CUDA graph of compiled functions. Beside it the floors: matrix operations of an iteration over
  the ceiling of products, and bytes that its calls read and write over the ceiling of a copy.
- `solved`: seconds of training until each of 64 validation variants has a mean of 475 or more over 10 greedy episodes,
  looked at outside the clock after every iteration. Compiling and capturing come before and are shown apart.
- `learning`: interpolation return of `hyperrl train` with default settings, and its seconds without the encoder, beside
  those of the CPU's seeds in results/cells.

Parts that are not asked for keep what results/gpu.json has of them.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Row
from common import RESULTS, hardware, save
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import hyperrl
from hyperrl.config import Config
from hyperrl.envs import registry
from hyperrl.families import tuned
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play
from hyperrl.training.captured import WARM_UP, tf32
from hyperrl.training.trainer import Trainer

KEYS = {
    "": ("ceilings", "checks", "speed", "solved", "learning"),
    "ceilings": ("copy_gb_per_s", "float32_tflop_per_s", "tf32_tflop_per_s"),
    "checks": ("family", "largest_difference", "resumed_bit_for_bit"),
    "speed": ("variants", "copies", "rollout", "steps_per_s", "start_s", "of_arithmetic", "of_bandwidth"),
    "solved": ("variants", "copies", "rollout", "runs"),
    "learning": ("family", "gpu", "gpu_seconds", "cpu", "cpu_seconds"),
}
ROLLOUT = 64
SIZES = ((32, 8), (128, 32), (256, 128))
"""Variants and copies whose speed is measured."""
SOLVING = ((64, 16), (256, 64))
"""Variants and copies with which CartPole is to be solved."""
SOLVING_ITERATIONS = 60
SOLVED, CHECKED = 475.0, 64
KINDS = {
    "call by call": {"compile": "off"},
    "graph": {"compile": "auto"},
    "compiled graph": {"compile": "on"},
}
SOLVING_KIND = KINDS["compiled graph"]
FAMILIES, COMPARED = ("cartpole", "point"), "interpolation"
"""Whose learning is compared with the CPU's, and on which split."""
SEEDS, ROUNDS, TIMED_S = 3, 3, 0.6


def synchronised(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def trainer_of(family: str, device: str, **settings: Any) -> Trainer:
    """A trainer with the family's settings but for these."""
    known = registry.get(family)
    return Trainer(known, Config(family=family).updated({**tuned(known).training, "device": device, **settings}))


def median_seconds(function: Callable[[], Any], device: str, repeats: int = 20) -> float:
    """Of one call."""
    seconds = []
    for _ in range(repeats):
        synchronised(device)
        began = time.perf_counter()
        function()
        synchronised(device)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[2:]))


def ceilings(device: str, size: int = 8192) -> dict[str, float]:
    """What the device reaches on random numbers, in GB/s and TFLOP/s."""
    a, b = torch.randn(2, size, size, device=device)
    source = torch.randn(size, size * 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device)
    exact = 2 * size**3 / median_seconds(lambda: a @ b, device)
    with tf32():
        rounded = 2 * size**3 / median_seconds(lambda: a @ b, device)
    return {"copy_gb_per_s": copied / 1e9, "float32_tflop_per_s": exact / 1e12, "tf32_tflop_per_s": rounded / 1e12}


def checks(device: str) -> list[dict[str, Any]]:
    """A graph against the same calls one by one, and against itself resumed."""
    found = []
    for family in ("cartpole", "pendulum", "point"):
        eager, graph, resumed = (trainer_of(family, device, compile=kind) for kind in ("off", "auto", "auto"))
        for iteration in range(10):
            if iteration == 5:
                state = copy.deepcopy(graph.state_dict())
            eager.iterate()
            graph.iterate()
        resumed.load_state_dict(state)
        for _ in range(5):
            resumed.iterate()
        numbers = [torch.cat([p.detach().flatten() for p in t.agent.parameters()]) for t in (eager, graph, resumed)]
        found.append(
            {
                "family": family,
                "largest_difference": float((numbers[0] - numbers[1]).abs().max()),
                "resumed_bit_for_bit": bool(torch.equal(numbers[1], numbers[2])),
            }
        )
    return found


class Bytes(TorchDispatchMode):
    """Counts what calls read and write; those that only look at the same memory otherwise do neither."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(answer) if isinstance(x, Tensor)]
        known = {x.untyped_storage().data_ptr() for x in read}
        views = all(x.untyped_storage().data_ptr() in known for x in written)
        if func._schema.is_mutable or not written or not views:
            self.counted += sum(x.nbytes for x in (*read, *written))
        return answer


def work_of(trainer: Trainer) -> tuple[float, float]:
    """Matrix operations of an iteration, and bytes that its calls read and write."""
    with FlopCounterMode(display=False) as operations:
        trainer.iterate()
    with Bytes() as moved:
        trainer.iterate()
    return float(operations.get_total_flops()), float(moved.counted)


def speed(device: str, measured: dict[str, float]) -> list[dict[str, Any]]:
    """Steps/s over sizes and kinds, and shares of the ceilings."""
    found = []
    for variants, copies in SIZES:
        torch.compiler.reset()
        size = {"variants": variants, "copies": copies, "rollout": ROLLOUT}
        steps = variants * copies * ROLLOUT
        trainers, start_s = {}, {}
        for kind, setting in KINDS.items():
            began = time.perf_counter()
            trainers[kind] = trainer_of("cartpole", device, **size, **setting, steps=200 * steps)
            for _ in range(WARM_UP + 2):
                trainers[kind].iterate()
            start_s[kind] = time.perf_counter() - began
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(ROUNDS):
            for kind, trainer in trainers.items():
                synchronised(device)
                began, iterations = time.perf_counter(), 0
                while time.perf_counter() < began + TIMED_S and trainer.iteration < trainer.config.iterations - 1:
                    trainer.iterate()
                    iterations += 1
                rates[kind].append(iterations * steps / (time.perf_counter() - began))
        per_s = {kind: float(np.median(rate)) for kind, rate in rates.items()}
        operations, moved = work_of(trainers["call by call"])
        seconds = {kind: steps / rate for kind, rate in per_s.items()}
        found.append(
            {
                **size,
                "steps_per_s": per_s,
                "start_s": start_s,
                "of_arithmetic": {
                    kind: operations / measured["tf32_tflop_per_s"] / 1e12 / second for kind, second in seconds.items()
                },
                "of_bandwidth": {
                    kind: moved / measured["copy_gb_per_s"] / 1e9 / second for kind, second in seconds.items()
                },
            }
        )
        print(json.dumps(found[-1]), flush=True)
    return found


def solved(device: str) -> list[dict[str, Any]]:
    """Seconds and steps until CartPole is solved, a run a seed."""
    found = []
    for variants, copies in SOLVING:
        torch.compiler.reset()
        size, runs = {"variants": variants, "copies": copies, "rollout": ROLLOUT}, []
        steps = variants * copies * ROLLOUT * SOLVING_ITERATIONS
        for seed in range(SEEDS):
            trainer = trainer_of("cartpole", device, **size, steps=steps, seed=seed, **SOLVING_KIND)
            beginning = copy.deepcopy(trainer.state_dict())
            began = time.perf_counter()
            for _ in range(WARM_UP + 2):
                trainer.iterate()
            started = time.perf_counter() - began
            trainer.load_state_dict(beginning)
            runs.append({"seed": seed, "start_s": started, **until_solved(trainer, device)})
            print(json.dumps(runs[-1]), flush=True)
        found.append({**size, "runs": runs})
    return found


def until_solved(trainer: Trainer, device: str) -> dict[str, Any]:
    """Seconds of training and steps until every validation variant is solved; null where that is never."""
    family, seconds, worst = trainer.family, 0.0, []
    validation_TP = family.variants("validation", CHECKED)
    while trainer.iteration < trainer.config.iterations:
        synchronised(device)
        began = time.perf_counter()
        trainer.iterate()
        seconds += time.perf_counter() - began
        actor = AgentActor(trainer.agent, family)
        worst.append(float(play(family, validation_TP, actor, 10, device=device).returns_TE.mean(1).min()))
        if worst[-1] >= SOLVED:
            return {"seconds_to_475": seconds, "steps_to_475": trainer.steps, "worst": worst}
    return {"seconds_to_475": None, "steps_to_475": None, "worst": worst}


def learning(device: str) -> list[dict[str, Any]]:
    """Validation returns of some seeds beside those that the CPU's seeds had."""
    found = []
    for name in FAMILIES:
        scores, seconds = [], []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                began, at = time.perf_counter(), Path(folder) / "run"
                run = hyperrl.train(name, seed=seed, run=at, device=device, encoder=False, quiet=True)
                seconds.append(time.perf_counter() - began)
                scores.append(float(run.evaluate(COMPARED).returns_TE.mean()))
        row = Row(name, "hyper")
        found.append(
            {
                "family": name,
                "gpu": scores,
                "gpu_seconds": seconds,
                "cpu": row.arrays()[f"{COMPARED}_returns"].mean((1, 2)).tolist(),
                "cpu_seconds": [seed["seconds"] for seed in row.read()["seeds"].values()],
            }
        )
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", choices=KEYS[""], default=KEYS[""])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    args = parser.parse_args()
    path = RESULTS / "gpu.json"
    result = dict.fromkeys(KEYS[""]) | (json.loads(path.read_text()) if path.exists() else {})
    result = {part: result[part] for part in KEYS[""]}
    parts: dict[str, Callable[[], Any]] = {
        "ceilings": lambda: ceilings(args.device),
        "checks": lambda: checks(args.device),
        "speed": lambda: speed(args.device, result["ceilings"]),
        "solved": lambda: solved(args.device),
        "learning": lambda: learning(args.device),
    }
    print(json.dumps(hardware()), flush=True)
    with warnings.catch_warnings(action="default"):
        for part in parts:
            if part in args.parts:
                result[part] = parts[part]()
                print(part, json.dumps(result[part]), flush=True)
                done = {name: content for name, content in KEYS.items() if not name or result[name] is not None}
                save("gpu", result, done)


if __name__ == "__main__":
    main()
