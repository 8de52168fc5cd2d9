"""How adaptation learns from a few episodes: by inference, by gradients on weights or contexts, by evolution.

T variants learn side by side and independently: each has its own step size and its own score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hyperrl.adaptation.inference import Belief, play_unknown
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.inner import InnerLoss, InnerStep
from hyperrl.agents.losses.objective import Batch
from hyperrl.agents.losses.ppo import ppo_loss
from hyperrl.agents.normaliser import SMALLEST
from hyperrl.agents.target import OrdinaryAgent
from hyperrl.config import Config
from hyperrl.envs import Family
from hyperrl.play.actors import AgentActor, to_env_units
from hyperrl.play.collect import collect
from hyperrl.play.rollout import Rollout
from hyperrl.seeds import numpy_generator, torch_generator
from hyperrl.training.trainer import KL_LIMIT, cautious

UPDATES = 32
"""Gradient steps on the policy's weights or context after one episode; sqrt(R) times as many after R at once."""
VALUE_UPDATES, VALUE_FITS = 32, 2
"""Gradient steps of one fit of the value networks, and fits a round; each fit estimates the returns anew."""
RECENT = 2
"""Rounds whose episodes are learned from."""
ROWS = 256
"""Transitions of each variant that a gradient step sees."""
WEIGHTS_RATE, CONTEXT_RATE, VALUE_RATE = 1e-4, 1e-2, 3e-3
"""Learning rates of Adam."""
LARGEST_RATE = 4.0
"""Largest factor on the learning rate of a variant whose policy hardly moves."""
EXPLORATION = 2.0
"""Exploration scale: factor on the standard deviation of continuous actions while weights are learned."""
LARGEST_WEIGHT = 2.0
"""Importance weight at which samples of an earlier policy are clipped."""
READ_AT_ONCE = 500
"""Transitions of each variant that the encoder reads at once, to bound memory."""
SPREAD = 0.05
"""Standard deviation of evolution's mutations of a context, where 1 is the half-range of training."""

Write = Callable[[Tensor], Tensor]
"""From rows (N, X), such as contexts, to weights of networks (N, W)."""


class Played(NamedTuple):
    """E whole episodes of each variant; steps after an episode's end are masked."""

    rollout: Rollout
    alive_STE: Tensor
    """1.0 where a step belongs to the episode."""

    @property
    def returns_TE(self) -> Tensor:
        """Undiscounted returns."""
        return (self.rollout.reward_STE * self.alive_STE).sum(0)

    @property
    def steps_T(self) -> np.ndarray:
        """Environment steps that each variant's episodes took."""
        return self.alive_STE.sum((0, 2)).long().cpu().numpy()


class Practice:
    """Plays episodes on T variants, and counts every environment step."""

    def __init__(
        self,
        agent: OrdinaryAgent,
        family: Family,
        variants_TP: np.ndarray,
        config: Config,
        seed: int = 0,
        belief: Belief | None = None,
    ) -> None:
        """Take the variants.

        Args:
            agent: gives the networks' sizes and scales.
            family: the agent's, none of whose parameters drift.
            variants_TP: in SI units; only the simulator sees them.
            config: settings of the agent's run.
            seed: of starts and actions.
            belief: posterior over the T variants, updated by every transition.
        """
        self.family, self.variants_TP, self.config, self.belief = family.in_process(), variants_TP, config, belief
        self.target = agent.target
        self.device = agent.normaliser.mean.device
        self.generator = torch_generator("adaptation search", seed, device=self.device)
        self.steps_T = np.zeros(len(variants_TP), dtype=np.int64)
        self._to_env = to_env_units(family.action_space, self.device)
        self._seeds = numpy_generator("adaptation starts", seed)

    def next_seed(self) -> int:
        """A seed for starts that no earlier episode had."""
        return int(self._seeds.integers(2**31))

    @torch.no_grad()
    def play(self, weights: Tensor, episodes: int, trial: int | None = None) -> Played:
        """Play E episodes of each variant.

        Args:
            weights: of each variant's networks (T, W), or of each episode's own (T, E, W).
            episodes: E.
            trial: seed of the starts, the same for all candidates; actions are then greedy.
        """
        each = weights.ndim == 3
        variants_NP = np.repeat(self.variants_TP, episodes, axis=0) if each else self.variants_TP
        seed = self.next_seed() if trial is None else trial
        env = self.family.vector(variants_NP, 1 if each else episodes, self.device, seed=seed)
        obs, _ = env.reset(seed=seed, options={"paired": trial is not None, "judged": True, "once": True})
        drawn_with = self.generator if trial is None else None
        actor = AgentActor(self.target, self.family, drawn_with, weights.flatten(0, -2))
        actor.begin(env)
        rollout = Rollout.empty(self.target, env, self.family.max_episode_steps)
        collect(env, obs, actor, rollout)
        env.close()
        rollout = rollout.regrouped(len(self.variants_TP), episodes)
        done_STE = rollout.done_STE.float()
        played = Played(rollout, 1 - (done_STE.cumsum(0) - done_STE).clamp(max=1))
        self.steps_T += played.steps_T
        self._read(played)
        return played

    def _read(self, played: Played) -> None:
        if self.belief:
            rollout = played.rollout
            action_STE = self._to_env(rollout.action_STE)
            seen = (rollout.obs_STEO, action_STE, rollout.reward_STE, rollout.next_obs_STEO, played.alive_STE)
            for part in zip(*(_by_variant(x).split(READ_AT_ONCE, 1) for x in seen), strict=True):
                self.belief.take(*part)


def _by_variant(x_STE: Tensor) -> Tensor:
    """(S, T, E, ...) -> (T, S * E, ...)."""
    return x_STE.transpose(0, 1).flatten(1, 2)


def _by_step(x_TN: Tensor, rollout: Rollout) -> Tensor:
    """The inverse: (T, S * E) -> (S, T, E)."""
    return x_TN.unflatten(1, rollout.reward_STE.shape[::2]).transpose(0, 1)


class Learner(Protocol):
    """A way to learn from rounds of episodes."""

    tested: bool
    """Whether its weights are accepted only by a t-test of the returns; else a higher mean is enough."""

    def weights(self) -> Tensor:
        """The present networks (T, W)."""

    def learn(self, episodes: int) -> None:
        """Play one round of so many episodes of each variant, and learn from it."""


class Inference:
    """Plays greedy episodes under weights generated from the posterior, which each transition updates."""

    tested = False
    """The evidence is the likelihood of the transitions, not the returns."""

    def __init__(self, agent: OrdinaryAgent, practice: Practice, belief: Belief, write: Write) -> None:
        self.agent, self.practice, self.belief, self.write = agent, practice, belief, write

    def weights(self) -> Tensor:
        """The networks (T, W) for the inferred variants."""
        self.belief.update()
        return self.write(self.belief.context_BC)

    def learn(self, episodes: int) -> None:
        """Play; infer at 1, 2, 4, 8, ... transitions."""
        practice, belief = self.practice, self.belief
        played = play_unknown(
            self.agent,
            belief.family,
            belief.encoder,
            practice.variants_TP,
            copies=1,
            episodes=episodes,
            seed=practice.next_seed(),
            device=practice.device,
            belief=belief,
        )
        practice.steps_T += played.lengths_KTE.sum((0, 2))


class Samples(NamedTuple):
    """Steps of the last rounds, with advantages of the present networks."""

    batch: Batch
    alive_TN: Tensor
    """1.0 where a step belongs to an episode."""

    def draw(self, generator: torch.Generator) -> Batch:
        """``ROWS`` steps of each variant, with replacement."""
        return self.batch.pick(torch.multinomial(self.alive_TN, ROWS, replacement=True, generator=generator))


class Judged(NamedTuple):
    """One round's steps (T, N), with values and log-probabilities of the present networks."""

    obs_TNO: Tensor
    state_TNH: Tensor
    action_TN: Tensor
    log_prob_then_TN: Tensor
    log_prob_now_TN: Tensor
    advantage_TN: Tensor
    return_TN: Tensor
    alive_TN: Tensor


class Descent:
    """PPO on each variant alone: first the value network is fitted, then the policy is updated.

    The fit comes first because errors of the generated value network are errors of the advantages. Episodes of the last
    ``RECENT`` rounds are used, with clipped importance weights.
    """

    tested = True

    def __init__(
        self, practice: Practice, weights_TW: Tensor, rows_TX: Tensor, write: Write, learning_rate: float
    ) -> None:
        """Start from given networks.

        Args:
            practice: plays the episodes.
            weights_TW: networks whose value part is the start of the fit.
            rows_TX: what is learned, weights or contexts, one row a variant.
            write: rows (T, X) -> the policies' weights.
            learning_rate: of the rows.
        """
        self.practice, self.write = practice, write
        norm = practice.config.max_grad_norm
        self.rows_TX = rows_TX.detach().clone()
        self.value_TV = weights_TW[:, practice.target.policy_size :].detach().clone()
        self._policy_step = InnerStep[Batch](self._policy_loss, learning_rate, norm)
        self._value_step = InnerStep[Batch](self._value_loss, VALUE_RATE, norm)
        self.caution_T = self._active_T = torch.ones(len(rows_TX), device=rows_TX.device)
        self._kl_UT: list[Tensor] = []
        """KL divergence (T,) of each update of a round."""
        self.recent: list[Played] = []
        self.exploration = 1.0

    @classmethod
    def on_weights(cls, practice: Practice, weights_TW: Tensor) -> Descent:
        """Learn all weights of the policy; actions are sampled at ``EXPLORATION`` times its standard deviation."""
        rows_TX = practice.target.scaled_exploration(weights_TW, EXPLORATION)[:, : practice.target.policy_size]
        descent = cls(practice, weights_TW, rows_TX, lambda rows_TX: rows_TX, WEIGHTS_RATE)
        descent.exploration = EXPLORATION
        return descent

    @classmethod
    def on_context(cls, practice: Practice, context_TC: Tensor, write: Write) -> Descent:
        """Learn the contexts from which the policies' weights are generated."""
        size = practice.target.policy_size
        return cls(practice, write(context_TC), context_TC, lambda rows_TX: write(rows_TX)[:, :size], CONTEXT_RATE)

    def _weights(self, rows_TX: Tensor, value_TV: Tensor) -> Tensor:
        return torch.cat([self.write(rows_TX), value_TV], 1)

    @torch.no_grad()
    def _weights_now(self) -> Tensor:
        return self._weights(self.rows_TX, self.value_TV)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The present networks (T, W)."""
        return self.practice.target.scaled_exploration(self._weights_now(), 1 / self.exploration)

    def _policy_loss(self, rows_TX: Tensor, batch: Batch) -> InnerLoss:
        """PPO's loss; a variant whose KL divergence passes ``KL_LIMIT`` targets is masked for the rest of the round."""
        weights_TW, config = self._weights(rows_TX, self.value_TV), self.practice.config
        distribution, value_TN, _ = self.practice.target(weights_TW, batch.obs_TNO, batch.state_TNH)
        loss = ppo_loss(distribution, value_TN, batch, config.clip)
        self._kl_UT.append(loss.approx_kl_T)
        self._active_T = self._active_T * (loss.approx_kl_T <= KL_LIMIT * config.target_kl)
        return InnerLoss(loss.policy * len(rows_TX), self._active_T)  # a mean over variants until here

    def _value_loss(self, value_TV: Tensor, batch: Batch) -> InnerLoss:
        weights_TW = self._weights(self.rows_TX, value_TV)
        _, value_TN, _ = self.practice.target(weights_TW, batch.obs_TNO, batch.state_TNH)
        error_TN = (value_TN - batch.return_TN) / batch.return_scale_T1
        return InnerLoss(error_TN.square().mean(1).sum(), torch.ones_like(self.caution_T))

    def learn(self, episodes: int) -> None:
        """Play with sampled actions, fit the value networks, then update the policies."""
        self.recent = [*self.recent, self.practice.play(self._weights_now(), episodes)][-RECENT:]
        share, generator = math.sqrt(episodes), self.practice.generator
        for _ in range(VALUE_FITS):
            samples = self._samples()
            for _ in range(round(VALUE_UPDATES * share)):
                step_T1 = torch.ones_like(self.caution_T).unsqueeze(1)
                self.value_TV = self._value_step(self.value_TV, samples.draw(generator), step_T1)
        samples = self._samples()
        self._active_T, self._kl_UT = torch.ones_like(self.caution_T), []
        for _ in range(round(UPDATES * share)):
            self.rows_TX = self._policy_step(self.rows_TX, samples.draw(generator), self.caution_T.unsqueeze(1))
        mean_kl_T = torch.stack(self._kl_UT).mean(0)
        self.caution_T = cautious(self.caution_T, mean_kl_T, self.practice.config.target_kl, LARGEST_RATE)

    @torch.no_grad()
    def _samples(self) -> Samples:
        """Steps of the last rounds, with advantages and importance weights of the present networks."""
        rounds = [self._judged(played) for played in self.recent]
        judged = Judged(*(torch.cat(list(column), 1) for column in zip(*rounds, strict=True)))
        mean_T1, var_T1 = _moments(judged.advantage_TN, judged.alive_TN)
        family_var = self.practice.target.normaliser.return_var
        weight_TN = (judged.log_prob_now_TN - judged.log_prob_then_TN).exp().clamp(max=LARGEST_WEIGHT)
        batch = Batch(
            obs_TNO=judged.obs_TNO,
            state_TNH=judged.state_TNH,
            action_TN=judged.action_TN,
            log_prob_TN=judged.log_prob_now_TN,
            advantage_TN=(judged.advantage_TN - mean_T1) * (var_T1 + SMALLEST).rsqrt() * weight_TN,
            return_TN=judged.return_TN,
            return_scale_T1=(_moments(judged.return_TN, judged.alive_TN)[1] + family_var + SMALLEST).sqrt(),
        )
        return Samples(batch, judged.alive_TN)

    def _judged(self, played: Played) -> Judged:
        rollout, config, target = played.rollout, self.practice.config, self.practice.target
        obs_TNO, action_TN = _by_variant(rollout.obs_STEO), _by_variant(rollout.action_STE)
        weights_TW, state_TNH = self._weights_now(), _by_variant(rollout.state_STEH)
        distribution, value_TN, _ = target(weights_TW, obs_TNO, state_TNH)
        next_value_TN = target.values(weights_TW, _by_variant(rollout.next_obs_STEO), state_TNH)
        value_STE, next_value_STE = _by_step(value_TN, rollout), _by_step(next_value_TN, rollout)
        ends = (rollout.terminated_STE, rollout.done_STE)
        advantage_STE = gae(rollout.reward_STE, value_STE, next_value_STE, *ends, config.gamma, config.gae_lambda)
        return Judged(
            obs_TNO=obs_TNO,
            state_TNH=state_TNH,
            action_TN=action_TN,
            log_prob_then_TN=_by_variant(rollout.log_prob_STE),
            log_prob_now_TN=distribution.log_prob(action_TN),
            advantage_TN=_by_variant(advantage_STE),
            return_TN=_by_variant(advantage_STE + value_STE),
            alive_TN=_by_variant(played.alive_STE),
        )


def _moments(x_TN: Tensor, alive_TN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (T, 1) over the steps that belong to episodes."""
    count_T1 = alive_TN.sum(1, keepdim=True)
    mean_T1 = (x_TN * alive_TN).sum(1, keepdim=True) / count_T1
    return mean_T1, ((x_TN - mean_T1).square() * alive_TN).sum(1, keepdim=True) / count_T1


class Trial:
    """Plays candidate contexts in turn, greedily and from the same start, and keeps the best."""

    tested = True

    def __init__(self, practice: Practice, candidates: Sequence[Tensor], write: Write) -> None:
        """Take candidates (T, C); the first is the present context."""
        self.practice, self.write, self.left = practice, write, list(candidates)
        self.context_TC, self.start = candidates[0], practice.next_seed()
        self.best_T = torch.full_like(candidates[0][:, 0], -torch.inf)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The networks (T, W) of the best contexts."""
        return self.write(self.context_TC)

    @torch.no_grad()
    def learn(self, episodes: int) -> None:
        """Try the next candidate."""
        tried_TC = self.left.pop(0)
        score_T = self.practice.play(self.write(tried_TC), episodes, self.start).returns_TE.mean(1)
        self.context_TC = torch.where((score_T > self.best_T).unsqueeze(1), tried_TC, self.context_TC)
        self.best_T = score_T.maximum(self.best_T)


class Evolution:
    """A small evolution strategy on the context: the next mean is the weighted mean of the better half of its mutants.

    Each mutant plays one greedy episode; a generation shares one start, so that differences of start do not rank it.
    The weights of recombination are those of CMA-ES (Hansen, 2016, "The CMA Evolution Strategy: A Tutorial", equation
    49); the standard deviation is constant.
    """

    tested = True

    def __init__(self, practice: Practice, context_TC: Tensor, write: Write) -> None:
        """Start at contexts (T, C)."""
        self.practice, self.context_TC, self.write = practice, context_TC, write

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The networks (T, W) of the mean contexts."""
        return self.write(self.context_TC)

    @torch.no_grad()
    def learn(self, episodes: int) -> None:
        """Play one generation of mirrored pairs; where the number is odd, the mean itself as well."""
        shape = (len(self.context_TC), episodes // 2, self.context_TC.shape[1])
        half = SPREAD * torch.randn(shape, generator=self.practice.generator, device=self.practice.device)
        steps_TEC = torch.cat([half, -half, torch.zeros_like(self.context_TC).unsqueeze(1)], 1)[:, :episodes]
        mutants_TEC = self.context_TC.unsqueeze(1) + steps_TEC
        written = self.write(mutants_TEC.flatten(0, 1)).unflatten(0, mutants_TEC.shape[:2])
        returns_TE = self.practice.play(written, episodes, self.practice.next_seed()).returns_TE
        order_TE = returns_TE.argsort(1, descending=True)
        parents = max(1, episodes // 2)
        share = math.log((max(episodes, 2) + 1) / 2) - torch.arange(1, parents + 1, device=order_TE.device).log()
        best = mutants_TEC.gather(1, order_TE[:, :parents, None].expand(-1, -1, shape[2]))
        self.context_TC = (best * (share / share.sum()).unsqueeze(1)).sum(1)
