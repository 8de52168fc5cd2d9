"""The result of adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hyperrl.agents.target import OrdinaryAgent
from hyperrl.envs import InputError
from hyperrl.experts.cache import EXPERTS, cached_experts
from hyperrl.play.policy import VariantPolicy
from hyperrl.storage.run import StoredRun

EPISODES = 10
"""Greedy episodes whose mean is a point of a curve; they measure only, and are not on its axis."""


@dataclass(frozen=True)
class Adaptation:
    """The result of adaptation to T variants, at K points of a curve."""

    run: StoredRun
    mode: str
    unknown: bool
    variants_TP: np.ndarray
    episodes_K: list[int]
    """Episodes asked for so far."""
    learned_KT: np.ndarray
    """Those of each variant that were learned from: fewer where it stopped learning."""
    judged_KT: np.ndarray
    """Further episodes of each variant that decided what is kept."""
    steps_KT: np.ndarray
    """Environment steps of the episodes learned from."""
    returns_KT: np.ndarray
    """Mean undiscounted return of ``EPISODES`` greedy episodes."""
    seconds_K: list[float]
    """Seconds so far, for all T variants together: episodes, learning and judgements after the first. The episodes of
    the curve and the training of an encoder are not counted."""
    judged_steps_KT: np.ndarray
    """Further environment steps of the episodes that decided what is kept."""
    mean_TP: np.ndarray | None
    """Inferred parameters in SI units; ``None`` where nothing was inferred."""
    std_TP: np.ndarray | None
    agent: OrdinaryAgent = field(repr=False)
    """The agent of ordinary networks that runs ``weights_TW``."""
    weights_TW: Tensor = field(repr=False)
    policy_type: type[VariantPolicy] = VariantPolicy

    @property
    def played_KT(self) -> np.ndarray:
        """Every episode played on each variant so far: those learned from and those that decided what is kept."""
        return self.learned_KT + self.judged_KT

    @property
    def played_steps_KT(self) -> np.ndarray:
        """Their environment steps."""
        return self.steps_KT + self.judged_steps_KT

    @property
    def area_T(self) -> np.ndarray:
        """Area under each variant's curve over the episodes played, as a mean return: (T,)."""
        last_T = self.played_KT[-1]
        area_T = np.trapezoid(self.returns_KT, self.played_KT, axis=0)
        return np.where(last_T > 0, area_T / np.maximum(last_T, 1), self.returns_KT[0])

    @property
    def policies(self) -> list[Any]:
        """The adapted policies, one a variant; ``export`` takes them."""
        run, variants = self.run, self.run.family.untable(self.variants_TP)
        return [
            self.policy_type(self.agent, run.family, variant, gamma=run.config.gamma, weights_1D=weights_1W)
            for variant, weights_1W in zip(variants, self.weights_TW.split(1), strict=True)
        ]

    @property
    def policy(self) -> Any:
        """The adapted policy of a single variant.

        Raises:
            InputError: there are several.
        """
        if len(self.variants_TP) != 1:
            raise InputError(f"{len(self.variants_TP)} variants were adapted to: take one of their policies")
        return self.policies[0]

    def json(self, experts: Path = EXPERTS) -> list[dict[str, Any]]:
        """What ``hyperrl adapt --json`` writes of each variant; an expert's return where the cache has one."""
        family, config = self.run.family, self.run.config
        records = cached_experts(family, self.variants_TP, experts)
        return [
            {
                "family": family.name,
                "agent": config.agent,
                "seed": config.seed,
                "parameters": parameters,
                "unknown": self.unknown,
                "mode": self.mode,
                "inferred": self._inferred(t),
                "curve": self._curve(t),
                "expert": record["mean"] if record else None,
            }
            for t, (parameters, record) in enumerate(zip(family.untable(self.variants_TP), records, strict=True))
        ]

    def _curve(self, t: int) -> list[dict[str, float]]:
        """The curve of variant t: its axes count every episode and step played on the variant."""
        return [
            {
                "episodes": int(self.played_KT[k, t]),
                "learned": int(self.learned_KT[k, t]),
                "steps": int(self.played_steps_KT[k, t]),
                "return": float(self.returns_KT[k, t]),
                "seconds": seconds,
            }
            for k, seconds in enumerate(self.seconds_K)
        ]

    def _inferred(self, t: int) -> dict[str, dict[str, float]] | None:
        if self.mean_TP is None or self.std_TP is None:
            return None
        names = self.run.family.changeable
        columns = [self.run.family.names.index(name) for name in names]
        return {
            name: {"mean": float(self.mean_TP[t, i]), "std": float(self.std_TP[t, i])}
            for name, i in zip(names, columns, strict=True)
        }
