"""Zero-shot judgement of a run on variants that it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperrl.calibration import Prediction
from hyperrl.checkpoint import write_json
from hyperrl.envs import InputError
from hyperrl.envs.drift import walking
from hyperrl.episodes import episode_returns, play
from hyperrl.experts import cached_experts, normalised
from hyperrl.rollout import Greedy
from hyperrl.run import SPLIT_SIZE, Run
from hyperrl.statistics import iqm, stratified_bootstrap, worst_tenth

EXPERTS = Path("runs/experts")
SWEEP_VALUES = 21
MAP_VALUES = 15
MAP_EPISODES = 3


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

    def json(self) -> dict[str, Any]:
        """What ``hyperrl evaluate --json`` writes; the interval is over episodes and variants of this one run."""
        low, high = stratified_bootstrap(self.returns_TE.T)
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
            "ci95": [float(low), float(high)],
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
    run: Run,
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
    table_TP = family.table([parameters]) if parameters is not None else family.variants(split, variants)
    note = family.range_note(table_TP)
    if note:
        warnings.warn(note, stacklevel=2)
    act = Greedy(run.agent, family, table_TP, torch.device("cpu"))
    gamma = run.config.gamma
    played = play(family, table_TP, act, episodes, told=act.generate, gamma=gamma)
    act.generate(torch.as_tensor(table_TP))  # where parameters have drifted, the first weights again
    predicted_T = act.values(played.start_NO).double().mean(1).numpy()
    records = cached_experts(family, table_TP, experts)
    return Evaluation(
        family=family.name,
        agent=run.config.agent,
        seed=run.config.seed,
        split=None if parameters is not None else split,
        variants_TP=table_TP,
        parameters=family.untable(table_TP),
        returns_TE=played.returns_TE,
        prediction=Prediction(gamma, predicted_T, played.discounted_TE.mean(1), played.returns_TE.mean(1)),
        drift=drift,
        random_T=np.array([record["random"] if record else np.nan for record in records]),
        expert_T=np.array([record["mean"] if record else np.nan for record in records]),
    )


def save(run: Run, evaluations: Sequence[Evaluation]) -> list[Path]:
    """Write ``evaluations/<split>.json`` and the figures into the run's folder; return the figures' paths."""
    from hyperrl import figures

    for evaluation in evaluations:
        name = evaluation.split or "variant"
        drifting = "" if evaluation.drift is None else f"-drift-{evaluation.drift:g}"
        write_json(run.folder / "evaluations" / f"{name}{drifting}.json", evaluation.json())
    splits = [evaluation for evaluation in evaluations if evaluation.split]
    if not splits:
        return []
    family, folder = run.family, run.folder / "figures"
    sweeps = sweep(run)
    steps = np.asarray(run.curves["steps"])
    curves = {split: (steps, np.asarray(returns)) for split, returns in run.curves.items() if split != "steps"}
    spread = {name: float(np.ptp(returns)) for name, (_, returns) in sweeps.items()}
    points = {str(evaluation.split): (evaluation.variants_TP, evaluation.means_T) for evaluation in splits}
    drawn = {
        "learning_curves": figures.learning_curves(family, curves),
        "return_over_parameters": figures.return_over_parameters(family, points, sweeps),
    }
    predictions = {str(e.split): (e.prediction.predicted_T, e.prediction.measured_T) for e in splits}
    drawn["predicted_return"] = figures.predicted_return(family, predictions, run.config.gamma)
    if len(spread) > 1:
        first, second = sorted(spread, key=lambda name: -spread[name])[:2]
        grids, returns = grid(run, first, second)
        drawn["heat_map"] = figures.heat_map(family, (first, second), grids, returns)
    distance = np.concatenate([family.distance(evaluation.variants_TP) for evaluation in splits])
    if distance.any():
        means = np.concatenate([evaluation.means_T for evaluation in splits])
        drawn["return_over_distance"] = figures.return_over_distance(family, distance, means)
    return [figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def sweep(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each parameter alone over its wide range, the others at their defaults: values (V,) and mean returns (V,)."""
    parameters = [parameter for parameter in run.family.parameters if not parameter.distractor]
    names = [parameter.name for parameter in parameters]
    values = {parameter.name: np.linspace(*parameter.wide, SWEEP_VALUES) for parameter in parameters}
    variants = [{name: float(value)} for name in names for value in values[name]]
    returns = _mean_returns(run, variants).reshape(len(names), SWEEP_VALUES)
    return {name: (values[name], row) for name, row in zip(names, returns, strict=True)}


def grid(run: Run, first: str, second: str) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Two parameters over their wide ranges, the others at their defaults: values and mean returns (V, V)."""
    values = [np.linspace(*run.family[name].wide, MAP_VALUES) for name in (first, second)]
    variants = [{first: float(a), second: float(b)} for a in values[0] for b in values[1]]
    returns = _mean_returns(run, variants).reshape(MAP_VALUES, MAP_VALUES)
    return (values[0], values[1]), returns


def _mean_returns(run: Run, variants: Sequence[Mapping[str, float]]) -> np.ndarray:
    table_TP = run.family.table(variants)
    act = Greedy(run.agent, run.family, table_TP, torch.device("cpu"))
    return episode_returns(run.family, table_TP, act, MAP_EPISODES, told=act.generate)[0].mean(1)
