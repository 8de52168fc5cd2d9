"""Fast adaptation beside its rivals: unknown parameters, variants out of range, SB3 from scratch, the blind arm.

    python benchmarks/adaptation.py [--families cartpole pendulum point ode2] [--seeds 5] [--workers 1]
    python benchmarks/adaptation.py --latency

Every cell is one arm, seed, split and mode on the split's first variants, 50 episodes of each. The first variants have
an expert each: SB3's PPO from scratch, whose learning curve is the other rival. Resumable: trainings, experts and
finished cells in runs/ are kept. The second command, for a machine that does nothing else, times one call of inference
and generation.
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
from common import save

import hyperrl
from hyperrl.adapt import MARKS, adapt
from hyperrl.checkpoint import write_json
from hyperrl.envs import registry
from hyperrl.episodes import episode_returns, random_actions
from hyperrl.experts import EPISODES, normalised, train_experts
from hyperrl.inference import Belief
from hyperrl.rollout import Greedy
from hyperrl.statistics import stratified_bootstrap

FAMILIES = ("cartpole", "pendulum", "point", "ode2")
VARIANTS = {"interpolation": 16, "extrapolation": 8, "combination": 8}
INFERRED = 64
"""Variants on which it is measured what not being told costs."""
EXPERTS = {"interpolation": 4, "extrapolation": 8, "combination": 4}
"""How many of them have an expert."""
CELLS = (
    # agent, mode, unknown, splits, episodes
    ("hyper", "all", False, tuple(VARIANTS), 50),
    ("hyper", "all", True, tuple(VARIANTS), 50),
    ("blind", "weights", False, tuple(VARIANTS), 50),
    ("hyper", "infer", True, tuple(VARIANTS), 5),
    ("hyper", "weights", False, ("extrapolation",), 50),
    ("hyper", "context", False, ("extrapolation",), 50),
)
THERE = 0.95
"""Of the expert's return over the random policy's, at which a variant counts as reached."""
FOLDER = Path("runs/benchmarks")


class Cell(NamedTuple):
    """One call of ``adapt``."""

    family: str
    seed: int
    agent: str
    mode: str
    unknown: bool
    split: str
    episodes: int

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        told = "unknown" if self.unknown else "told"
        return FOLDER / "adaptation" / f"{self.family}-{self.agent}-{self.seed}-{self.split}-{self.mode}-{told}.json"


def cells(families: list[str], seeds: int) -> list[Cell]:
    """Every cell, seed by seed."""
    return [
        Cell(family, seed, agent, mode, unknown, split, episodes)
        for seed in range(seeds)
        for family in families
        for agent, mode, unknown, splits, episodes in CELLS
        for split in splits
        if split in registry.get(family).splits
    ]


def trained(family: str, agent: str, seed: int) -> hyperrl.load:
    """A run with the family's own settings."""
    folder = FOLDER / f"{family}-{agent}-{seed}"
    encoder = agent == "hyper"
    return hyperrl.train(
        family, agent=agent, seed=seed, run=folder, device="cpu", quiet=True, resume=True, encoder=encoder
    )


def play(cell: Cell) -> str:
    """Adapt, and write what it gave."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that variants lie outside the ranges is the point
    run = hyperrl.load(FOLDER / f"{cell.family}-{cell.agent}-{cell.seed}")
    count = INFERRED if cell.mode == "infer" else VARIANTS[cell.split]
    variants_TP = run.family.variants(cell.split, count)
    began = time.perf_counter()
    found = adapt(run, variants_TP, cell.mode, cell.episodes, cell.unknown, cell.seed)
    result = {
        **cell._asdict(),
        "variants": variants_TP.tolist(),
        "marks": found.episodes_K,
        "steps": found.steps_KT.tolist(),
        "judged_steps": found.judged_steps_KT.tolist(),
        "returns": found.returns_KT.tolist(),
        "learning_seconds": found.seconds_K,
        "area": found.area_T.tolist(),
    }
    write_json(cell.path, result)
    first, last = found.returns_KT[0].mean(), found.returns_KT[-1].mean()
    return f"{cell.path.stem}: {first:.1f} -> {last:.1f} in {time.perf_counter() - began:.0f} s"


def random_returns(name: str, variants_TP: np.ndarray) -> np.ndarray:
    """Mean return (T,) of a random policy on each variant."""
    family = registry.get(name)
    played = [
        episode_returns(family, variant_P[None], random_actions(family, variant=parameters), EPISODES)[0].mean()
        for variant_P, parameters in zip(variants_TP, family.untable(variants_TP), strict=True)
    ]
    return np.array(played)


def steps_until(steps: np.ndarray, scores: np.ndarray) -> float:
    """Steps at the first point of a curve that is there; infinite where none is."""
    there = np.flatnonzero(scores >= THERE)
    return float(steps[there[0]]) if len(there) else np.inf


def completed(result: dict[str, Any], name: str) -> np.ndarray:
    """A cell's (K, T) at every mark up to its episodes, what stopped early as it was when it stopped."""
    found = np.asarray(result[name], dtype=np.float64)
    marks = [0, *(mark for mark in MARKS if mark <= result["episodes"])]
    return np.concatenate([found, np.repeat(found[-1:], len(marks) - len(found), axis=0)])


def summarise(name: str, split: str, results: list[dict[str, Any]], records: list[dict[str, Any]]) -> dict[str, Any]:
    """One cell over its seeds, on the variants that have an expert."""
    known = len(records)
    random_T, expert_T = (np.array([record[key] for record in records]) for key in ("random", "mean"))
    returns_RKT = np.stack([completed(result, "returns")[:, :known] for result in results])
    steps_RKT = np.stack([completed(result, "steps")[:, :known] for result in results])
    judged_RKT = np.stack([completed(result, "judged_steps")[:, :known] for result in results])
    scores_RKT = normalised(returns_RKT, random_T, expert_T)
    scored_T = np.isfinite(scores_RKT).all((0, 1))
    scores_RKT = scores_RKT[..., scored_T]
    gap_RT = expert_T - returns_RKT[:, 0]
    behind_RT = gap_RT > 0
    gained_RKT = returns_RKT - returns_RKT[:, :1]
    closed = [
        float(gained_RKT[:, k][behind_RT].sum() / gap_RT[behind_RT].sum()) if behind_RT.any() else None
        for k in range(returns_RKT.shape[1])
    ]
    scratch_T = np.array(
        [
            steps_until(*(np.array(record["curve"]).T[0], normalised(np.array(record["curve"]).T[1], low, high)))
            for record, low, high in zip(records, random_T, expert_T, strict=True)
        ]
    )[scored_T]
    needed = {}
    for label, spent_RKT in (("learning", steps_RKT), ("with_judged", steps_RKT + judged_RKT)):
        needed_RT = np.array(
            [
                [steps_until(spent[:, t], score[:, i]) for i, t in enumerate(np.flatnonzero(scored_T))]
                for spent, score in zip(spent_RKT, scores_RKT, strict=True)
            ]
        )
        ratio_RT = needed_RT / scratch_T
        at_once_RT = scores_RKT[:, 0] >= THERE
        ratio_RT[at_once_RT] = 0
        needed[label] = {
            "median_ratio": _finite(np.median(ratio_RT)),
            "median_ratio_not_there_at_once": _finite(np.median(ratio_RT[~at_once_RT]))
            if (~at_once_RT).any()
            else None,
            "there_at_once": float(at_once_RT.mean()),
            "never_there": float(np.isinf(ratio_RT).mean()),
        }
    intervals = [
        [float(end) for end in stratified_bootstrap(scores_RKT[:, k], np.mean)] for k in range(scores_RKT.shape[1])
    ]
    return {
        "family": name,
        "split": split,
        "episodes": [0, *(mark for mark in MARKS if mark <= results[0]["episodes"])],
        "seeds": len(results),
        "variants": int(scored_T.sum()),
        "mean_return": returns_RKT.mean((0, 2)).tolist(),
        "expert_return": float(expert_T.mean()),
        "normalised": scores_RKT.mean((0, 2)).tolist(),
        "normalised_ci95": intervals,
        "normalised_worst": float(scores_RKT[:, -1].min()),
        "area": float(np.mean([np.mean(result["area"][:known]) for result in results])),
        "behind_the_expert": float(behind_RT.mean()),
        "gap_closed": closed,
        "steps_to_95": needed,
        "scratch_steps_to_95_median": _finite(np.median(scratch_T)),
        "learning_seconds_a_variant": float(
            np.mean([result["learning_seconds"][-1] / len(result["variants"]) for result in results])
        ),
    }


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def scratch(name: str, split: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """SB3 from scratch after the same numbers of episodes: what its last finished update had reached by then."""
    longest = registry.get(name).max_episode_steps
    scores_KT = []
    for mark in (0, *MARKS):
        row = []
        for record in records:
            steps, returns = np.array(record["curve"]).T
            reached = returns[steps <= mark * longest][-1]
            row.append(float(normalised(reached, record["random"], record["mean"])))
        scores_KT.append(row)
    scores = np.array(scores_KT)
    scores = scores[:, np.isfinite(scores).all(0)]
    curves = [np.array(record["curve"]).T for record in records]
    return {
        "family": name,
        "split": split,
        "episodes": [0, *MARKS],
        "normalised": scores.mean(1).tolist(),
        "curves": [{"steps": steps.tolist(), "returns": returns.tolist()} for steps, returns in curves],
    }


def inferred(name: str, split: str, seeds: int) -> dict[str, Any]:
    """What not being told costs: normalised returns after each number of episodes over those of the told agent."""
    per_seed = []
    for seed in range(seeds):
        unknown = json.loads(Cell(name, seed, "hyper", "infer", True, split, 5).path.read_text())
        variants_TP = np.asarray(unknown["variants"])
        run = hyperrl.load(FOLDER / f"{name}-hyper-{seed}")
        act = Greedy(run.agent, run.family, variants_TP, torch.device("cpu"))
        told = episode_returns(run.family, variants_TP, act, EPISODES)[0].mean()
        random = random_returns(name, variants_TP).mean()
        returns_K = np.asarray(unknown["returns"]).mean(1)
        per_seed.append(((returns_K - random) / (told - random)).tolist())
    return {
        "family": name,
        "split": split,
        "variants": len(variants_TP),
        "episodes": unknown["marks"],
        "share_of_told": np.mean(per_seed, 0).tolist(),
        "each_seed": per_seed,
    }


def latency(families: list[str], seeds: int) -> list[dict[str, Any]]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Adaptation beside its rivals.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--latency", action="store_true", help="only time inference and generation")
    args = parser.parse_args()
    if args.latency:
        save("adaptation_latency", {"calls": latency(args.families, args.seeds)})
        return
    for seed in range(args.seeds):
        for family in args.families:
            for agent in dict.fromkeys(agent for agent, *_ in CELLS):
                trained(family, agent, seed)
    todo = [cell for cell in cells(args.families, args.seeds) if not cell.path.exists()]
    with ProcessPoolExecutor(args.workers) as pool:
        for line in pool.map(play, todo):
            print(line, flush=True)
    report(args.families, args.seeds)


def report(families: list[str], seeds: int) -> None:
    """Summarise every cell into results/adaptation.json."""
    rows, rivals, told = [], [], []
    for name in families:
        family = registry.get(name)
        for split in (split for split in VARIANTS if split in family.splits):
            records = train_experts(name, family.variants(split, EXPERTS[split]))
            rivals.append(scratch(name, split, records))
            told.append(inferred(name, split, seeds))
            for agent, mode, unknown, splits, episodes in CELLS:
                if split in splits:
                    paths = [Cell(name, seed, agent, mode, unknown, split, episodes).path for seed in range(seeds)]
                    results = [json.loads(path.read_text()) for path in paths]
                    row = {"agent": agent, "mode": mode, "unknown": unknown}
                    rows.append(row | summarise(name, split, results, records))
    save("adaptation", {"adaptation": rows, "from_scratch": rivals, "unknown": told})


if __name__ == "__main__":
    main()
