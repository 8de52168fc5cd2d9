"""Zero-shot judgement of a run on variants that it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperrl.envs import Family, InputError
from hyperrl.envs.drift import walking
from hyperrl.evaluation.calibration import Prediction
from hyperrl.evaluation.statistics import Interval, interval, iqm, worst_tenth
from hyperrl.experts.cache import EXPERTS, cached_experts, normalised
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play, require_room, warn_of_not_finite
from hyperrl.storage.run import SPLIT_SIZE, StoredRun


@dataclass(frozen=True)
class Evaluation:
    """Greedy returns of one run on the variants of one split."""

    family: str
    agent: str
    seed: int
    split: str | None
    """``None`` where the variant was given by its parameters."""
    variants_TP: np.ndarray
    parameters: list[dict[str, float]]
    returns_TE: np.ndarray
    """(T, episodes)."""
    random_T: np.ndarray
    """Return of a random policy on each variant; nan where there is no expert."""
    expert_T: np.ndarray
    """Return of the variant's expert; nan where there is none."""
    prediction: Prediction
    """What the value network predicted for the episodes' starts."""
    drift: float | None = None
    """Random walk of every parameter in half-ranges a step; ``None``: as the family says."""

    @property
    def means_T(self) -> np.ndarray:
        """Mean return of each variant."""
        return self.returns_TE.mean(1)

    @property
    def normalised_T(self) -> np.ndarray:
        """Returns with 0 for a random policy and 1 for the expert, of the variants whose expert beats random."""
        scores_T = normalised(self.means_T, self.random_T, self.expert_T)
        return scores_T[np.isfinite(scores_T)]

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the IQM of this agent on these variants, over starts; ``None`` of one episode."""
        return interval(self.returns_TE[None])

    def json(self) -> dict[str, Any]:
        """What ``hyperrl evaluate --json`` writes; the interval is of the IQM of this agent on these variants."""
        found = self.interval
        known = np.isfinite(self.expert_T)
        experts = None
        if known.any():
            experts = {
                "variants": len(self.normalised_T),
                "mean": float(self.expert_T[known].mean()),
                "random": float(self.random_T[known].mean()),
                "normalised": float(self.normalised_T.mean()) if len(self.normalised_T) else None,
            }
        return {
            "family": self.family,
            "agent": self.agent,
            "seed": self.seed,
            "split": self.split,
            "episodes": self.returns_TE.shape[1],
            "drift": self.drift,
            "mean": float(self.means_T.mean()),
            "worst": float(self.means_T.min()),
            "worst_tenth": float(worst_tenth(self.means_T)),
            "iqm": float(iqm(self.returns_TE)),
            "ci95": list(found.ends) if found else None,
            "ci95_method": found.method if found else None,
            "ci95_about": found.about if found else None,
            "experts": experts,
            "calibration": self.prediction.json(),
            "variants": [
                {
                    "parameters": parameters,
                    "returns": returns.tolist(),
                    "mean": float(returns.mean()),
                    "predicted": float(predicted),
                    "discounted": float(measured),
                }
                for parameters, returns, predicted, measured in zip(
                    self.parameters,
                    self.returns_TE,
                    self.prediction.predicted_T,
                    self.prediction.measured_T,
                    strict=True,
                )
            ],
        }


def evaluate(
    run: StoredRun,
    split: str = "interpolation",
    episodes: int = 10,
    parameters: Mapping[str, float] | None = None,
    variants: int = SPLIT_SIZE,
    experts: Path = EXPERTS,
    drift: float | None = None,
) -> Evaluation:
    """Play greedy episodes with the policies generated for a split's variants, or for one given variant.

    A variant outside the training ranges is played all the same, with a warning.

    Args:
        run: the trained agent.
        split: which variants.
        episodes: greedy episodes a variant.
        parameters: one variant instead of a split's.
        variants: how many of the split.
        experts: folder of their cache.
        drift: lets every parameter walk at random within the episodes, in half-ranges a step, and generates the
            weights again at each; 0 holds them still; as the family says by default.

    Raises:
        InputError: the split or a parameter is unknown or out of bounds, or a count is below 1.
    """
    if episodes < 1:
        raise InputError(f"episodes={episodes}: must be 1 or more; leave it out for 10")
    family = run.family if drift is None else walking(run.family, drift)
    require_room(run.agent, family, 1 if parameters is not None else variants, episodes)
    table_TP = family.table([parameters]) if parameters is not None else family.variants(split, variants)
    note = family.range_note(table_TP)
    if note:
        warnings.warn(note, stacklevel=2)
    return evaluate_table(run, family, table_TP, episodes, None if parameters is not None else split, experts, drift)


def evaluate_table(
    run: StoredRun,
    family: Family,
    table_TP: np.ndarray,
    episodes: int,
    split: str | None = None,
    experts: Path = EXPERTS,
    drift: float | None = None,
) -> Evaluation:
    """Play greedy episodes with the policies generated for any variants (T, P), in SI units.

    Args:
        run: the trained agent.
        family: the run's, or a family with its spaces and parameters.
        table_TP: the variants.
        episodes: greedy episodes a variant, 1 or more.
        split: what the evaluation names the variants.
        experts: folder of their cache.
        drift: what the evaluation says of it.
    """
    actor = AgentActor(run.agent, family)
    gamma = run.config.gamma
    played = play(family, table_TP, actor, episodes, gamma=gamma)
    actor.generate(torch.as_tensor(table_TP))  # where parameters have drifted, the first weights again
    predicted_T = actor.values(played.start_NO).double().mean(1).numpy()
    warn_of_not_finite(family, table_TP, played.returns_TE)
    records = cached_experts(family, table_TP, experts)
    return Evaluation(
        family=family.name,
        agent=run.config.agent,
        seed=run.config.seed,
        split=split,
        variants_TP=table_TP,
        parameters=family.untable(table_TP),
        returns_TE=played.returns_TE,
        prediction=Prediction(gamma, predicted_T, played.discounted_TE.mean(1), played.returns_TE.mean(1)),
        drift=drift,
        random_T=np.array([record["random"] if record else np.nan for record in records]),
        expert_T=np.array([record["mean"] if record else np.nan for record in records]),
    )
