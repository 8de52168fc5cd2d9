"""The held-out variants that are played during training, and the best agent on the validation variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from hyperrl.envs import Family
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import LONGEST, play, warn_of_not_finite
from hyperrl.seeds import seed_of
from hyperrl.training.trainer import Trainer

HELD_OUT = {"validation": 64, "interpolation": 16, "extrapolation": 16, "combination": 16}
"""Variants of each split played during training; only ``validation`` decides anything."""
HELD_OUT_EPISODES = 2
VALIDATION = "validation"
"""The split whose mean return picks the agent that is kept."""


@dataclass
class Progressed:
    """What a run keeps beside its trainer: the best agent on the validation variants, and the held-out curves."""

    run: str = ""
    """Identity of the run."""
    score: float = -np.inf
    step: int = 0
    agent: dict[str, torch.Tensor] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=lambda: {"steps": []})
    seconds: list[float] = field(default_factory=list)
    """Of training at each point of the curves, held-out play and files included."""
    elapsed: float = 0.0
    """Seconds of training up to the last checkpoint."""


class HeldOut:
    """The held-out variants played during training."""

    def __init__(self, family: Family, splits: Sequence[str] | None = None) -> None:
        """Draw them: of all splits, or of some with ``validation`` among them."""
        self.variants = {split: family.variants(split, HELD_OUT[split]) for split in splits or family.splits}

    def play(self, trainer: Trainer, progressed: Progressed) -> dict[str, float]:
        """Play every split at once, remember the curves, and keep the agent if it is the best on validation.

        Returns that are not finite decide nothing, and a warning says so.
        """
        table_TP = np.concatenate(list(self.variants.values()))
        actor = AgentActor(trainer.agent, trainer.family)
        played = play(
            trainer.family,
            table_TP,
            actor,
            HELD_OUT_EPISODES,
            seed_of("held-out starts"),
            trainer.device,
            longest=min(trainer.config.longest, LONGEST),
        )
        ends = np.cumsum([len(variants) for variants in self.variants.values()])[:-1]
        scores = dict(zip(self.variants, np.split(played.returns_TE.mean(1), ends), strict=True))
        progressed.curves["steps"].append(trainer.steps)
        for split, score_T in scores.items():
            progressed.curves.setdefault(split, []).append(float(score_T.mean()))
        validation = scores[VALIDATION]
        warn_of_not_finite(trainer.family, table_TP, played.returns_TE)
        if np.isfinite(validation).all() and validation.mean() >= progressed.score:
            progressed.score = float(validation.mean())
            self.keep(trainer, progressed)
        tags = {f"eval/{split}/mean_reward": float(score_T.mean()) for split, score_T in scores.items()}
        tags |= {f"eval/{split}/worst_reward": float(score_T.min()) for split, score_T in scores.items()}
        count = len(validation)
        return tags | {
            "eval/mean_reward": float(validation.mean()),
            "eval/mean_ep_length": float(played.lengths_TE[:count].mean()),
        }

    def keep(self, trainer: Trainer, progressed: Progressed) -> None:
        """Remember the agent as it is now."""
        progressed.step = trainer.steps
        progressed.agent = {name: value.cpu().clone() for name, value in trainer.agent.state_dict().items()}
