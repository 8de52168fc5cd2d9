"""Learning on variants themselves, a few episodes at a time: on their networks' weights, or on their contexts.

T variants learn side by side and know nothing of each other: each has a step size and a score of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from hyperrl.agents import Agent
from hyperrl.agents.ppo import Batch, gae, ppo_loss
from hyperrl.agents.target import TargetNetworks
from hyperrl.config import Config
from hyperrl.envs import Family
from hyperrl.inference import Belief
from hyperrl.rollout import Rollout, collect, to_env_units
from hyperrl.trainer import cautious

UPDATES = 32
"""Gradient steps on what policies are written from after one episode; after R at once sqrt(R) times as many."""
VALUE_UPDATES, VALUE_FITS = 32, 2
"""Gradient steps on value networks before, and how often; each time the returns are estimated anew."""
RECENT = 2
"""Rounds whose episodes are learned from."""
ROWS = 256
"""Transitions of each variant that a gradient step sees."""
WEIGHTS_RATE, CONTEXT_RATE, VALUE_RATE = 1e-4, 1e-2, 3e-3
"""Learning rates of Adam."""
SURE = 2.13
"""Standard errors of what is learned from returns: 95 % of a one-sided t-test with 4 degrees of freedom."""
BOLDEST = 4.0
"""How many times the learning rate a variant may take whose policy hardly moves."""
BOLDER = 2.0
"""How many times the deviation of training continuous actions have when learning on the weights begins."""
READ_AT_ONCE = 500
"""Transitions of each variant that a belief takes in at once, for the sake of memory."""
SPREAD = 0.05
"""Deviation of the contexts that evolution tries, where 1 is the half-range of training."""

Write = Callable[[Tensor], Tensor]
"""From rows (N, X), such as contexts, to weights of networks (N, W)."""


class Played(NamedTuple):
    """E whole episodes of each variant; the steps after an episode's end count nowhere."""

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


class Plants:
    """T variants as machines to experiment on, with every step counted."""

    def __init__(
        self,
        agent: Agent,
        family: Family,
        variants_TP: np.ndarray,
        config: Config,
        seed: int = 0,
        belief: Belief | None = None,
    ) -> None:
        """Set them up.

        Args:
            agent: what the networks' sizes and scales are taken from.
            family: the agent's; drifting parameters are none to learn on.
            variants_TP: in SI units; only the simulator sees them.
            config: settings of the agent's run.
            seed: of starts and actions.
            belief: about the T variants, told of every transition.
        """
        self.family, self.variants_TP, self.config, self.belief = family.in_process(), variants_TP, config, belief
        self.target: TargetNetworks = agent.target
        self.device = agent.normaliser.mean.device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.steps_T = np.zeros(len(variants_TP), dtype=np.int64)
        self._to_env = to_env_units(family.action_space, self.device)
        self._seeds = np.random.default_rng(seed)

    def next_seed(self) -> int:
        """Of starts that no episode had before."""
        return int(self._seeds.integers(2**31))

    @torch.no_grad()
    def play(self, weights: Tensor, episodes: int, trial: int | None = None) -> Played:
        """Play E episodes of each variant.

        Args:
            weights: of each variant's networks (T, W), or of each episode's own (T, E, W).
            episodes: E.
            trial: seed of the starts, the same for all that is compared; actions are then the most probable ones.
        """
        each = weights.ndim == 3
        variants_NP = np.repeat(self.variants_TP, episodes, axis=0) if each else self.variants_TP
        seed, networks = self.next_seed() if trial is None else trial, Given(self.target, weights.flatten(0, -2))
        env = self.family.vector(variants_NP, 1 if each else episodes, self.device, seed=seed)
        obs, _ = env.reset(seed=seed, options={"paired": trial is not None, "judged": True, "once": True})
        ends = (self.family.max_episode_steps, self._to_env, self.generator, trial is not None)
        rollout, _ = collect(networks, env, obs, *ends)
        env.close()
        shape = (len(self.variants_TP), episodes)
        grouped = {
            name: x.flatten(1, 2).unflatten(1, shape) for name, x in rollout._asdict().items() if name != "context_RTC"
        }
        done_STE = grouped["done_STE"].float()
        played = Played(rollout._replace(**grouped), 1 - (done_STE.cumsum(0) - done_STE).clamp(max=1))
        self.steps_T += played.steps_T
        self._tell(played)
        return played

    def _tell(self, played: Played) -> None:
        if self.belief:
            rollout = played.rollout
            action_STE = self._to_env(rollout.action_STE)
            seen = (rollout.obs_STEO, action_STE, rollout.reward_STE, rollout.next_obs_STEO, played.alive_STE)
            for part in zip(*(_by_variant(x).split(READ_AT_ONCE, 1) for x in seen), strict=True):
                self.belief.take(*part)


class Given(TargetNetworks):
    """Weights (N, W) of ordinary networks in the place of an arm, whatever the context."""

    def __init__(self, target: TargetNetworks, weights_NW: Tensor) -> None:
        super().__init__(target.spec, target.normaliser)
        self.weights_NW = weights_NW

    def generate(self, context_TC: Tensor) -> Tensor:
        """The given weights."""
        return self.weights_NW


def _by_variant(x_STE: Tensor) -> Tensor:
    """(S, T, E, ...) -> (T, S * E, ...)."""
    return x_STE.transpose(0, 1).flatten(1, 2)


def _by_step(x_TN: Tensor, rollout: Rollout) -> Tensor:
    """Back again: (T, S * E) -> (S, T, E)."""
    return x_TN.unflatten(1, rollout.reward_STE.shape[::2]).transpose(0, 1)


class Learner(Protocol):
    """What is learned on plants."""

    sure: float
    """Standard errors that a gain in return must have, for one to be sure of it."""

    def weights(self) -> Tensor:
        """The networks (T, W) that it has come to."""

    def learn(self, episodes: int) -> None:
        """Play that many episodes of each variant, and learn from them."""


class Rows:
    """A row (X,) for each variant, each moved by Adam with a gradient norm and a pace of its own."""

    def __init__(self, rows_TX: Tensor, learning_rate: float, max_grad_norm: float) -> None:
        self.rows_TX = rows_TX.detach().clone().requires_grad_(True)
        self.max_grad_norm = max_grad_norm
        self.optimiser = torch.optim.Adam([self.rows_TX], learning_rate, eps=1e-5)

    def step(self, loss: Tensor, pace_T: Tensor | None = None) -> None:
        """Take Adam's step, times each variant's pace, down a loss that is a sum over variants."""
        (gradient_TX,) = torch.autograd.grad(loss, [self.rows_TX])
        with torch.no_grad():
            norm_T1 = gradient_TX.norm(dim=1, keepdim=True)
            self.rows_TX.grad = gradient_TX * (self.max_grad_norm / (norm_T1 + 1e-6)).clamp(max=1)
            before_TX = self.rows_TX.clone()
            self.optimiser.step()
            if pace_T is not None:
                self.rows_TX.copy_(torch.lerp(before_TX, self.rows_TX, pace_T.unsqueeze(1)))


class Descent:
    """PPO on one variant at a time: the value network is fitted first, then the policy moves.

    A generated value network is wrong by what the hypernetwork does not know of the variant, and advantages with it.
    The episodes of the last rounds are used once more, with clipped importance weights.
    """

    sure = SURE

    def __init__(self, plants: Plants, weights_TW: Tensor, rows_TX: Tensor, write: Write, learning_rate: float) -> None:
        """Begin at given networks.

        Args:
            plants: to play on.
            weights_TW: whose value networks are where the fit begins.
            rows_TX: what the policies are written from.
            write: rows (T, X) -> the policies' weights.
            learning_rate: of the rows.
        """
        self.plants, self.write = plants, write
        size, norm = plants.target.policy_size, plants.config.max_grad_norm
        self.rows = Rows(rows_TX, learning_rate, norm)
        self.value = Rows(weights_TW[:, size:], VALUE_RATE, norm)
        self.caution_T = torch.ones(len(rows_TX), device=rows_TX.device)
        self.recent: list[Played] = []
        self.boldness = 1.0

    @classmethod
    def on_weights(cls, plants: Plants, weights_TW: Tensor) -> Descent:
        """Learn on every weight, with actions ``BOLDER`` times as spread as those of the policies that come of it."""
        rows_TX = plants.target.bolder(weights_TW, BOLDER)[:, : plants.target.policy_size]
        descent = cls(plants, weights_TW, rows_TX, lambda rows_TX: rows_TX, WEIGHTS_RATE)
        descent.boldness = BOLDER
        return descent

    @classmethod
    def on_context(cls, plants: Plants, context_TC: Tensor, write: Write) -> Descent:
        """Learn on the contexts that whole weights are written from."""
        size = plants.target.policy_size
        return cls(plants, write(context_TC), context_TC, lambda rows_TX: write(rows_TX)[:, :size], CONTEXT_RATE)

    def _weights(self) -> Tensor:
        return torch.cat([self.write(self.rows.rows_TX), self.value.rows_TX], 1)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The networks (T, W) that it has come to."""
        return self.plants.target.bolder(self._weights(), 1 / self.boldness)

    def learn(self, episodes: int) -> None:
        """Play with sampled actions, fit the values, then take PPO's steps; a policy that has moved too far stops."""
        self.recent = [*self.recent, self.plants.play(self._weights().detach(), episodes)][-RECENT:]
        share = math.sqrt(episodes)
        for _ in range(VALUE_FITS):
            batch, alive_TN = self._batch()
            for _ in range(round(VALUE_UPDATES * share)):
                _, value_TN, minibatch = self._minibatch(batch, alive_TN)
                error_TN = (value_TN - minibatch.return_TN) / minibatch.return_scale_T1
                self.value.step(error_TN.square().mean(1).sum())
        batch, alive_TN = self._batch()
        config, active_T, history = self.plants.config, torch.ones_like(self.caution_T), []
        for _ in range(round(UPDATES * share)):
            distribution, value_TN, minibatch = self._minibatch(batch, alive_TN)
            loss = ppo_loss(distribution, value_TN, minibatch, config.clip)
            active_T = active_T * (loss.approx_kl_T <= 4 * config.target_kl)
            history.append(loss.approx_kl_T)
            self.rows.step(loss.policy * len(active_T), self.caution_T * active_T)  # a mean over variants until here
        self.caution_T = cautious(self.caution_T, torch.stack(history).mean(0), config.target_kl, BOLDEST)

    def _minibatch(self, batch: Batch, alive_TN: Tensor) -> tuple[Distribution, Tensor, Batch]:
        rows_TN = torch.multinomial(alive_TN, ROWS, replacement=True, generator=self.plants.generator)
        minibatch = batch.pick(rows_TN)
        return *self.plants.target(self._weights(), minibatch.obs_TNO), minibatch

    @torch.no_grad()
    def _batch(self) -> tuple[Batch, Tensor]:
        """The last rounds' steps as the networks judge them now, and which of them belong to an episode (T, N)."""
        parts = [self._judged(played) for played in self.recent]
        obs_TNO, action_TN, then_TN, now_TN, advantage_TN, return_TN, alive_TN = (
            torch.cat(list(column), 1) for column in zip(*parts, strict=True)
        )
        mean_T1, var_T1 = _moments(advantage_TN, alive_TN)
        family_var = self.plants.target.normaliser.return_var
        weight_TN = (now_TN - then_TN).exp().clamp(max=2)
        batch = Batch(
            obs_TNO=obs_TNO,
            action_TN=action_TN,
            log_prob_TN=now_TN,
            advantage_TN=(advantage_TN - mean_T1) * (var_T1 + 1e-8).rsqrt() * weight_TN,
            return_TN=return_TN,
            return_scale_T1=(_moments(return_TN, alive_TN)[1] + family_var).sqrt(),
        )
        return batch, alive_TN

    def _judged(self, played: Played) -> tuple[Tensor, ...]:
        rollout, config = played.rollout, self.plants.config
        obs_TNO, action_TN = _by_variant(rollout.obs_STEO), _by_variant(rollout.action_STE)
        distribution, value_TN = self.plants.target(self._weights(), obs_TNO)
        _, next_value_TN = self.plants.target(self._weights(), _by_variant(rollout.next_obs_STEO))
        value_STE, next_value_STE = _by_step(value_TN, rollout), _by_step(next_value_TN, rollout)
        ends = (rollout.terminated_STE, rollout.done_STE)
        advantage_STE = gae(rollout.reward_STE, value_STE, next_value_STE, *ends, config.gamma, config.gae_lambda)
        told = (rollout.log_prob_STE, advantage_STE, advantage_STE + value_STE, played.alive_STE)
        then_TN, advantage_TN, return_TN, alive_TN = (_by_variant(x) for x in told)
        return obs_TNO, action_TN, then_TN, distribution.log_prob(action_TN), advantage_TN, return_TN, alive_TN


def _moments(x_TN: Tensor, alive_TN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (T, 1) of what is alive."""
    count_T1 = alive_TN.sum(1, keepdim=True)
    mean_T1 = (x_TN * alive_TN).sum(1, keepdim=True) / count_T1
    return mean_T1, ((x_TN - mean_T1).square() * alive_TN).sum(1, keepdim=True) / count_T1


class Trial:
    """Contexts tried one after the other in greedy episodes from the same start; the best is kept."""

    sure = SURE

    def __init__(self, plants: Plants, candidates: Sequence[Tensor], write: Write) -> None:
        """Try contexts (T, C) in turn; the first is what there was before."""
        self.plants, self.write, self.left = plants, write, list(candidates)
        self.context_TC, self.start = candidates[0], plants.next_seed()
        self.best_T = torch.full_like(candidates[0][:, 0], -torch.inf)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The networks (T, W) of the best contexts."""
        return self.write(self.context_TC)

    @torch.no_grad()
    def learn(self, episodes: int) -> None:
        """Try the next candidate."""
        tried_TC = self.left.pop(0)
        score_T = self.plants.play(self.write(tried_TC), episodes, self.start).returns_TE.mean(1)
        self.context_TC = torch.where((score_T > self.best_T).unsqueeze(1), tried_TC, self.context_TC)
        self.best_T = score_T.maximum(self.best_T)


class Evolution:
    """A small evolution strategy in the context: the weighted mean of the better half of its mutants.

    Each mutant has one greedy episode, all of a generation from the same start: luck would decide otherwise. The
    weights of recombination are those of CMA-ES (Hansen, 2016, "The CMA Evolution Strategy: A Tutorial", equation 49);
    the spread stays as it is.
    """

    sure = SURE

    def __init__(self, plants: Plants, context_TC: Tensor, write: Write) -> None:
        """Begin at contexts (T, C)."""
        self.plants, self.context_TC, self.write = plants, context_TC, write

    @torch.no_grad()
    def weights(self) -> Tensor:
        """The networks (T, W) of the contexts in the middle."""
        return self.write(self.context_TC)

    @torch.no_grad()
    def learn(self, episodes: int) -> None:
        """Play one generation: mirrored pairs, and the middle itself where a pair would be broken."""
        shape = (len(self.context_TC), episodes // 2, self.context_TC.shape[1])
        half = SPREAD * torch.randn(shape, generator=self.plants.generator, device=self.plants.device)
        steps_TEC = torch.cat([half, -half, torch.zeros_like(self.context_TC).unsqueeze(1)], 1)[:, :episodes]
        mutants_TEC = self.context_TC.unsqueeze(1) + steps_TEC
        written = self.write(mutants_TEC.flatten(0, 1)).unflatten(0, mutants_TEC.shape[:2])
        order_TE = self.plants.play(written, episodes, self.plants.next_seed()).returns_TE.argsort(1, descending=True)
        parents = max(1, episodes // 2)
        share = math.log((max(episodes, 2) + 1) / 2) - torch.arange(1, parents + 1, device=order_TE.device).log()
        best = mutants_TEC.gather(1, order_TE[:, :parents, None].expand(-1, -1, shape[2]))
        self.context_TC = (best * (share / share.sum()).unsqueeze(1)).sum(1)
