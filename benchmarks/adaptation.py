"""Fast adaptation beside its rivals: unknown parameters, variants out of range, SB3 from scratch, the blind arm.

    python benchmarks/adaptation.py [--families cartpole pendulum point ode2] [--seeds 5] [--workers 1]
    python benchmarks/adaptation.py --latency

Every cell is one arm, seed, split and mode on the split's first variants, 5 or 50 episodes of each. The first of them
have an expert each: SB3's PPO from scratch, whose learning curve is the other rival. Resumable: trainings, experts and
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
"""How many of them have an expert: what is judged beside one. The rest are adapted to beside them."""
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
NO_GAP = 0.01
"""Of the same, that is no gap to the expert."""
SOUND, LEARNED = 0.9, 0.2
"""A sound expert ends at ``SOUND`` of its curve's best gain over random, which is ``LEARNED`` of the median's."""
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


def trained(family: str, agent: str, seed: int) -> None:
    """See to a run with the family's own settings."""
    folder = FOLDER / f"{family}-{agent}-{seed}"
    # what has no context needs no encoder
    encoder = any(unknown for arm, _, unknown, *_ in CELLS if arm == agent)
    hyperrl.train(family, agent=agent, seed=seed, run=folder, device="cpu", quiet=True, resume=True, encoder=encoder)


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


class Ceiling(NamedTuple):
    """The experts of a split's first variants, those that have not learned their variant left out."""

    sound_T: np.ndarray
    random_T: np.ndarray
    expert_T: np.ndarray
    scratch_T: np.ndarray
    """Steps until SB3 from scratch is there."""

    @classmethod
    def of(cls, records: list[dict[str, Any]]) -> Ceiling:
        """An expert is sound that ends near the best of its own curve, and well above random for its split."""
        random_T, expert_T = (np.array([record[key] for record in records]) for key in ("random", "mean"))
        curves = [np.array(record["curve"]).T for record in records]
        best_T = np.array([returns.max() for _, returns in curves])
        unit_T = best_T - random_T
        sound_T = (expert_T - random_T >= SOUND * unit_T) & (unit_T >= LEARNED * np.median(unit_T))
        scratch_T = [
            steps_until(steps, normalised(returns, low, high))
            for (steps, returns), low, high in zip(curves, random_T, expert_T, strict=True)
        ]
        return cls(sound_T, random_T[sound_T], expert_T[sound_T], np.array(scratch_T)[sound_T])


def scored(results: list[dict[str, Any]], name: str, ceiling: Ceiling) -> np.ndarray:
    """A cell over its seeds (R, K, T), on the variants that have a sound expert."""
    known = len(ceiling.sound_T)
    return np.stack([completed(result, name)[:, :known] for result in results])[..., ceiling.sound_T]


def summarise(results: list[dict[str, Any]], told: list[dict[str, Any]], ceiling: Ceiling) -> dict[str, Any]:
    """One cell over its seeds; the gap is the one that the same arm has zero-shot when told."""
    returns_RKT = scored(results, "returns", ceiling)
    scores_RKT = normalised(returns_RKT, ceiling.random_T, ceiling.expert_T)
    zero_RT = normalised(scored(told, "returns", ceiling)[:, 0], ceiling.random_T, ceiling.expert_T)
    steps_RKT = scored(results, "steps", ceiling)
    episodes = [0, *(mark for mark in MARKS if mark <= results[0]["episodes"])]
    return {
        "episodes": episodes,
        "seeds": len(results),
        "variants": int(ceiling.sound_T.sum()),
        "mean_return": returns_RKT.mean((0, 2)).tolist(),
        "expert_return": float(ceiling.expert_T.mean()),
        "normalised": scores_RKT.mean((0, 2)).tolist(),
        "normalised_ci95": [list(stratified_bootstrap(scores_RT, np.mean)) for scores_RT in scores_RKT.swapaxes(0, 1)],
        "normalised_worst": float(scores_RKT[:, -1].min()),
        "area": float((np.trapezoid(scores_RKT, episodes, axis=1) / episodes[-1]).mean()),
        **gap(zero_RT, scores_RKT),
        "steps": share_of_scratch(steps_RKT, scores_RKT, ceiling),
        "steps_with_judged": share_of_scratch(
            steps_RKT + scored(results, "judged_steps", ceiling), scores_RKT, ceiling
        ),
        "learning_seconds_a_variant": float(
            np.mean([result["learning_seconds"][-1] / len(result["variants"]) for result in results])
        ),
    }


def gap(zero_RT: np.ndarray, scores_RKT: np.ndarray) -> dict[str, Any]:
    """How much of the told agent's zero-shot gap to the experts is closed, where there is one.

    A variant that overtakes its expert counts as closed: it makes up for no other.
    """
    behind_RT = zero_RT < 1 - NO_GAP
    if not behind_RT.any():
        return {"behind_the_expert": 0.0, "gap": 0.0, "gap_closed": None}
    size = (1 - zero_RT)[behind_RT].sum()
    gained_K = [(np.minimum(scores_RT, 1) - zero_RT)[behind_RT].sum() for scores_RT in scores_RKT.swapaxes(0, 1)]
    return {
        "behind_the_expert": float(behind_RT.mean()),
        "gap": float(size / behind_RT.sum()),
        "gap_closed": [float(gained / size) for gained in gained_K],
    }


def share_of_scratch(spent_RKT: np.ndarray, scores_RKT: np.ndarray, ceiling: Ceiling) -> dict[str, Any]:
    """Steps on the variant until it is there, over those of SB3 from scratch; what is there at once needs none."""
    needed_RT = np.array(
        [
            [steps_until(spent_K, score_K) for spent_K, score_K in zip(spent_KT.T, scores_KT.T, strict=True)]
            for spent_KT, scores_KT in zip(spent_RKT, scores_RKT, strict=True)
        ]
    )
    at_once_RT = scores_RKT[:, 0] >= THERE
    share_RT = np.where(at_once_RT, 0.0, needed_RT / np.maximum(ceiling.scratch_T, 1))
    return {
        "median": _finite(np.median(share_RT)),
        "median_of_those_not_there_at_once": _finite(np.median(share_RT[~at_once_RT])) if (~at_once_RT).any() else None,
        "there_at_once": float(at_once_RT.mean()),
        "never_there": float(np.isinf(share_RT).mean()),
    }


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def scratch(name: str, records: list[dict[str, Any]], ceiling: Ceiling) -> dict[str, Any]:
    """SB3 from scratch: what its last judgement found after as many steps as full episodes have."""
    longest = registry.get(name).max_episode_steps
    curves = [np.array(record["curve"]).T for record in records]
    reached_KT = np.array([[returns[steps <= mark * longest][-1] for steps, returns in curves] for mark in (0, *MARKS)])
    scores_KT = normalised(reached_KT[:, ceiling.sound_T], ceiling.random_T, ceiling.expert_T)
    return {
        "episodes": [0, *MARKS],
        "experts": len(records),
        "sound": int(ceiling.sound_T.sum()),
        "expert_returns": [record["mean"] for record in records],
        "best_returns": [float(returns.max()) for _, returns in curves],
        "random_returns": [record["random"] for record in records],
        "normalised": scores_KT.mean(1).tolist(),
        "median_steps_to_95": float(np.median(ceiling.scratch_T)),
        "curves": [{"steps": steps.tolist(), "returns": returns.tolist()} for steps, returns in curves],
    }


def inferred(name: str, split: str, seeds: int) -> dict[str, Any]:
    """What not being told costs: normalised returns after each number of episodes over those of the told agent."""
    results = read(("hyper", "infer", True), name, split, seeds, 5)
    variants_TP = np.asarray(results[0]["variants"])
    random, per_seed = random_returns(name, variants_TP).mean(), []
    for seed, unknown in enumerate(results):
        run = hyperrl.load(FOLDER / f"{name}-hyper-{seed}")
        act = Greedy(run.agent, run.family, variants_TP, torch.device("cpu"))
        told = episode_returns(run.family, variants_TP, act, EPISODES)[0].mean()
        returns_K = np.asarray(unknown["returns"]).mean(1)
        per_seed.append(((returns_K - random) / (told - random)).tolist())
    return {
        "family": name,
        "split": split,
        "variants": len(variants_TP),
        "episodes": results[0]["marks"],
        "share_of_told": np.mean(per_seed, 0).tolist(),
        "each_seed": per_seed,
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Adaptation beside its rivals.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--latency", action="store_true", help="only time inference and generation")
    args = parser.parse_args()
    if args.latency:
        save("adaptation_latency", {"calls": latency(args.families)})
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


def read(cell: tuple[str, str, bool], name: str, split: str, seeds: int, episodes: int) -> list[dict[str, Any]]:
    """A cell's results, seed by seed."""
    agent, mode, unknown = cell
    paths = [Cell(name, seed, agent, mode, unknown, split, episodes).path for seed in range(seeds)]
    return [json.loads(path.read_text()) for path in paths]


def report(families: list[str], seeds: int) -> None:
    """Summarise every cell into results/adaptation.json."""
    rows, rivals, told = [], [], []
    for name in families:
        family = registry.get(name)
        for split in (split for split in VARIANTS if split in family.splits):
            records = train_experts(name, family.variants(split, EXPERTS[split]))
            ceiling = Ceiling.of(records)
            rivals.append({"family": name, "split": split, **scratch(name, records, ceiling)})
            told.append(inferred(name, split, seeds))
            for agent, mode, unknown, splits, episodes in CELLS:
                if split in splits:
                    results = read((agent, mode, unknown), name, split, seeds, episodes)
                    as_told = read((agent, *CELLS[0][1:3]), name, split, seeds, 50) if agent == CELLS[0][0] else results
                    row = {"family": name, "split": split, "agent": agent, "mode": mode, "unknown": unknown}
                    rows.append(row | summarise(results, as_told, ceiling))
    save("adaptation", {"adaptation": rows, "from_scratch": rivals, "unknown": told})


if __name__ == "__main__":
    main()
