"""Decides which of the learned weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hyperrl.evaluation.statistics import student_t_quantile
from hyperrl.play.episodes import Episodes

JUDGED = 5
"""Greedy episodes that decide what ``all`` keeps."""
MARKS = (1, 2, 5, 10, 20, 50)
"""Episodes learned from after which a curve has a point and ``all`` judges, beside none and all."""
LEVEL = 0.05
"""Largest probability that ``all``, over all its looks, accepts weights that are no better."""
PATIENCE = 3
"""Judgements in a row without a gain after which ``all`` stops."""


class Selection:
    """Keeps the better weights of each variant, judged by separate greedy episodes from the same starts.

    Learned weights are accepted if a paired one-sided t-test over ``JUDGED`` episodes gives p < ``LEVEL`` / looks
    (Bonferroni: each look may accept by luck). A variant stops learning after ``PATIENCE`` judgements in a row without
    a gain (early stopping).
    """

    def __init__(self, weights_TW: Tensor, judge: Callable[[Tensor], Episodes], looks: int) -> None:
        """Start from the present weights.

        Args:
            weights_TW: networks of T variants.
            judge: plays weights (T, W) on ``JUDGED`` episodes each, always from the same starts.
            looks: how often at most ``offer`` will be called.
        """
        self.weights_TW, self._play = weights_TW, judge
        self.critical_t = student_t_quantile(1 - LEVEL / max(looks, 1), JUDGED - 1)
        """Critical value of the t-test."""
        self.steps_T = np.zeros(len(weights_TW), dtype=np.int64)
        """Environment steps of the judging episodes."""
        self.episodes_T = self.steps_T.copy()
        """Number of judging episodes."""
        self.spent_T = self.steps_T.copy()
        """Steps of the episodes learned from, until the variant's learning stopped."""
        self.learned_T = self.steps_T.copy()
        """Those episodes."""
        self.idle_T = self.steps_T.copy()
        self.returns_TE = self._judge(self.weights_TW, self.active_T)

    @property
    def active_T(self) -> np.ndarray:
        """Whether each variant still learns: (T,)."""
        return self.idle_T < PATIENCE

    def _judge(self, weights_TW: Tensor, judged_T: np.ndarray) -> np.ndarray:
        played = self._play(weights_TW)
        self.steps_T += played.lengths_TE.sum(1) * judged_T
        self.episodes_T += JUDGED * judged_T
        return played.returns_TE

    def offer(
        self, weights_TW: Tensor, learned: int, spent_T: np.ndarray, patient: bool, tested: bool = True
    ) -> Tensor:
        """Judge new weights (T, W) of variants whose weights have changed; return those that are kept.

        Args:
            weights_TW: the new weights.
            learned: episodes learned from so far.
            spent_T: their environment steps.
            patient: a judgement without a gain does not yet count for early stopping.
            tested: whether a gain must pass the t-test; else a higher mean is enough.
        """
        critical_t = self.critical_t if tested else 0.0
        active_T, other_T = self.active_T, (weights_TW != self.weights_TW).any(1).cpu().numpy()
        self.spent_T = np.where(active_T, spent_T, self.spent_T)
        self.learned_T = np.where(active_T, learned, self.learned_T)
        returns_TE = self._judge(weights_TW, active_T & other_T) if other_T.any() else self.returns_TE
        gain_TE = returns_TE - self.returns_TE
        better_T = active_T & (gain_TE.mean(1) > critical_t * gain_TE.std(1, ddof=1) / math.sqrt(JUDGED))
        self.returns_TE = np.where(better_T[:, None], returns_TE, self.returns_TE)
        self.idle_T = np.where(better_T, 0, self.idle_T + (not patient))
        better_T1 = torch.as_tensor(better_T, device=weights_TW.device).unsqueeze(1)
        self.weights_TW = torch.where(better_T1, weights_TW, self.weights_TW)
        return self.weights_TW
