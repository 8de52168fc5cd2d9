"""Fast adaptation: what a few episodes on a variant itself add to the policy that was generated for it."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperrl.checkpoint import write_json
from hyperrl.envs import InputError
from hyperrl.episodes import START_SEED, Episodes, play
from hyperrl.experts import cached_experts
from hyperrl.inference import Belief, play_unknown
from hyperrl.learning import SURE, Descent, Evolution, Given, Learner, Plants, Trial
from hyperrl.policy import Policy
from hyperrl.rollout import Greedy
from hyperrl.run import Run

MODES = ("infer", "context", "weights", "all")
MARKS = (1, 2, 5, 10, 20, 50)
"""Episodes after which a curve has a point, beside none and all."""
ROUNDS = (1, 1, 1, 2, 5, 5, 5)
"""Episodes played between two steps of learning, and ``LATER`` from then on."""
LATER = 10
EPISODES = 10
"""Greedy episodes that a point of a curve is the mean of; they are none of the variant's budget."""
JUDGED = 5
"""Greedy episodes that decide what ``all`` keeps."""
JUDGED_SEED = 40_000
PATIENCE = 3
"""Judgements in a row without a gain after which ``all`` stops."""
SMALL = 4
"""Rounds that are too small for a generation of evolution."""
GENERATIONS = 3
"""Of evolution, before gradients take over in the context again."""


@dataclass(frozen=True)
class Adaptation:
    """What adaptation came to on T variants, at K points of a curve."""

    run: Run
    mode: str
    unknown: bool
    variants_TP: np.ndarray
    episodes_K: list[int]
    steps_KT: np.ndarray
    """Environment steps that each variant's episodes took so far."""
    returns_KT: np.ndarray
    """Mean undiscounted return of ``EPISODES`` greedy episodes."""
    seconds_K: list[float]
    """Spent so far on all T variants together: episodes, learning, and judgement of what is kept but for the first,
    without the episodes of the curve and an encoder's training."""
    judged_steps_KT: np.ndarray
    """Further environment steps of the episodes that decided what is kept."""
    mean_TP: np.ndarray | None
    """Inferred parameters in SI units; ``None`` where nothing was inferred."""
    std_TP: np.ndarray | None
    weights_TW: Tensor = field(repr=False)

    @property
    def area_T(self) -> np.ndarray:
        """Area under each variant's curve over episodes, as a mean return: (T,)."""
        if len(self.episodes_K) == 1:
            return self.returns_KT[0]
        return np.trapezoid(self.returns_KT, self.episodes_K, axis=0) / self.episodes_K[-1]

    @property
    def policies(self) -> list[Policy]:
        """The adapted policies, each an ordinary one that ``export`` takes."""
        run, variants = self.run, self.run.family.untable(self.variants_TP)
        return [
            Policy(run.agent.target, run.family, variant, gamma=run.config.gamma, weights_1D=weights_1W)
            for variant, weights_1W in zip(variants, self.weights_TW.split(1), strict=True)
        ]

    @property
    def policy(self) -> Policy:
        """The adapted policy of a single variant.

        Raises:
            InputError: there are several.
        """
        if len(self.variants_TP) != 1:
            raise InputError(f"{len(self.variants_TP)} variants were adapted to: take one of their policies")
        return self.policies[0]

    def json(self, experts: Path = Path("runs/experts")) -> list[dict[str, Any]]:
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
                "curve": [
                    {"episodes": episodes, "steps": int(steps), "return": float(mean), "seconds": seconds}
                    for episodes, steps, mean, seconds in zip(
                        self.episodes_K, self.steps_KT[:, t], self.returns_KT[:, t], self.seconds_K, strict=True
                    )
                ],
                "expert": record["mean"] if record else None,
            }
            for t, (parameters, record) in enumerate(zip(family.untable(self.variants_TP), records, strict=True))
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


def adapt(
    run: Run,
    variants_TP: np.ndarray,
    mode: str = "all",
    episodes: int = 5,
    unknown: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Adaptation:
    """Adapt the run's agent to each variant by itself, all side by side.

    ``infer`` follows an encoder that reads the episodes' transitions. ``context`` tries what it was told, or infers,
    and the nearest variant within the training ranges, then searches around the better of the two by gradients, by a
    small evolution strategy, and by gradients again. ``weights`` is PPO on the generated networks. ``all`` infers
    where the variants are unknown, tries those two contexts and no others, then learns on the weights. Where the two
    are the same for every variant, as for known ones within the training ranges, neither is tried.

    At the points of the curve ``all`` judges what it has come to, where that has changed, on ``JUDGED`` greedy
    episodes of its own, which are further episodes than those asked for. It keeps what was inferred where
    that did better, and what was learned from returns where a paired t-test is sure of it; it stops learning on a
    variant where ``PATIENCE`` points in a row, from 5 episodes on, brought nothing.

    No variant learns from another, but their random draws are shared: what comes of a variant depends on how many there
    are beside it and where it stands among them.

    Args:
        run: the trained agent.
        variants_TP: variants (T, P) in SI units.
        mode: one of ``MODES``.
        episodes: K, to be played on each variant, 0 or more.
        unknown: the agent is not told the variants; only the simulator sees them.
        seed: of starts, actions and search.
        progress: called with the episodes played and K.

    Raises:
        InputError: the mode is unknown, episodes, seed or a variant are out of bounds, parameters drift, or there is
            nothing to infer.
    """
    family, width = run.family, len(run.family.names)
    if mode not in MODES:
        raise InputError(f"mode {mode!r}: unknown; choose from {', '.join(MODES)}")
    if episodes < 0 or episodes % 1:
        raise InputError(f"episodes={episodes}: must be a whole number, 0 or more; leave it out for 5")
    if not 0 <= seed < 2**32 or seed % 1:
        raise InputError(f"seed={seed}: must be a whole number within [0, 2**32); choose another")
    if family.drift:
        raise InputError(f"family {family.name!r}: its parameters drift, there is no one variant to adapt to")
    variants_TP = np.asarray(variants_TP, dtype=np.float64)
    if variants_TP.ndim != 2 or not len(variants_TP) or variants_TP.shape[1] != width:
        raise InputError(f"variants of shape {variants_TP.shape}: must be (T, {width}) with T >= 1; ask for 1 or more")
    variants_TP = family.table(family.untable(variants_TP))
    note = "" if unknown else family.range_note(variants_TP)
    if note:
        warnings.warn(note, stacklevel=2)
    return _Session(run, variants_TP, mode, unknown, int(seed)).adapt(int(episodes), progress)


def save(adaptation: Adaptation, results: Sequence[dict[str, Any]], split: str | None = None) -> Path:
    """Write the JSON, TensorBoard's curves and the figure into the run's folder, in place of earlier ones.

    Args:
        adaptation: what is saved.
        results: its ``json``.
        split: where its variants are from; ``None`` where one was given, whose JSON is an object, not a list.

    Returns:
        The figure's path.
    """
    from hyperrl import figures
    from hyperrl.tensorboard import write_adaptation

    folder, unknown = adaptation.run.folder, "-unknown" if adaptation.unknown else ""
    name = f"{split or 'variant'}-{adaptation.mode}{unknown}"
    write_json(folder / "adaptations" / f"{name}.json", results[0] if split is None else list(results))
    curves = adaptation.episodes_K, adaptation.steps_KT, adaptation.returns_KT
    write_adaptation(folder / "adaptations" / name, *curves)
    expert_T = np.array([np.nan if result["expert"] is None else result["expert"] for result in results])
    note = f"mode {adaptation.mode}, parameters {'unknown' if unknown else 'known'} to the agent"
    figure = figures.adaptation_curves(adaptation.run.family, curves[0], curves[2], expert_T, split, note)
    return figures.save(figure, folder / "figures" / f"adaptation-{name}.png")


def rounds(episodes: int) -> Iterator[int]:
    """How many episodes are played before each step of learning: they add up to ``episodes``, and meet ``MARKS``."""
    left = episodes
    for size in chain(ROUNDS, repeat(LATER)):
        if left <= 0:
            return
        yield min(size, left)
        left -= size


class _Session:
    """One call of ``adapt``: what was learned so far, and what learns next."""

    def __init__(self, run: Run, variants_TP: np.ndarray, mode: str, unknown: bool, seed: int) -> None:
        self.run, self.family, self.agent, self.seed = run, run.family, run.agent, seed
        self.variants_TP, self.mode, self.unknown = variants_TP, mode, unknown
        self.belief = None
        if self.family.inferable and (unknown or mode in ("infer", "all")):
            self.belief = Belief(run.encoder, self.family, len(variants_TP))
        elif unknown or mode == "infer":
            raise InputError(f"family {self.family.name!r}: every parameter is a distractor, there is nothing to infer")
        self.plants = Plants(self.agent, self.family, variants_TP, run.config, seed, self.belief)
        self.weights_TW = self.write(self.told())
        self.keeper = Keeper(self) if mode == "all" else None

    def write(self, context_NC: Tensor) -> Tensor:
        """Contexts (N, C) -> weights (N, W) of ordinary networks."""
        return self.agent.whole(self.agent.generate(context_NC))

    def told(self) -> Tensor:
        """Contexts (T, C) that the agent is told, or infers as yet."""
        return self.belief.context_BC if self.unknown and self.belief else self.family.encode(self.variants())

    def nearest(self) -> Tensor:
        """Contexts (T, C) of the nearest variants within the training ranges."""
        return self.family.encode(self.family.nearest(self.variants()))

    def variants(self) -> Tensor:
        """Variants (T, P) in SI units that the agent is told, or infers as yet."""
        if self.unknown and self.belief:
            return self.belief.mean_BP
        return torch.as_tensor(self.variants_TP, dtype=torch.float32)

    def learners(self) -> Iterator[Learner]:
        """What learns from each round of episodes."""
        if self.mode == "infer" or (self.mode == "all" and self.unknown):
            yield from repeat(Inference(self), 1 if self.mode == "all" else sys.maxsize)
        if self.mode in ("context", "all"):
            trial = Trial(self.plants, [self.told(), self.nearest()], self.write)
            tried = 0 if torch.equal(*trial.left) else 2
            yield from repeat(trial, tried)
            if self.mode == "context":
                descent = Descent.on_context(self.plants, trial.context_TC, self.write)
                yield from repeat(descent, SMALL - tried)
                evolution = Evolution(self.plants, descent.rows.rows_TX.detach(), self.write)
                yield from repeat(evolution, GENERATIONS)
                yield from repeat(Descent.on_context(self.plants, evolution.context_TC, self.write))
        yield from repeat(Descent.on_weights(self.plants, self.weights_TW))

    def play(self, weights_TW: Tensor, episodes: int, seed: int) -> Episodes:
        """Greedy episodes, which teach nothing."""
        given = Given(self.agent.target, weights_TW)
        act = Greedy(given, self.family, self.variants_TP, self.plants.device)
        return play(self.family, self.variants_TP, act, episodes, seed, self.plants.device)

    def adapt(self, episodes: int, progress: Callable[[int, int], None] | None) -> Adaptation:
        """Play and learn round by round."""
        marks, played, seconds, learners = {*MARKS, episodes}, 0, 0.0, self.learners()
        points = [self._point(0, 0.0)]
        for size in rounds(episodes):
            began = time.perf_counter()
            learner = next(learners)
            learner.learn(size)
            played += size
            self.weights_TW = learner.weights()
            if self.keeper and played in marks:
                self.weights_TW = self.keeper.offer(self.weights_TW, played < MARKS[2], learner.sure)
            seconds += time.perf_counter() - began
            if played in marks:
                points.append(self._point(played, seconds))
            if progress:
                progress(played, episodes)
            if self.keeper and not self.keeper.active_T.any():
                break
        if self.belief:
            self.belief.update()
        episodes_K, seconds_K, steps, judged, returns = (list(column) for column in zip(*points, strict=True))
        return Adaptation(
            run=self.run,
            mode=self.mode,
            unknown=self.unknown,
            variants_TP=self.variants_TP,
            episodes_K=episodes_K,
            steps_KT=np.stack(steps),
            returns_KT=np.stack(returns),
            seconds_K=seconds_K,
            judged_steps_KT=np.stack(judged),
            mean_TP=self.belief.mean_BP.cpu().numpy() if self.belief else None,
            std_TP=self.belief.std_BP.cpu().numpy() if self.belief else None,
            weights_TW=self.weights_TW,
        )

    def _point(self, played: int, seconds: float) -> tuple[int, float, np.ndarray, np.ndarray, np.ndarray]:
        returns_TE = self.play(self.weights_TW, EPISODES, START_SEED).returns_TE
        judged_T = self.keeper.steps_T.copy() if self.keeper else np.zeros_like(self.plants.steps_T)
        steps_T = self.keeper.spent_T.copy() if self.keeper else self.plants.steps_T.copy()
        return played, seconds, steps_T, judged_T, returns_TE.mean(1)


class Inference:
    """Greedy episodes that follow what is inferred meanwhile."""

    sure = 0.0
    """Transitions speak for it, not returns: it need not be judged better beyond doubt."""

    def __init__(self, session: _Session) -> None:
        self.session = session

    def weights(self) -> Tensor:
        """The networks (T, W) for the inferred variants."""
        assert self.session.belief is not None
        self.session.belief.update()
        return self.session.write(self.session.belief.context_BC)

    def learn(self, episodes: int) -> None:
        """Play, and infer on the way."""
        plants, belief = self.session.plants, self.session.belief
        assert belief is not None
        played = play_unknown(
            self.session.agent,
            belief.family,
            belief.encoder,
            plants.variants_TP,
            1,
            episodes,
            plants.next_seed(),
            plants.device,
            belief,
        )
        plants.steps_T += played.lengths_KTE.sum((0, 2))


class Keeper:
    """Keeps the better weights of each variant, by greedy episodes of its own from the same starts."""

    def __init__(self, session: _Session) -> None:
        self.session, self.weights_TW = session, session.weights_TW
        self.steps_T = np.zeros(len(self.weights_TW), dtype=np.int64)
        self.spent_T = self.steps_T.copy()
        """Steps of the episodes learned from, until the variant's learning stopped."""
        self.idle_T = self.steps_T.copy()
        self.returns_TE = self._judge(self.weights_TW, self.active_T)

    @property
    def active_T(self) -> np.ndarray:
        """Where learning goes on."""
        return self.idle_T < PATIENCE

    def _judge(self, weights_TW: Tensor, judged_T: np.ndarray) -> np.ndarray:
        played = self.session.play(weights_TW, JUDGED, JUDGED_SEED + self.session.seed)
        self.steps_T += played.lengths_TE.sum(1) * judged_T
        return played.returns_TE

    def offer(self, weights_TW: Tensor, patient: bool, sure: float = SURE) -> Tensor:
        """Judge other weights (T, W), where they are others, and answer what is kept.

        Better is what gains more than ``sure`` standard errors of the gain, start by start. While ``patient``, what
        gains nothing does not count against the variant.
        """
        active_T, other_T = self.active_T, (weights_TW != self.weights_TW).any(1).cpu().numpy()
        self.spent_T = np.where(active_T, self.session.plants.steps_T, self.spent_T)
        returns_TE = self._judge(weights_TW, active_T & other_T) if other_T.any() else self.returns_TE
        gain_TE = returns_TE - self.returns_TE
        better_T = active_T & (gain_TE.mean(1) > sure * gain_TE.std(1, ddof=1) / math.sqrt(JUDGED))
        self.returns_TE = np.where(better_T[:, None], returns_TE, self.returns_TE)
        self.idle_T = np.where(better_T, 0, self.idle_T + (not patient))
        better_T1 = torch.as_tensor(better_T, device=weights_TW.device).unsqueeze(1)
        self.weights_TW = torch.where(better_T1, weights_TW, self.weights_TW)
        return self.weights_TW
