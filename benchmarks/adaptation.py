"""Fast adaptation beside its rivals: unknown parameters, variants out of range, other arms, SB3 from scratch.

    python benchmarks/adaptation.py [--families cartpole pendulum point ode2] [--seeds 3] [--workers 1] [--offset 128]
    python benchmarks/adaptation.py --latency

Every cell is one arm, seed, split and mode on variants of the split that were never in view, those from `--offset`
on. Each has an expert: SB3's PPO from scratch, from the same starts, whose learning curve is the other rival. Every
episode that anyone learns, judges or selects with is counted. Resumable: trainings, experts and finished cells in runs/
are kept. What is saved in results/cells/adaptation-FAMILY.npz says `Cell.key`; adaptation_page.py computes its tables
from it. The second command, for a machine that does nothing else, times one call of inference and generation.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import SETTINGS, parameter_count, save, save_cells

import hyperrl
from hyperrl.adapt import adapt
from hyperrl.adaptation.inference import Belief
from hyperrl.adaptation.result import Adaptation
from hyperrl.adaptation.selection import MARKS
from hyperrl.api import Run
from hyperrl.envs import registry
from hyperrl.experts.cache import Record
from hyperrl.experts.pool import train_experts
from hyperrl.experts.settings import EPISODES, JUDGED_STARTS
from hyperrl.play.actors import AgentActor, random_actions
from hyperrl.play.episodes import play
from hyperrl.storage.files import write_json

FAMILIES = ("cartpole", "pendulum", "point", "ode2")
FOLDER = Path("runs/benchmarks")
"""Of the runs."""
OFFSET = 128
"""First variant of a split that is reported: constants were chosen with the first 96 in view."""
IN_VIEW = 96
"""Offset of a fixed list that has fewer than ``OFFSET`` variants."""
VARIANTS = {"interpolation": 4, "extrapolation": 8, "combination": 4}
"""Variants of each split that are adapted to; each has an expert."""
INFERRED = 64
"""Variants on which it is measured what unknown parameters cost, where a split has as many."""
KNOWN, UNKNOWN = "known", "unknown"
ARMS = ("hyper", "concat", "blind")
CELLS = (
    # mode, parameters, arms, episodes
    ("all", KNOWN, ("hyper", "concat", "blind"), 50),
    ("weights", KNOWN, ("hyper", "concat", "blind"), 50),
    ("context", KNOWN, ("hyper", "concat"), 50),
    ("all", UNKNOWN, ("hyper", "concat"), 50),
    ("infer", UNKNOWN, ("hyper", "concat"), 5),
)
"""The blind arm has no context: nothing to search in, and nothing that inference could change."""
MEASURED = ("returns", "played", "steps")
"""Of each point of a curve: mean return of 10 greedy episodes, episodes and environment steps played until then."""
KEYS = {
    "": ("offset", "settings", "arms", "experts"),
    "arms": ("family", "agent", "seeds", "steps", "parameters"),
    "experts": ("family", "split", "first_variant", "variants", "seed", "settings", "seconds"),
}
"""Keys of the result: of the whole, and of its parts."""


class Cell(NamedTuple):
    """One call of ``adapt``."""

    family: str
    seed: int
    agent: str
    mode: str
    parameters: str
    split: str
    episodes: int
    offset: int

    @property
    def path(self) -> Path:
        """Where its result is kept until all are there."""
        return FOLDER / "adaptation" / f"{self.family}-{self.key}-{self.seed}-from-{self.offset}.json"

    @property
    def key(self) -> str:
        """Its name among the family's saved cells: arrays ``KEY-returns`` and so on, (R seeds, K points, T)."""
        return f"{self.agent}-{self.mode}-{self.parameters}-{self.split}"

    @property
    def variants_TP(self) -> np.ndarray:
        """The variants that it adapts to: more of them where it only infers."""
        return fresh(self.family, self.split, self.offset, INFERRED if self.mode == "infer" else VARIANTS[self.split])


def first_variant(family: str, split: str, offset: int) -> int:
    """Index of the first variant of a split that is reported."""
    fixed = registry.get(family).fixed.get(split)
    return offset if fixed is None or len(fixed) >= offset + VARIANTS[split] else min(offset, IN_VIEW)


def fresh(family: str, split: str, offset: int, count: int) -> np.ndarray:
    """Variants (T, P) from the first that is reported on, fewer than ``count`` where a fixed list ends."""
    first = first_variant(family, split, offset)
    return registry.get(family).variants(split, first + count)[first:]


def splits_of(family: str) -> list[str]:
    """The splits that are reported."""
    return [split for split in VARIANTS if split in registry.get(family).splits]


def cells(families: list[str], seeds: int, offset: int) -> list[Cell]:
    """Every cell, seed by seed."""
    return [
        Cell(family, seed, agent, mode, parameters, split, episodes, offset)
        for seed in range(seeds)
        for family in families
        for mode, parameters, agents, episodes in CELLS
        for agent in agents
        for split in splits_of(family)
    ]


def trained(family: str, agent: str, seed: int, **changes: Any) -> Run:
    """See to a run with the family's own settings, and to its encoder: `all` shows what it infers, too."""
    folder = FOLDER / f"{family}-{agent}-{seed}"
    return hyperrl.train(family, agent=agent, seed=seed, run=folder, device="cpu", quiet=True, resume=True, **changes)


def adapted(cell: Cell) -> str:
    """Adapt, and write what it gave."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that variants lie outside the ranges is the point
    run = hyperrl.load(FOLDER / f"{cell.family}-{cell.agent}-{cell.seed}")
    began = time.perf_counter()
    found = adapt(run, cell.variants_TP, cell.mode, cell.episodes, cell.parameters == UNKNOWN, cell.seed)
    curves = {name: points.tolist() for name, points in completed(found, cell.episodes).items()}
    known = None
    if cell.mode == "infer":  # what the same agent has that knows the parameters
        known = play(run.family, cell.variants_TP, AgentActor(run.agent, run.family), EPISODES).returns_TE.mean(1)
    seconds = time.perf_counter() - began
    write_json(cell.path, {**cell._asdict(), **curves, "known": None if known is None else known.tolist()})
    first, last = found.returns_KT[0].mean(), found.returns_KT[-1].mean()
    return f"{cell.path.stem}: {first:.1f} -> {last:.1f} in {seconds:.0f} s"


def marks(episodes: int) -> list[int]:
    """Episodes learned from at the points of a curve."""
    return [0, *(mark for mark in MARKS if mark <= episodes)]


def completed(found: Adaptation, episodes: int) -> dict[str, np.ndarray]:
    """``MEASURED`` (K, T) at every mark; what stopped early stays as it was when it stopped."""
    curves = {"returns": found.returns_KT, "played": found.played_KT, "steps": found.played_steps_KT}
    missing = len(marks(episodes)) - len(found.returns_KT)
    return {name: np.concatenate([x_KT, np.repeat(x_KT[-1:], missing, axis=0)]) for name, x_KT in curves.items()}


def random_returns(name: str, variants_TP: np.ndarray) -> np.ndarray:
    """Mean return (T,) of a random policy on each variant."""
    family = registry.get(name)
    played = [
        play(family, variant_P[None], random_actions(family, variant=parameters), EPISODES).returns_TE.mean()
        for variant_P, parameters in zip(variants_TP, family.untable(variants_TP), strict=True)
    ]
    return np.array(played)


def experts(name: str, split: str, offset: int, workers: int) -> list[Record]:
    """SB3 from scratch on each variant, from the starts that the others play from."""
    judged = getattr(registry.get(name), "judged_start", None) is not None
    overrides = {JUDGED_STARTS: True} if judged else None
    return train_experts(name, fresh(name, split, offset, VARIANTS[split]), workers=workers, overrides=overrides)


def latency(families: list[str]) -> list[dict[str, Any]]:
    """Milliseconds of one call on one thread: 16 new transitions read, parameters inferred, weights generated."""
    torch.set_num_threads(1)
    found = []
    for name in families:
        run = hyperrl.load(FOLDER / f"{name}-hyper-0")
        family = run.family
        obs = torch.randn((16, 1, *family.observation_space.shape))
        action = torch.zeros((1, *(family.action_space.shape or ())))
        belief, took = Belief(run.encoder, family, 1), []
        for call in range(220):
            began = time.perf_counter()
            for i in range(16):
                belief.see(obs[i], action, torch.zeros(1), obs[i])
            belief.update()
            belief.generate(run.agent)
            if call >= 20:
                took.append(1e3 * (time.perf_counter() - began))
        low, median, high = np.quantile(took, [0.05, 0.5, 0.95]).tolist()
        found.append({"family": name, "median_ms": median, "ms_5": low, "ms_95": high})
        print(found[-1], flush=True)
    return found


LATENCY_KEYS = {"": ("calls",), "calls": ("family", "median_ms", "ms_5", "ms_95")}
"""Keys of the result of ``--latency``."""


def gathered(name: str, seeds: int, offset: int, records: dict[str, list[Record]]) -> dict[str, np.ndarray]:
    """Every cell of a family, and what it is measured against."""
    arrays = {}
    for cell in cells([name], 1, offset):
        results = [json.loads(cell._replace(seed=seed).path.read_text()) for seed in range(seeds)]
        for measure in MEASURED:
            arrays[f"{cell.key}-{measure}"] = np.array([result[measure] for result in results])
        if cell.mode == "infer":
            arrays[f"{cell.key}-known"] = np.array([result["known"] for result in results])
    for split in splits_of(name):
        variants_TP = fresh(name, split, offset, INFERRED)
        curves_TN2 = np.array([record["curve"] for record in records[split]])
        arrays |= {
            f"variants-{split}": variants_TP,
            f"random-{split}": random_returns(name, variants_TP),
            f"expert-{split}-returns": np.array([record["returns"] for record in records[split]]),
            f"expert-{split}-curve-steps": curves_TN2[..., 0],
            f"expert-{split}-curve-returns": curves_TN2[..., 1],
        }
    return arrays


def report(families: list[str], seeds: int, offset: int, workers: int) -> None:
    """Save every cell, and what the tables say beside them."""
    arms, rivals = [], []
    for name in families:
        records = {split: experts(name, split, offset, workers) for split in splits_of(name)}
        save_cells(f"adaptation-{name}", gathered(name, seeds, offset, records))
        for agent in ARMS:
            runs = [hyperrl.load(FOLDER / f"{name}-{agent}-{seed}") for seed in range(seeds)]
            count = parameter_count(runs[0].agent)
            arm = {"seeds": [run.config.seed for run in runs], "steps": runs[0].steps, "parameters": count}
            arms.append({"family": name, "agent": agent, **arm})
        rivals += [
            {
                "family": name,
                "split": split,
                "first_variant": first_variant(name, split, offset),
                "variants": len(found),
                "seed": found[0]["seed"],
                "settings": found[0]["settings"],
                "seconds": float(np.mean([record["seconds"] for record in found])),
            }
            for split, found in records.items()
        ]
    save("adaptation", {"offset": offset, "settings": SETTINGS, "arms": arms, "experts": rivals}, KEYS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Adaptation beside its rivals.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--offset", type=int, default=OFFSET, help="index of the first variant of each split")
    parser.add_argument("--latency", action="store_true", help="only time inference and generation")
    args = parser.parse_args()
    if args.latency:
        save("adaptation_latency", {"calls": latency(args.families)}, LATENCY_KEYS)
        return
    for seed in range(args.seeds):
        for family in args.families:
            for agent in ARMS:
                trained(family, agent, seed)
    todo = [cell for cell in cells(args.families, args.seeds, args.offset) if not cell.path.exists()]
    with ProcessPoolExecutor(args.workers) as pool:
        for line in pool.map(adapted, todo):
            print(line, flush=True)
    report(args.families, args.seeds, args.offset, args.workers)


if __name__ == "__main__":
    main()
