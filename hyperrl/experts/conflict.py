"""Returns of each variant's expert on other variants: whether a family needs a context at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

from hyperrl.envs import Family, InputError
from hyperrl.experts.cache import EXPERTS, Record, load_expert, normalised
from hyperrl.experts.environment import from_sb3
from hyperrl.experts.pool import require_workers, train_experts
from hyperrl.experts.settings import EPISODES, expert_settings
from hyperrl.families import resolve
from hyperrl.jobs import LOKY
from hyperrl.play.actors import Act
from hyperrl.play.episodes import play

SPLIT = "validation"
"""Split that the variants are picked from: no held-out split, since what is decided here is how to train."""
CANDIDATES = 64
"""Variants of the split that the picked ones are the most different of."""
SERVES = 0.9
"""Normalised return from which on a policy counts as good on a variant."""


@dataclass(frozen=True)
class Conflict:
    """The matrix of experts on variants."""

    family: Family
    variants_TP: np.ndarray
    """Variants (T, P) in SI units; row and column t of the matrices belong to variant t."""
    returns_TT: np.ndarray
    """Mean return (T, T) of each variant's expert (row) on each variant (column)."""
    random_T: np.ndarray
    """Mean return (T,) of random actions on each variant."""
    normalised_TT: np.ndarray
    """``returns_TT`` with 0 for random actions and 1 for the best of the experts on the variant; NaN in the column of a
    variant on which none is better than random actions."""
    steps: int
    """Steps that each expert was trained for."""
    seed: int
    """Seed of the experts."""

    @property
    def _elsewhere_N(self) -> np.ndarray:
        """Normalised returns of experts on the variants of other experts: T (T - 1) numbers or fewer."""
        values = self.normalised_TT[~np.eye(len(self.normalised_TT), dtype=bool)]
        return values[np.isfinite(values)]

    @property
    def mean(self) -> float:
        """Mean normalised return off the diagonal; NaN where there is none."""
        return float(self._elsewhere_N.mean()) if len(self._elsewhere_N) else float("nan")

    @property
    def worst(self) -> float:
        """Lowest normalised return off the diagonal; NaN where there is none."""
        return float(self._elsewhere_N.min()) if len(self._elsewhere_N) else float("nan")

    @property
    def best_expert(self) -> float:
        """The highest of the experts' lowest normalised returns; NaN where a variant has no scale."""
        return float(self.normalised_TT.min(axis=1).max())

    @property
    def unlearned_T(self) -> np.ndarray:
        """Variants (T,) on which their own expert reaches less than ``SERVES``."""
        return ~(np.diagonal(self.normalised_TT) >= SERVES)

    @property
    def context(self) -> str:
        """``needed``, ``not needed`` or ``undecided``.

        Not needed: one expert reaches ``SERVES`` or more on every variant. Undecided: none does, and some expert does
        not reach it on its own variant.
        """
        if self.best_expert >= SERVES:
            return "not needed"
        return "undecided" if self.unlearned_T.any() else "needed"

    @property
    def verdict(self) -> str:
        """The finding in one sentence."""
        if self.context == "undecided":
            return (
                f"undecided: after {self.steps:,} steps {int(self.unlearned_T.sum())} of {len(self.unlearned_T)} "
                f"experts are no better than random actions on their own variant, or far below another expert "
                "there; train them for more"
            )
        if self.context == "not needed":
            return (
                f"one policy may serve all: one expert's normalised return is {self.best_expert:.2f} or more on every "
                f"variant ({SERVES:g} is good); train an arm without a context first"
            )
        return (
            "a context is likely to be needed: on the others' variants an expert's normalised return is "
            f"{self.mean:.2f} in the mean and {self.worst:.2f} at worst, and none has {SERVES:g} everywhere "
            f"(the best one {self.best_expert:.2f} at its worst)"
        )

    def json(self) -> dict[str, Any]:
        """The matrix as plain values, as ``hyperrl audit --conflict --json`` writes it."""
        numbers = {"mean": self.mean, "worst": self.worst, "best_expert": self.best_expert}
        return {
            "split": SPLIT,
            "variants": self.family.untable(self.variants_TP),
            "experts": {"steps": self.steps, "seed": self.seed},
            "returns": self.returns_TT.tolist(),
            "random": self.random_T.tolist(),
            "normalised": [[_plain(value) for value in row] for row in self.normalised_TT],
            **{name: _plain(value) for name, value in numbers.items()},
            "context": self.context,
            "verdict": self.verdict,
        }


def check(
    family: Family,
    variants: int = 4,
    root: Path | str = EXPERTS,
    seed: int = 0,
    workers: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    backend: str = LOKY,
    scheduler: str | None = None,
) -> None:
    """Refuse what ``conflict`` refuses, before any expert is trained.

    Raises:
        InputError: as ``conflict``.
    """
    spread(family, variants)
    expert_settings(family, overrides)
    require_workers(workers, seed, backend, scheduler)


def conflict(
    reference: str,
    variants: int = 4,
    root: Path | str = EXPERTS,
    seed: int = 0,
    workers: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    backend: str = LOKY,
    scheduler: str | None = None,
) -> Conflict:
    """Play each variant's expert on every variant; train the experts that are not cached.

    Args:
        reference: the family, as ``hyperrl.families.resolve`` reads it.
        variants: how many, at least 2.
        root: folder of the cache of experts.
        seed: of the experts.
        workers: as for ``train_experts``; so are the next three.
        overrides: settings of the experts that replace the family's own.
        backend: where they are trained.
        scheduler: address of the cluster's scheduler.

    Raises:
        InputError: as ``train_experts``, or ``variants`` is out of range.
    """
    family = resolve(reference)
    table_TP = spread(family, variants)
    records = train_experts(reference, table_TP, root, seed, workers, overrides, backend, scheduler)
    returns_TT = np.array([_play(family, record, load_expert(family, record, root), table_TP) for record in records])
    random_T = np.array([record["random"] for record in records])
    scores_TT = normalised(returns_TT, random_T, returns_TT.max(axis=0))
    return Conflict(family, table_TP, returns_TT, random_T, scores_TT, records[0]["steps"], seed)


def spread(family: Family, count: int) -> np.ndarray:
    """Variants (count, P) of the validation split, each as far from those before as any, in encoded context.

    Distractors are held at their defaults.

    Raises:
        InputError: ``count`` is below 2, or the split has not as many.
    """
    candidates_TP = family.variants(SPLIT, CANDIDATES)
    for column, parameter in enumerate(family.parameters):
        if parameter.distractor:
            candidates_TP[:, column] = parameter.default
    candidates_TP = np.unique(candidates_TP, axis=0)
    if not 2 <= count <= len(candidates_TP):
        raise InputError(
            f"variants={count}: must be within [2, {len(candidates_TP)}], to set an expert against others' variants; "
            "choose so many"
        )
    context_TC = family.encode(torch.as_tensor(candidates_TP)).numpy()
    picked = [int(np.linalg.norm(context_TC - context_TC.mean(0), axis=1).argmax())]
    while len(picked) < count:
        gaps_TT = np.linalg.norm(context_TC[:, None] - context_TC[picked], axis=2)
        picked.append(int(gaps_TT.min(axis=1).argmax()))
    return candidates_TP[picked]


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _play(family: Family, record: Record, expert: PPO, variants_TP: np.ndarray) -> Sequence[float]:
    """Mean return of an expert on each variant, greedy, from the starts that every judgement shares."""
    scales = record["normaliser"]

    def act(obs: torch.Tensor) -> torch.Tensor:
        obs_NO = obs.numpy()
        if scales:
            deviation = np.sqrt(np.array(scales["var"]) + scales["epsilon"])
            scaled_NO = (obs_NO - np.array(scales["mean"])) / deviation
            obs_NO = scaled_NO.clip(-scales["clip"], scales["clip"]).astype(np.float32)
        return torch.as_tensor(from_sb3(family.action_space, expert.predict(obs_NO, deterministic=True)[0]))

    return play(family, variants_TP, Act(act), EPISODES).returns_TE.mean(axis=1).tolist()
