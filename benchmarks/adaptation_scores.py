"""What the tables of adaptation say, computed from the saved cells: pure functions of arrays.

R seeds, K points of a curve, T variants, B budgets of episodes played. Normalised: 0 is a random policy, 1 the expert.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from adaptation import CELLS, KNOWN, VARIANTS

from hyperrl.evaluation.statistics import Interval, interval, interval_ends
from hyperrl.experts.cache import normalised

BUDGETS = (0, 1, 2, 5, 10, 20, 50, 100)
"""Episodes played on a variant, those that judge and select included."""
THERE = 0.95
"""Normalised return at which a variant counts as reached."""
NO_GAP = 0.01
"""Normalised return below the expert's that is no gap."""
SOUND, LEARNED = 0.9, 0.2
"""A sound expert ends at ``SOUND`` of its curve's best gain over random, which is ``LEARNED`` of the median's."""

Cells = dict[str, np.ndarray]
"""Saved arrays of a family, see ``adaptation.gathered``."""


class Row(NamedTuple):
    """Which cell a row of the table is about."""

    agent: str
    mode: str
    parameters: str
    split: str

    @property
    def key(self) -> str:
        """Name of its arrays."""
        return f"{self.agent}-{self.mode}-{self.parameters}-{self.split}"


def rows_of(cells: Cells) -> list[Row]:
    """Every row that a family has, split by split."""
    rows = [
        Row(agent, mode, parameters, split)
        for split in VARIANTS
        for mode, parameters, agents, _ in CELLS
        for agent in agents
    ]
    return [row for row in rows if f"{row.key}-returns" in cells]


class Ceiling(NamedTuple):
    """The experts of a split's variants, those that have not learned their variant left out."""

    sound_T: np.ndarray
    random_T: np.ndarray
    expert_T: np.ndarray
    scratch_T: np.ndarray
    """Steps until SB3 from scratch is there."""
    curve_steps_TN: np.ndarray
    curve_scores_TN: np.ndarray


def ceiling_of(cells: Cells, split: str) -> Ceiling:
    """An expert is sound that ends near the best of its own curve, and well above random for its split."""
    expert_T = cells[f"expert-{split}-returns"].mean(1)
    steps_TN, returns_TN = cells[f"expert-{split}-curve-steps"], cells[f"expert-{split}-curve-returns"]
    random_T = cells[f"random-{split}"][: len(expert_T)]
    unit_T = returns_TN.max(1) - random_T
    sound_T = (expert_T - random_T >= SOUND * unit_T) & (unit_T >= LEARNED * np.median(unit_T))
    scores_TN = normalised(returns_TN, random_T[:, None], expert_T[:, None])
    scratch_T = np.array([steps_until(*curve) for curve in zip(steps_TN, scores_TN, strict=True)])
    every = (random_T, expert_T, scratch_T, steps_TN, scores_TN)
    return Ceiling(sound_T, *(values[sound_T] for values in every))


def steps_until(steps: np.ndarray, scores: np.ndarray) -> float:
    """Steps at the first point of a curve that is there; infinite where none is."""
    there = np.flatnonzero(scores >= THERE)
    return float(steps[there[0]]) if len(there) else np.inf


def measured(cells: Cells, row: Row, measure: str, ceiling: Ceiling) -> np.ndarray:
    """A measure (R, K, T) of a cell on the variants that have a sound expert."""
    return cells[f"{row.key}-{measure}"][..., : len(ceiling.sound_T)][..., ceiling.sound_T]


class Scores(NamedTuple):
    """A row of the table."""

    normalised_BRT: np.ndarray
    """At each budget: the last point whose episodes played, on the mean over variants, lie within it."""
    ends_B2: np.ndarray
    """Ends of the 95 % interval of the mean: agents of any seed, on these variants, from these starts."""
    played: float
    """Episodes played in all on a variant, on average."""
    gap_closed_B: np.ndarray | None
    """Of the gap between the experts and the same arm's zero-shot policy for known parameters; None where none is."""
    behind: float
    """Share of seeds and variants where there is such a gap."""
    there_at_once: float
    share_of_scratch: float
    """Median of the steps played until a variant is there over those of SB3 from scratch; what is there at once needs
    none; infinite: never."""
    share_of_the_rest: float | None
    """The same of those that are not there at once; None where all are."""

    @property
    def normalised_B(self) -> np.ndarray:
        """Mean over seeds and variants."""
        return self.normalised_BRT.mean((1, 2))


def scores_of(cells: Cells, row: Row, ceiling: Ceiling) -> Scores:
    """Everything that the table says of a cell."""
    scale = (ceiling.random_T, ceiling.expert_T)
    scores_RKT = normalised(measured(cells, row, "returns", ceiling), *scale)
    zero_row = row._replace(mode="all", parameters=KNOWN)
    zero_RT = normalised(measured(cells, zero_row, "returns", ceiling)[:, 0], *scale)
    played_RK = measured(cells, row, "played", ceiling).mean(2)
    normalised_BRT = at_budgets(scores_RKT, played_RK)
    steps_RKT = measured(cells, row, "steps", ceiling)
    at_once_RT = scores_RKT[:, 0] >= THERE
    needed_RT = np.array(
        [[steps_until(*at) for at in zip(s.T, x.T, strict=True)] for s, x in _seeds(steps_RKT, scores_RKT)]
    )
    share_RT = np.where(at_once_RT, 0.0, needed_RT / np.maximum(ceiling.scratch_T, 1))
    behind_RT = zero_RT < 1 - NO_GAP
    return Scores(
        normalised_BRT=normalised_BRT,
        ends_B2=np.stack(interval_ends(normalised_BRT[..., None], np.mean, ("seeds",)), axis=1),
        played=float(played_RK[:, -1].mean()),
        gap_closed_B=gap_closed(zero_RT, normalised_BRT) if behind_RT.any() else None,
        behind=float(behind_RT.mean()),
        there_at_once=float(at_once_RT.mean()),
        share_of_scratch=float(np.median(share_RT)),
        share_of_the_rest=None if at_once_RT.all() else float(np.median(share_RT[~at_once_RT])),
    )


def _seeds(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    return list(zip(*arrays, strict=True))


def at_budgets(scores_RKT: np.ndarray, played_RK: np.ndarray) -> np.ndarray:
    """Scores (B, R, T) of each seed's last point that lies within each budget."""
    points_BR = [[np.flatnonzero(played_K <= budget)[-1] for played_K in played_RK] for budget in BUDGETS]
    return np.array([[scores_RKT[r, k] for r, k in enumerate(points_R)] for points_R in points_BR])


def gap_closed(zero_RT: np.ndarray, scores_BRT: np.ndarray) -> np.ndarray:
    """How much of the zero-shot gap to the experts is closed (B,), where there is one.

    A variant that overtakes its expert counts as closed: it makes up for no other. What is lost where there is no gap
    is not counted.
    """
    behind_RT = zero_RT < 1 - NO_GAP
    size = (1 - zero_RT)[behind_RT].sum()
    return np.array([(np.minimum(scores_RT, 1) - zero_RT)[behind_RT].sum() / size for scores_RT in scores_BRT])


def scratch_B(ceiling: Ceiling, longest: int) -> np.ndarray:
    """SB3 from scratch (B,): its last judgement after as many steps as full episodes of ``longest`` steps have."""
    curves = list(zip(ceiling.curve_steps_TN, ceiling.curve_scores_TN, strict=True))
    return np.array([[scores[steps <= budget * longest][-1] for steps, scores in curves] for budget in BUDGETS]).mean(1)


class Inferred(NamedTuple):
    """What unknown parameters cost an arm on a split."""

    variants: int
    share_RK: np.ndarray
    """Return above a random policy's after each number of episodes, over that of the same agent that knows the
    parameters."""
    after_one: Interval | None


def inferred(cells: Cells, row: Row) -> Inferred:
    """A row of the table of `infer`, on all of its variants."""
    returns_RK, known_R = cells[f"{row.key}-returns"].mean(2), cells[f"{row.key}-known"].mean(1)
    random = cells[f"random-{row.split}"].mean()
    share_RK = (returns_RK - random) / (known_R[:, None] - random)
    after_one = interval(share_RK[:, 1, None, None], np.mean, ("seeds",))
    return Inferred(cells[f"{row.key}-returns"].shape[2], share_RK, after_one)
