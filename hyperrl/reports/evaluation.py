"""What is written and drawn of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hyperrl.evaluation.evaluate import Evaluation
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import play
from hyperrl.reports import figures
from hyperrl.storage.files import write_json
from hyperrl.storage.run import StoredRun

SWEEP_VALUES = 21
MAP_VALUES = 15
MAP_EPISODES = 3


def save_evaluations(run: StoredRun, evaluations: Sequence[Evaluation], sweeps: bool = False) -> list[Path]:
    """Write ``evaluations/<split>.json`` and the figures into the run's folder; return the figures' paths.

    Args:
        run: the trained agent.
        evaluations: what was played.
        sweeps: play further episodes to draw from: each parameter alone, and the two that change the return most over a
            grid. Otherwise nothing is played.
    """
    for evaluation in evaluations:
        name = evaluation.split or "variant"
        drifting = "" if evaluation.drift is None else f"-drift-{evaluation.drift:g}"
        write_json(run.folder / "evaluations" / f"{name}{drifting}.json", evaluation.json())
    splits = [evaluation for evaluation in evaluations if evaluation.split]
    if not splits:
        return []
    family, folder = run.family, run.folder / "figures"
    swept = sweep(run) if sweeps else {}
    steps = np.asarray(run.curves["steps"])
    curves = {split: (steps, np.asarray(returns)) for split, returns in run.curves.items() if split != "steps"}
    spread = {name: float(np.ptp(returns)) for name, (_, returns) in swept.items()}
    points = {str(evaluation.split): (evaluation.variants_TP, evaluation.means_T) for evaluation in splits}
    drawn = {
        "learning_curves": figures.learning_curves(family, curves),
        "return_over_parameters": figures.return_over_parameters(family, points, swept),
    }
    # what is not finite has no place in a figure; evaluate has said which it is
    finite = {str(e.split): np.isfinite(e.prediction.predicted_T + e.prediction.measured_T) for e in splits}
    predictions = {
        str(e.split): (e.prediction.predicted_T[shown_T], e.prediction.measured_T[shown_T])
        for e, shown_T in zip(splits, finite.values(), strict=True)
        if shown_T.any()
    }
    if predictions:
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


def sweep(run: StoredRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each parameter alone over its wide range, the others at their defaults: values (V,) and mean returns (V,)."""
    parameters = [parameter for parameter in run.family.parameters if not parameter.distractor]
    names = [parameter.name for parameter in parameters]
    values = {parameter.name: np.linspace(*parameter.wide, SWEEP_VALUES) for parameter in parameters}
    variants = [{name: float(value)} for name in names for value in values[name]]
    returns = _mean_returns(run, variants).reshape(len(names), SWEEP_VALUES)
    return {name: (values[name], row) for name, row in zip(names, returns, strict=True)}


def grid(run: StoredRun, first: str, second: str) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Two parameters over their wide ranges, the others at their defaults: values and mean returns (V, V)."""
    values = [np.linspace(*run.family[name].wide, MAP_VALUES) for name in (first, second)]
    variants = [{first: float(a), second: float(b)} for a in values[0] for b in values[1]]
    returns = _mean_returns(run, variants).reshape(MAP_VALUES, MAP_VALUES)
    return (values[0], values[1]), returns


def _mean_returns(run: StoredRun, variants: Sequence[Mapping[str, float]]) -> np.ndarray:
    table_TP = run.family.table(variants)
    return play(run.family, table_TP, AgentActor(run.agent, run.family), MAP_EPISODES).returns_TE.mean(1)
