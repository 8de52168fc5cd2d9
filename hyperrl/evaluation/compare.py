"""Arms side by side: runs of one family on the same variants, from the same starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from hyperrl.envs import Family, InputError
from hyperrl.evaluation.evaluate import Evaluation, evaluate
from hyperrl.evaluation.statistics import Interval, improvement, interval, iqm, worst_tenth
from hyperrl.storage.run import SPLIT_SIZE, StoredRun, definition

ALIKE = ("family", "seed", "device", "compile", "threads")
"""Settings that runs of one arm may differ in."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seeds, and what they did on the variants."""

    name: str
    """That of the agent, and the settings in which it differs from other arms of the same agent."""
    runs: Sequence[StoredRun]
    evaluations: Sequence[Evaluation]

    @cached_property
    def returns_RTE(self) -> np.ndarray:
        """Greedy returns (R seeds, T variants, E starts)."""
        return np.stack([evaluation.returns_TE for evaluation in self.evaluations])

    @property
    def means_T(self) -> np.ndarray:
        """Mean return of each variant over seeds and starts."""
        return self.returns_RTE.mean((0, 2))

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the IQM for agents of any seed, on these variants, from any start."""
        return interval(self.returns_RTE)

    @property
    def parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.runs[0].agent.parameters())

    def json(self) -> dict[str, Any]:
        """What ``hyperrl compare --json`` writes of an arm."""
        normalised_R = [float(e.normalised_T.mean()) for e in self.evaluations if len(e.normalised_T)]
        return {
            "seeds": len(self.runs),
            "iqm": float(iqm(self.returns_RTE)),
            "ci95": list(self.interval.ends) if self.interval else None,
            "ci95_method": self.interval.method if self.interval else None,
            "ci95_about": self.interval.about if self.interval else None,
            "worst_tenth": worst_tenth(self.means_T),
            "worst": float(self.means_T.min()),
            "mean": float(self.means_T.mean()),
            "normalised": float(np.mean(normalised_R)) if normalised_R else None,
            "parameters": self.parameters,
            "steps": self.runs[0].steps,
            "runs": [{"run": str(run.folder), "seed": run.config.seed, "steps": run.steps} for run in self.runs],
            "variants": self.means_T.tolist(),
        }


@dataclass(frozen=True)
class Comparison:
    """Arms on the variants of one split."""

    family: Family
    split: str
    arms: Sequence[Arm]

    @property
    def variants_TP(self) -> np.ndarray:
        """The variants that all arms played, in SI units."""
        return self.arms[0].evaluations[0].variants_TP

    @cached_property
    def improvements(self) -> dict[tuple[str, str], tuple[float, tuple[float, float] | None]]:
        """Probability of improvement of each arm over each other one and its 95 % interval; see ``improvement``."""
        return {(a.name, b.name): improvement(a.returns_RTE, b.returns_RTE) for a, b in permutations(self.arms, 2)}

    def json(self) -> dict[str, Any]:
        """What ``hyperrl compare --json`` writes."""
        return {
            "family": self.family.name,
            "split": self.split,
            "episodes": self.arms[0].returns_RTE.shape[2],
            "arms": {arm.name: arm.json() for arm in self.arms},
            "improvement": {
                f"{a} > {b}": {"probability": probability, "ci95": list(ends) if ends else None}
                for (a, b), (probability, ends) in self.improvements.items()
            },
            "variants": self.family.untable(self.variants_TP),
            "distance": self.family.distance(self.variants_TP).tolist(),
        }


def compare(
    runs: Sequence[StoredRun],
    split: str = "interpolation",
    episodes: int = 10,
    variants: int = SPLIT_SIZE,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Play every run on the same variants from the same starts.

    Runs that differ in their seeds only are one arm.

    Args:
        runs: trained on one family.
        split: which variants.
        episodes: greedy episodes a variant.
        variants: how many of the split.
        progress: called whenever a run has been played.

    Raises:
        InputError: there are no runs, they are of different families, one is given twice, or as ``evaluate``.
    """
    arms = grouped(runs)
    family, evaluated = runs[0].family, []
    for run in runs:
        evaluated.append(evaluate(run, split, episodes, variants=variants))
        progress()
    found = {id(run): evaluation for run, evaluation in zip(runs, evaluated, strict=True)}
    return Comparison(family, split, [Arm(name, own, [found[id(run)] for run in own]) for name, own in arms.items()])


def grouped(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """Arm -> its runs, in the order of their seeds; a warning names those that are not trained to their end.

    Raises:
        InputError: there are no runs, they are of different families, or one is given twice.
    """
    if not runs:
        raise InputError("runs=[]: must be one or more; name the folders of runs")
    alike: dict[tuple[tuple[str, Any], ...], list[StoredRun]] = {}
    for run in runs:
        if definition(run.family) != definition(runs[0].family):
            raise InputError(
                f"{run.folder}: a run of family {run.family.name!r}, {runs[0].folder} is of {runs[0].family.name!r}, "
                "or of another definition of it; compare runs of one family"
            )
        own = {name: value for name, value in asdict(run.config).items() if name not in ALIKE}
        same = alike.setdefault(tuple(own.items()), [])
        twice = [other for other in same if other.config.seed == run.config.seed]
        if twice:
            raise InputError(
                f"{run.folder}: has the settings and the seed {run.config.seed} of {twice[0].folder}; name one of them"
            )
        same.append(run)
        if run.steps < run.config.iterations * run.config.iteration_steps:
            warnings.warn(
                f"{run.folder}: {run.steps:,} steps of {run.config.steps:,}, compared as it is; resume or drop it",
                stacklevel=3,
            )
    ordered = [sorted(own, key=lambda run: run.config.seed) for own in alike.values()]
    return dict(zip(_names([dict(settings) for settings in alike]), ordered, strict=True))


def _names(arms: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each arm's settings: its agent, and what differs between arms of the same agent."""
    names = []
    for own in arms:
        rivals = [other for other in arms if other["agent"] == own["agent"]]
        differs = [name for name in own if any(other[name] != own[name] for other in rivals)]
        names.append(", ".join([own["agent"], *(f"{name} {_said(own[name])}" for name in differs)]))
    return names


def _said(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
