"""What value networks learn from, decided on validation variants and on seeds that no table reports.

    python benchmarks/value_targets.py

Each choice is added to those before it: values keep their unit when the scale of returns moves (PopArt), they learn the
returns of the rollout instead of those with the advantages' lambda, and CartPole's rollouts are longer at as many
samples. Printed and saved is |predicted - measured| / |measured| of the discounted return, and the mean return, both of
validation variants.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from common import save
from torch import nn

import hyperrl
from hyperrl.agents import ARMS
from hyperrl.evaluation.evaluate import evaluate
from hyperrl.families import resolve, tuned
from hyperrl.training import trainer

FAMILIES = ("cartpole", "pendulum", "point")
SEEDS = (10, 11, 12)
SHORT: Mapping[str, Any] = {"cartpole": {"rollout": 32, "copies": 8}}
"""Rollouts as they were before; other families' are as they are."""
KEYS = {"": ("seeds", "choices"), "choices": ("family", "choice", "relative_error", "mean_return")}


def keep_unit_off(agent: nn.Module, factor: torch.Tensor) -> None:
    """In the place of ``scale_values``: values move with the scale of returns."""


def trained(family: str, seed: int, rescaled: bool, lambda_: float | None, settings: Mapping[str, Any]) -> Any:
    """One agent under some of the choices; ``lambda_`` None: the rollout's own returns."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if not rescaled:
            stack.enter_context(patch.object(ARMS["hyper"], "scale_values", keep_unit_off))
        if lambda_ is not None:
            stack.enter_context(patch.object(trainer, "VALUE_LAMBDA", lambda_))
        run = hyperrl.train(
            family, seed=seed, run=Path(folder) / "run", device="cpu", quiet=True, encoder=False, **settings
        )
        return evaluate(run, "validation")


def main() -> None:
    torch.set_num_threads(1)
    choices = []
    for family in FAMILIES:
        advantage_lambda = tuned(resolve(family)).training.get("gae_lambda", 0.95)
        short = SHORT.get(family, {})
        ways = {
            "as before": (False, advantage_lambda, short),
            "unit kept": (True, advantage_lambda, short),
            "unit kept, rollout returns": (True, None, short),
            "unit kept, rollout returns, longer rollouts": (True, None, {}),
        }
        for choice, way in ways.items():
            if choice == list(ways)[-1] and not short:
                continue
            found = [trained(family, seed, *way) for seed in SEEDS]
            errors = [abs(each.prediction.predicted_T.mean() / each.prediction.measured_T.mean() - 1) for each in found]
            returns = [float(each.means_T.mean()) for each in found]
            choices.append(
                {"family": family, "choice": choice, "relative_error": [*map(float, errors)], "mean_return": returns}
            )
            print(family, choice, [round(float(e), 3) for e in errors], [round(r, 1) for r in returns], flush=True)
    save("value_targets", {"seeds": list(SEEDS), "choices": choices}, KEYS)


if __name__ == "__main__":
    main()
