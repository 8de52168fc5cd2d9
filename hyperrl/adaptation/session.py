"""Fast adaptation: improve a generated policy by a few episodes on its variant."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyperrl.adaptation.inference import Belief, encoder_of
from hyperrl.adaptation.learning import Descent, Evolution, Inference, Learner, Practice, Trial
from hyperrl.adaptation.result import EPISODES, Adaptation
from hyperrl.adaptation.selection import JUDGED, MARKS, Selection
from hyperrl.envs import InputError
from hyperrl.play.actors import AgentActor
from hyperrl.play.episodes import START_SEED, Episodes, play, require_room, warn_of_not_finite
from hyperrl.play.policy import VariantPolicy
from hyperrl.seeds import seed_of
from hyperrl.storage.agent import ordinary
from hyperrl.storage.run import StoredRun

MODES = ("infer", "context", "weights", "all")
ROUNDS = (1, 1, 1, 2, 5, 5, 5)
"""Episodes played between two steps of learning, and ``LATER`` from then on."""
LATER = 10
PATIENT_UNTIL = 5
"""Episodes from which on a judgement without a gain counts against a variant."""
SMALL = 4
"""Rounds that are too small for a generation of evolution."""
MOST_EPISODES = 10_000
"""Far more than a few; what learns from so many is training."""
GENERATIONS = 3
"""Of evolution, before gradients take over in the context again."""


def adapt(
    run: StoredRun,
    variants_TP: np.ndarray,
    mode: str = "all",
    episodes: int = 5,
    unknown: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    policy_type: type[VariantPolicy] = VariantPolicy,
) -> Adaptation:
    """Adapt the run's agent to each variant by itself, all side by side.

    ``infer`` generates weights from the encoder's posterior over the parameters. ``context`` tries the known or the
    inferred context and that of the nearest variant within the training ranges, then searches around the better of the
    two by gradients, by a small evolution strategy, and by gradients again. ``weights`` is PPO on the generated
    networks. ``all`` infers where the variants are unknown, tries those two contexts, then learns on the weights. Where
    the two are the same for every variant, as for known ones within the training ranges, neither is tried.

    At the points of the curve ``all`` judges new weights on ``JUDGED`` further greedy episodes. Inferred weights are
    accepted if their mean return is higher, learned ones by ``selection.Selection``'s t-test; a variant stops learning
    after ``PATIENCE`` points in a row, from 5 episodes on, without a gain.

    No variant learns from another, but they share random draws: the result for a variant depends on how many there are
    and on its place among them.

    Args:
        run: the trained agent.
        variants_TP: variants (T, P) in SI units.
        mode: one of ``MODES``.
        episodes: K, to be played on each variant, 0 or more.
        unknown: the agent does not know the variants; only the simulator does.
        seed: of starts, actions and search.
        progress: called with the episodes played and K.
        policy_type: class of the adapted policies.

    Raises:
        InputError: the mode is unknown, episodes, seed or a variant are out of bounds, parameters drift, or there is
            nothing to infer.
    """
    family, width = run.family, len(run.family.names)
    check(mode, episodes, seed)
    if family.drift:
        raise InputError(f"family {family.name!r}: its parameters drift, there is no one variant to adapt to")
    variants_TP = np.asarray(variants_TP, dtype=np.float64)
    if variants_TP.ndim != 2 or not len(variants_TP) or variants_TP.shape[1] != width:
        raise InputError(f"variants of shape {variants_TP.shape}: must be (T, {width}) with T >= 1; ask for 1 or more")
    variants_TP = family.table(family.untable(variants_TP))
    note = "" if unknown else family.range_note(variants_TP)
    if note:
        warnings.warn(note, stacklevel=2)
    require_room(run.agent, family, len(variants_TP), EPISODES)
    session = _Session(run, variants_TP, mode, int(episodes), unknown, int(seed))
    return session.result(session.adapt(progress), policy_type)


def check(mode: str, episodes: int, seed: int) -> None:
    """What ``adapt`` refuses before it looks at the run.

    Raises:
        InputError: the mode is unknown, or episodes or seed are out of bounds.
    """
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: unknown; choose from {', '.join(MODES)}")
    if not 0 <= episodes <= MOST_EPISODES or episodes % 1:
        bound = f"a whole number, 0 or more, at most {MOST_EPISODES}"
        raise InputError(f"episodes={episodes}: must be {bound}; leave it out for 5")
    if not 0 <= seed < 2**32 or seed % 1:
        raise InputError(f"seed={seed}: must be a whole number within [0, 2**32); choose another")


def rounds(episodes: int) -> Iterator[int]:
    """Episodes of each round of learning; their sums meet ``MARKS`` and end at ``episodes``."""
    left = episodes
    for size in chain(ROUNDS, repeat(LATER)):
        if left <= 0:
            return
        yield min(size, left)
        left -= size


def marks_of(episodes: int) -> list[int]:
    """Numbers of episodes learned from at which a curve of ``episodes`` has a point, the first one aside."""
    return sorted({*(mark for mark in MARKS if mark < episodes), *([episodes] if episodes else [])})


class Point(NamedTuple):
    """One point of a curve."""

    episodes: int
    """Episodes asked for so far."""
    seconds: float
    learned_T: np.ndarray
    """Episodes learned from, fewer where a variant stopped learning."""
    steps_T: np.ndarray
    """Environment steps learned from."""
    judged_T: np.ndarray
    """Judging episodes."""
    judged_steps_T: np.ndarray
    returns_T: np.ndarray


class _Session:
    """The state of one call of ``adapt``."""

    def __init__(
        self, run: StoredRun, variants_TP: np.ndarray, mode: str, episodes: int, unknown: bool, seed: int
    ) -> None:
        self.run, self.family, self.seed = run, run.family, seed
        self.agent = ordinary(run.agent, run.config.agent, "adaptation learns on their weights")
        self.target = self.agent.target
        self.variants_TP, self.mode, self.episodes, self.unknown = variants_TP, mode, episodes, unknown
        self.belief = None
        if self.family.inferable and (unknown or mode in ("infer", "all")):
            self.belief = Belief(encoder_of(run), self.family, len(variants_TP))
        elif unknown or mode == "infer":
            raise InputError(f"family {self.family.name!r}: every parameter is a distractor, there is nothing to infer")
        self.practice = Practice(self.agent, self.family, variants_TP, run.config, seed, self.belief)
        self.weights_TW = self.write(self.context())
        looks = len(marks_of(episodes))
        self.selection = Selection(self.weights_TW, self._judge, looks) if mode == "all" else None

    def write(self, context_NC: Tensor) -> Tensor:
        """Contexts (N, C) -> weights (N, W) of ordinary networks."""
        return self.agent.whole(self.agent.generate(context_NC))

    def context(self) -> Tensor:
        """Contexts (T, C), known or as inferred so far."""
        return self.belief.context_BC if self.unknown and self.belief else self.family.encode(self.variants())

    def nearest(self) -> Tensor:
        """Contexts (T, C) of the nearest variants within the training ranges."""
        return self.family.encode(self.family.nearest(self.variants()))

    def variants(self) -> Tensor:
        """Variants (T, P) in SI units, known or as inferred so far."""
        if self.unknown and self.belief:
            return self.belief.mean_BP
        return torch.as_tensor(self.variants_TP, dtype=torch.float32)

    def learners(self) -> Iterator[Learner]:
        """The learner of each round."""
        if self.belief and (self.mode == "infer" or (self.mode == "all" and self.unknown)):
            inference = Inference(self.agent, self.practice, self.belief, self.write)
            yield from repeat(inference, 1 if self.mode == "all" else sys.maxsize)
        if self.mode in ("context", "all"):
            trial = Trial(self.practice, [self.context(), self.nearest()], self.write)
            tried = 0 if torch.equal(*trial.left) else 2
            yield from repeat(trial, tried)
            if self.mode == "context":
                descent = Descent.on_context(self.practice, trial.context_TC, self.write)
                yield from repeat(descent, SMALL - tried)
                evolution = Evolution(self.practice, descent.rows_TX, self.write)
                yield from repeat(evolution, GENERATIONS)
                yield from repeat(Descent.on_context(self.practice, evolution.context_TC, self.write))
        yield from repeat(Descent.on_weights(self.practice, self.weights_TW))

    def play(self, weights_TW: Tensor, episodes: int, seed: int) -> Episodes:
        """Greedy episodes, for measurement only."""
        actor = AgentActor(self.target, self.family, weights_TD=weights_TW)
        return play(self.family, self.variants_TP, actor, episodes, seed, self.practice.device)

    def _judge(self, weights_TW: Tensor) -> Episodes:
        return self.play(weights_TW, JUDGED, seed_of("adaptation judgement", self.seed))

    def adapt(self, progress: Callable[[int, int], None] | None) -> list[Point]:
        """Play and learn round by round; return the points of the curve."""
        episodes, played, seconds, learners = self.episodes, 0, 0.0, self.learners()
        marks = marks_of(episodes)
        points = [self._point(0, 0.0)]
        for size in rounds(episodes):
            began = time.perf_counter()
            learner = next(learners)
            learner.learn(size)
            played += size
            self.weights_TW = learner.weights()
            if self.selection and played in marks:
                patient = played < PATIENT_UNTIL
                steps_T = self.practice.steps_T
                self.weights_TW = self.selection.offer(self.weights_TW, played, steps_T, patient, learner.tested)
            seconds += time.perf_counter() - began
            if played in marks:
                points.append(self._point(played, seconds))
            if progress:
                progress(played, episodes)
            if self.selection and not self.selection.active_T.any():
                break
        if self.belief:
            self.belief.update()
        return points

    def _point(self, played: int, seconds: float) -> Point:
        returns_T = self.play(self.weights_TW, EPISODES, START_SEED).returns_TE.mean(1)
        nothing_T, selection = np.zeros_like(self.practice.steps_T), self.selection
        if selection is None:
            learned_T, steps_T = nothing_T + played, self.practice.steps_T.copy()
            return Point(played, seconds, learned_T, steps_T, nothing_T, nothing_T, returns_T)
        # before anything is learned there is nothing to judge: the first judgement belongs to the first comparison
        judged_T, judged_steps_T = (selection.episodes_T, selection.steps_T) if played else (nothing_T, nothing_T)
        learned = selection.learned_T.copy(), selection.spent_T.copy()
        return Point(played, seconds, *learned, judged_T.copy(), judged_steps_T.copy(), returns_T)

    def result(self, points: list[Point], policy_type: type[VariantPolicy]) -> Adaptation:
        """The points as arrays, with the adapted weights."""
        warn_of_not_finite(self.family, self.variants_TP, np.stack([point.returns_T for point in points], axis=1))
        return Adaptation(
            run=self.run,
            mode=self.mode,
            unknown=self.unknown,
            variants_TP=self.variants_TP,
            episodes_K=[point.episodes for point in points],
            learned_KT=np.stack([point.learned_T for point in points]),
            judged_KT=np.stack([point.judged_T for point in points]),
            steps_KT=np.stack([point.steps_T for point in points]),
            returns_KT=np.stack([point.returns_T for point in points]),
            seconds_K=[point.seconds for point in points],
            judged_steps_KT=np.stack([point.judged_steps_T for point in points]),
            mean_TP=self.belief.mean_BP.cpu().numpy() if self.belief else None,
            std_TP=self.belief.std_BP.cpu().numpy() if self.belief else None,
            agent=self.target,
            weights_TW=self.weights_TW,
            policy_type=policy_type,
        )
