"""What the value network predicts of a variant before it is played, and how well that holds.

A value network predicts the discounted return of the policy from an observation, as if no time limit cut the episode.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hyperrl.envs import Family, InputError, PhysicsFamily
from hyperrl.evaluation.statistics import spearman
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import START_SEED
from hyperrl.storage.run import StoredRun

STARTS = 16
"""Starts of each variant that a prediction is the mean over."""
SWEEP_VALUES = 21
MAP_VALUES = 31


@dataclass(frozen=True)
class Prediction:
    """Predicted discounted returns of variants beside those of the episodes that were then played."""

    gamma: float
    predicted_T: np.ndarray
    """Mean over the episodes' starts."""
    measured_T: np.ndarray
    """Mean over the episodes, those that the time limit cut completed as by ``discounted``."""
    returns_T: np.ndarray
    """Mean undiscounted return."""

    def json(self) -> dict[str, Any]:
        """How well the prediction holds; ``None`` where the prediction never varies, as of one variant.

        ``slope`` is that of a straight line of measured over predicted: 1 where the prediction is neither exaggerated
        nor faint. ``spearman_return`` is the rank correlation of the prediction with the undiscounted return.
        """
        predicted_T, measured_T = self.predicted_T, self.measured_T
        spread = float(predicted_T.var())
        varies = spread > (1e-6 * np.abs(predicted_T).max(initial=1e-12)) ** 2
        covariance = float(((predicted_T - predicted_T.mean()) * (measured_T - measured_T.mean())).mean())
        return {
            "gamma": self.gamma,
            "predicted": float(predicted_T.mean()),
            "measured": float(measured_T.mean()),
            "mean_absolute_error": float(np.abs(predicted_T - measured_T).mean()),
            "spearman": spearman(predicted_T, measured_T) if varies else None,
            "spearman_return": spearman(predicted_T, self.returns_T) if varies else None,
            "slope": covariance / spread if varies else None,
        }


def predicted(run: StoredRun, table_TP: np.ndarray) -> np.ndarray:
    """Predicted discounted returns of variants (T, P), each the mean over ``STARTS`` starts: (T,).

    All weights are generated in one call, and no step is played. Where a start takes an environment to be built, the
    starts are those of the original task.
    """
    actor = AgentActor(run.agent, run.family)
    actor.generate(torch.as_tensor(table_TP))
    own = isinstance(run.family, PhysicsFamily)
    env = run.family.in_process().vector(table_TP if own else run.family.table([{}]), STARTS, seed=START_SEED)
    obs, _ = env.reset(seed=START_SEED, options={"paired": True})
    env.close()
    return actor.values(obs if own else obs.repeat(len(table_TP), 1)).double().mean(1).numpy()


@dataclass(frozen=True)
class Map:
    """Predicted discounted return over two parameters, the others at their defaults."""

    family: Family
    names: tuple[str, str]
    values: tuple[np.ndarray, np.ndarray]
    """(X,) and (Y,), rising, over the wide ranges."""
    predicted_XY: np.ndarray
    gamma: float
    seconds: float
    """What choosing the parameters, generating and predicting took."""

    def json(self) -> dict[str, Any]:
        """What ``hyperrl map --json`` writes."""
        return {
            "family": self.family.name,
            "over": list(self.names),
            "values": [values.tolist() for values in self.values],
            "others": {name: value for name, value in self.family.defaults.items() if name not in self.names},
            "gamma": self.gamma,
            "predicted": self.predicted_XY.tolist(),
            "seconds": self.seconds,
        }


def predicted_map(run: StoredRun, over: Sequence[str] | None = None) -> Map:
    """Predict over the wide ranges of two parameters: by default of those that change the prediction most.

    Raises:
        InputError: they are not two parameters of the family, or it has fewer.
    """
    started, family = time.perf_counter(), run.family
    if over is None:
        over = _telling(run)
    first, second = over
    if first == second:
        raise InputError(f"--over {first} {second}: needs two different parameters; choose another one")
    values = [np.linspace(*family[name].wide, MAP_VALUES) for name in (first, second)]
    variants = [{first: float(a), second: float(b)} for a in values[0] for b in values[1]]
    predicted_XY = predicted(run, family.table(variants)).reshape(MAP_VALUES, MAP_VALUES)
    seconds = time.perf_counter() - started
    return Map(family, (first, second), (values[0], values[1]), predicted_XY, run.config.gamma, seconds)


def _telling(run: StoredRun) -> list[str]:
    """The two parameters over whose wide ranges alone the prediction changes most."""
    names = [parameter.name for parameter in run.family.parameters if not parameter.distractor]
    if len(names) < 2:
        raise InputError(f"family {run.family.name!r}: a map needs two parameters that act, it has {len(names)}")
    variants = [{name: float(value)} for name in names for value in np.linspace(*run.family[name].wide, SWEEP_VALUES)]
    spread = np.ptp(predicted(run, run.family.table(variants)).reshape(len(names), SWEEP_VALUES), axis=1)
    return [names[i] for i in np.argsort(-spread, kind="stable")[:2]]
