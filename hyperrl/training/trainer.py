"""The meta-loop's iteration: one objective over a family, variants resampled as it goes on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.agents.adam import Adam, norm_of
from hyperrl.agents.hypernetwork import weight_statistics
from hyperrl.agents.losses.advantages import gae
from hyperrl.agents.losses.objective import Batch, Objective, Terms
from hyperrl.agents.losses.ppo import PPO
from hyperrl.agents.normaliser import SMALLEST
from hyperrl.config import Config
from hyperrl.envs import Family, InputError, PhysicsVectorEnv
from hyperrl.play.actors import AgentActor
from hyperrl.play.collect import collect, steps_at_once
from hyperrl.play.rollout import Rollout
from hyperrl.seeds import seed_of, torch_generator
from hyperrl.storage.agent import build_agent
from hyperrl.storage.device import pick_device
from hyperrl.training import finite
from hyperrl.training.ahead import Ahead, collects_ahead
from hyperrl.training.captured import Captured, tf32
from hyperrl.training.compiling import Compiled, of_tensors, reason_against
from hyperrl.training.ranks import ALONE, Ranks
from hyperrl.training.sampler import Sampler, UniformSampler

KL_LIMIT = 4
"""Target KL divergences beyond which the rest of an update is void."""
KL_TOLERANCE, CAUTION_STEP = 1.5, 1.5
"""The learning rate changes where a KL divergence is this factor from its target, and by that factor."""
VALUE_LAMBDA = 1.0
"""Lambda of the returns that value networks learn: those of the rollout, its end bootstrapped. With that of the
advantages, a value that is wrong by b would be aimed at a value that is wrong by almost b."""
FAMILY_SHARE = 0.25
"""Share of the family's mean variance in the scale of a variant's advantages."""
ROUNDING = 1e-6
"""Share of the returns below which differences between advantages are rounding."""

Reward = Callable[[Rollout], Tensor]
"""From a rollout to the rewards (S, T, E) that are learned from."""


def environment_reward(rollout: Rollout) -> Tensor:
    """The rewards as the environment gave them."""
    return rollout.reward_STE


def minibatch_terms(agent: Agent, objective: Objective, minibatch: Batch, context_TC: Tensor) -> Terms:
    """The loss of a minibatch, whose gradient reaches the generator: the weights are generated in it."""
    weights_TD = agent.generate(context_TC)
    distribution, value_TN, _ = agent(weights_TD, minibatch.obs_TNO, minibatch.state_TNH)
    return objective.terms(distribution, value_TN, minibatch, weights_TD)


def sequence_terms(agent: Agent, objective: Objective, minibatch: Batch, context_TC: Tensor, steps: int) -> Terms:
    """As ``minibatch_terms``, for an arm with a state: the minibatch holds so many steps of whole copies in order."""
    weights_TD = agent.generate(context_TC)
    obs_TSNO, state_TSNH = (x.unflatten(1, (steps, -1)) for x in (minibatch.obs_TNO, minibatch.state_TNH))
    distribution, value_TN = agent.sequence(weights_TD, obs_TSNO, state_TSNH)
    return objective.terms(distribution, value_TN, minibatch, weights_TD)


class Learned(NamedTuple):
    """What an iteration has computed on the device."""

    names: tuple[str, ...]
    shown_M: Tensor
    """A scalar of each name, for TensorBoard; then 1 where all is finite and not too large, else 0."""
    rollout: Rollout
    discounted_STE: Tensor
    """Running discounted sums of what was learned from."""
    variants_TP: Tensor
    """What was played."""


class Trainer:
    """Owns all that changes while training: agent, optimiser, environments, generators."""

    def __init__(
        self,
        family: Family,
        config: Config,
        sampler: Sampler | None = None,
        reward: Reward = environment_reward,
        objective: Objective | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Set up the first iteration.

        Args:
            family: what is trained on.
            config: the run's settings.
            sampler: which variants; uniform over the training region by default.
            reward: what is learned from; the environment's own by default.
            objective: what is minimised; PPO with the settings' coefficients by default.
            ranks: the processes that share the variants; this one alone by default.

        Raises:
            InputError: the arm or the device is unknown, minibatches and rollout do not fit a family that drifts, or
                the variants cannot be shared evenly.
        """
        if family.drift and config.rollout % config.minibatches:
            raise InputError(
                f"minibatches={config.minibatches}: must be a divisor of rollout = {config.rollout}, since the "
                f"parameters of family {family.name!r} drift; choose another value"
            )
        self.family, self.config, self.ranks = family, config, ranks
        self.own = ranks.share(config.variants)
        """Which of the variants this process plays."""
        self.device = pick_device(config.device)
        self.sampler = sampler or UniformSampler(family, config.seed)
        self.reward = reward
        self.objective = objective or PPO(
            clip=config.clip,
            value_coef=config.value_coef,
            entropy_coef=config.entropy_coef,
            weight_norm_coef=config.weight_norm_coef,
            diversity_coef=config.diversity_coef,
        )
        self.agent = build_agent(family, config, self.device)
        if family.drift and self.agent.state_size:
            raise InputError(
                f"agent {config.agent!r}: has a state, and the parameters of family {family.name!r} drift; its states "
                "are not learned across contexts: choose another agent"
            )
        variants_TP = self.sampler.draw(config.variants, 0)[self.own]
        start_seed = seed_of("starts", config.seed, *ranks.numbers)
        self.env = family.vector(variants_TP, config.copies, self.device, seed=start_seed)
        self.obs, _ = self.env.reset()
        self.generators = {
            "actions": torch_generator("actions", config.seed, *ranks.numbers, device=self.device),
            "minibatches": torch_generator("minibatches", config.seed, device=self.device),
        }
        self.ahead = Ahead(self.agent) if collects_ahead(config, family) else None
        acting = self.ahead.acting if self.ahead else self.agent
        self.actor = AgentActor(acting, family, self.generators["actions"])
        self.actor.begin(self.env)
        self.rollout = Rollout.empty(self.agent, self.env, config.rollout)
        self.not_compiled = reason_against(config, family, self.device, self.agent)
        self.terms = minibatch_terms if self.not_compiled else Compiled(minibatch_terms)
        self.sequences = math.gcd(config.minibatches, config.copies)
        """For an arm with a state: into how many parts an epoch divides the copies; the steps, where those are too few,
        into ``minibatches`` / ``sequences``."""
        if self.agent.state_size:
            self.terms = partial(sequence_terms, steps=config.rollout * self.sequences // config.minibatches)
        self.steps_at_once = steps_at_once
        if not self.not_compiled and of_tensors(family):
            self.steps_at_once = Compiled(steps_at_once)
        self.optimiser = Adam(list(self.agent.parameters()), config.max_grad_norm)
        self.rate = torch.zeros((), device=self.device)
        """The schedule's learning rate in this iteration."""
        self.iteration = 0
        self.caution = torch.ones((), device=self.device)
        shape = (self.env.num_variants, config.copies)
        self.discounted_TE = torch.zeros(shape, device=self.device)
        self.episode_return_TE = torch.zeros(shape, device=self.device)
        self.episode_length_TE = torch.zeros(shape, device=self.device)
        self.not_captured = self._reason_against_capturing()
        """Why iterations are no CUDA graph, in a few words; empty where they are."""
        self.work: Callable[[], Learned] = self._work
        if not self.not_captured and isinstance(env := self.env, PhysicsVectorEnv):
            self.work = Captured(self._work, [*self.generators.values(), env.generator], lambda: env.moment)

    def _reason_against_capturing(self) -> str:
        """As ``not_captured``."""
        reasons = {
            "there is no GPU": self.device.type != "cuda",
            "as asked": self.config.compile == "off",
            "several processes train": self.ranks.count > 1,
            "the agent has a state": self.agent.state_size,
            "the physics is no function of tensors": not of_tensors(self.family) or self.ahead,
            "the sampler learns from scores": not isinstance(self.sampler, UniformSampler),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def close(self) -> None:
        """Close the environments, once nothing is collected any more."""
        if self.ahead:
            self.ahead.close()
        self.env.close()

    @property
    def iteration(self) -> int:
        """How many iterations are done."""
        return self._iteration

    @iteration.setter
    def iteration(self, iteration: int) -> None:
        self._iteration = iteration
        self.rate.fill_(self.config.learning_rate * (1 - iteration / self.config.iterations))

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.iteration * self.config.iteration_steps

    def iterate(self) -> dict[str, float]:
        """One iteration of the meta-loop; returns what TensorBoard shows of it.

        Raises:
            Unusable: something of it is not finite, or too large.
        """
        with tf32():
            if self.not_captured:
                found = self.learned(self.next_rollout())
            else:
                self.resample(self.iteration)
                found = self.work()
        *shown, usable = found.shown_M.tolist()  # the one copy to the host
        metrics = dict(zip(found.names, shown, strict=True))
        if not usable:
            raise self._unusable(found, metrics["train/loss"])
        self.iteration += 1
        return metrics

    def _work(self) -> Learned:
        """Collect, and learn from it."""
        return self.learned(self.collect())

    def learned(self, rollout: Rollout) -> Learned:
        """Learn from a rollout, where that is usable: else all but the running sums stays as it is."""
        variants_TP = self.env.variants_TP.clone()
        reward_STE = self.reward(rollout)
        batch, estimated = self.estimate(rollout._replace(reward_STE=reward_STE))
        discounted_STE, episodes = self.count_episodes(rollout, reward_STE)
        usable = self.ranks.mean(finite.usable(rollout, discounted_STE).float()) == 1
        with self.collecting_ahead():
            updated = self.update(batch, rollout.context_RTC, usable)
        metrics = {**episodes, **estimated, **updated}
        shown_M = self.ranks.mean(torch.stack(list(metrics.values())))
        usable = usable & shown_M[list(metrics).index("train/loss")].isfinite()
        self.normalise(rollout.obs_STEO, discounted_STE, usable)
        return Learned(tuple(metrics), torch.cat([shown_M, usable.float()[None]]), rollout, discounted_STE, variants_TP)

    def _unusable(self, found: Learned, loss: float) -> finite.Unusable:
        """What is wrong with an iteration."""
        rollout, discounted_STE = found.rollout, found.discounted_STE
        line = (
            f"loss={loss} after {self.steps + self.config.iteration_steps:,} steps: the training has diverged; choose "
            "a lower learning_rate, or mend the family's physics"
        )
        if finite.whole(self.agent) and not finite.usable(rollout, discounted_STE):
            line = finite.first_unusable(rollout, discounted_STE, self.family, found.variants_TP, self.steps)
        return finite.Unusable(line)

    def begin_anew(self) -> None:
        """Let every copy begin a new episode; what was collected ahead is dropped."""
        if self.ahead:
            self.ahead.drop()
        self.obs, _ = self.env.reset()
        self.actor.begin(self.env)
        for running_TE in (self.discounted_TE, self.episode_return_TE, self.episode_length_TE):
            running_TE.zero_()

    def next_rollout(self) -> Rollout:
        """The rollout of this iteration, which may have been collected ahead."""
        found = self.ahead.take() if self.ahead else None
        if found is not None:
            return found
        if self.ahead:
            self.ahead.follow(self.agent)
        self.resample(self.iteration)
        return self.collect()

    @contextmanager
    def collecting_ahead(self) -> Iterator[None]:
        """Collect the next rollout meanwhile, where that is asked for and there is a next one."""
        if self.ahead is None or self.iteration + 1 == self.config.iterations:
            yield
            return
        self.resample(self.iteration + 1)
        self.rollout = self.ahead.other(self.rollout)
        with self.ahead.collecting(self.agent, self.collect):
            yield

    def resample(self, iteration: int) -> None:
        """Give the slots whose variants have lived for ``lifetime`` episodes' worth of steps freshly drawn ones."""
        lifetime = math.ceil(self.config.lifetime * self.family.max_episode_steps / self.config.rollout)
        replaced_T = (np.arange(self.config.variants) % lifetime == iteration % lifetime)[self.own]
        if iteration == 0 or not replaced_T.any():
            return
        self.obs = self.env.replace(self.sampler.draw(self.config.variants, iteration)[self.own], replaced_T)
        self._begin_anew(torch.as_tensor(replaced_T, device=self.device).unsqueeze(1).expand_as(self.discounted_TE))

    def _begin_anew(self, mask_TE: Tensor) -> None:
        """Forget the episodes so far of the copies in the mask (T, E)."""
        self.actor.restart(mask_TE)
        for running_TE in (self.discounted_TE, self.episode_return_TE, self.episode_length_TE):
            running_TE.mul_(~mask_TE)

    def context(self) -> Tensor:
        """Contexts (T, C) of the variants that are trained on now."""
        return self.family.encode(self.env.variants_TP.float())

    def collect(self) -> Rollout:
        """Generate weights once per variant and play S steps, into buffers that the next rollout overwrites."""
        self.obs = collect(self.env, self.obs, self.actor, self.rollout, self.steps_at_once)
        return self.rollout

    @torch.no_grad()
    def estimate(self, rollout: Rollout) -> tuple[Batch, dict[str, Tensor]]:
        """Advantages and returns, scaled per variant, and how well the values explain the returns."""
        config = self.config
        contexts = len(rollout.context_RTC)
        weights_TD = self.agent.generate(rollout.context_TC)
        value_STE = rollout.values(self.agent, weights_TD, rollout.obs_STEO, rollout.state_STEH)
        next_value_STE = rollout.values(self.agent, weights_TD, rollout.next_obs_STEO, rollout.next_state_STEH)
        estimated = partial(
            gae,
            rollout.reward_STE,
            value_STE,
            next_value_STE,
            rollout.terminated_STE,
            rollout.done_STE,
            config.gamma,
        )
        advantage_STE = estimated(config.gae_lambda)
        return_STE = estimated(VALUE_LAMBDA) + value_STE
        advantage_TN, return_TN = advantage_STE.transpose(0, 1).flatten(1), return_STE.transpose(0, 1).flatten(1)
        gathered = self.ranks.gathered
        self.sampler.tell(gathered(self.env.variants_TP), gathered(advantage_TN.abs().mean(1)))
        mean_T1, var_T1 = advantage_TN.mean(1, keepdim=True), advantage_TN.var(1, keepdim=True)
        square, mean_var = self.ranks.means([return_STE.square().mean(), var_T1.mean()])
        # a variant whose advantages are almost constant is not scaled up
        scale_T1 = (var_T1 + FAMILY_SHARE * mean_var + (ROUNDING**2 * square + SMALLEST)).sqrt()
        # the family's variance keeps a variant whose returns hardly vary from drowning the others
        family_var = self.agent.normaliser.return_var
        batch = Batch(
            obs_TNO=rollout.by_context(rollout.obs_STEO),
            state_TNH=rollout.by_context(rollout.state_STEH),
            action_TN=rollout.by_context(rollout.action_STE),
            log_prob_TN=rollout.by_context(rollout.log_prob_STE),
            advantage_TN=rollout.by_context((advantage_STE - mean_T1) / scale_T1),
            return_TN=rollout.by_context(return_STE),
            return_scale_T1=(return_TN.var(1, keepdim=True) + family_var + SMALLEST).sqrt().repeat(contexts, 1),
        )
        residual = return_STE - value_STE
        return batch, {"train/explained_variance": 1 - residual.var() / (return_STE.var() + SMALLEST)}

    @torch.no_grad()
    def count_episodes(self, rollout: Rollout, reward_STE: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Running discounted sums (S, T, E) of what is learned from, and mean return and length of ended episodes."""
        discounted, ended_returns, ended_lengths = [], [], []
        for learned_TE, reward_TE, done_TE in zip(reward_STE, rollout.reward_STE, rollout.done_STE, strict=True):
            self.discounted_TE.mul_(self.config.gamma).add_(learned_TE)
            self.episode_return_TE.add_(reward_TE)
            self.episode_length_TE.add_(1)
            discounted.append(self.discounted_TE.clone())
            ended_returns.append(self.episode_return_TE * done_TE)
            ended_lengths.append(self.episode_length_TE * done_TE)
            for running_TE in (self.discounted_TE, self.episode_return_TE, self.episode_length_TE):
                running_TE.mul_(~done_TE)
        sums = [torch.stack(ended_returns).sum(), torch.stack(ended_lengths).sum(), rollout.done_STE.sum().float()]
        returns, lengths, ended = self.ranks.means(sums)
        return torch.stack(discounted), {
            "rollout/ep_rew_mean": returns / ended,
            "rollout/ep_len_mean": lengths / ended,
        }

    def minibatches(self, batch: Batch, context_RTC: Tensor) -> Iterator[tuple[Batch, Tensor]]:
        """One epoch: minibatches with as many samples of every variant, and the contexts (T, C) of their rows.

        Where parameters drift, a minibatch holds every copy at some of the steps, each with its own context. Where the
        arm has a state, it holds some copies at all steps, in their order, or at a part of the steps where there are
        fewer copies than minibatches; the states that were stored begin it (Kapturowski et al., ICLR 2019).
        """
        drifting, generator = len(context_RTC) > 1, self.generators["minibatches"]
        if self.agent.state_size:
            for rows in self._sequences(generator):
                yield batch.take(rows), context_RTC[0]
            return
        samples = len(context_RTC) if drifting else batch.obs_TNO.shape[1]
        order = torch.randperm(samples, generator=generator, device=self.device)
        if not drifting:
            for minibatch in batch.take(order).chunk(self.config.minibatches):
                yield minibatch, context_RTC[0]
            return
        variants_T = torch.arange(self.env.num_variants, device=self.device)
        for rows in order.chunk(self.config.minibatches):
            steps_RT = rows.unsqueeze(1) * self.env.num_variants
            yield batch.contexts((steps_RT + variants_T).flatten()), context_RTC[rows].flatten(0, 1)

    def _sequences(self, generator: torch.Generator) -> Iterator[Tensor]:
        """For each minibatch of an arm with a state, the samples of a variant that it holds."""
        copies, parts = self.config.copies, self.config.minibatches // self.sequences
        steps_S1 = torch.arange(self.config.rollout // parts, device=self.device).unsqueeze(1)
        for mine in torch.randperm(copies, generator=generator, device=self.device).chunk(self.sequences):
            order = (
                torch.randperm(parts, generator=generator, device=self.device) if parts > 1 else steps_S1.new_zeros(1)
            )
            for part in order:
                yield (copies * (part * len(steps_S1) + steps_S1) + mine).flatten()

    def update(self, batch: Batch, context_RTC: Tensor, usable: Tensor | None = None) -> dict[str, Tensor]:
        """Epochs of updates; each minibatch generates the weights again, so that gradients reach the generator.

        Where ``usable``, a boolean on the device, is false, all of them are void.
        """
        config = self.config
        rate = self.caution * self.rate
        active = torch.ones((), device=self.device) if usable is None else usable.float()
        shown: dict[str, Tensor] = {}
        history = []
        for _ in range(config.epochs):
            for minibatch, context_TC in self.minibatches(batch, context_RTC):
                terms = self.terms(self.agent, self.objective, minibatch, context_TC)
                gradient, gradient_norm = self.optimiser.gradient(terms.loss)
                approx_kl = terms.approx_kl_T.mean()
                if self.ranks.count > 1:
                    *gradient, approx_kl = self.ranks.means([*gradient, approx_kl])
                    gradient_norm = norm_of(gradient)
                active = active * (approx_kl <= KL_LIMIT * config.target_kl) * gradient_norm.isfinite()
                self.optimiser.step(gradient, gradient_norm, rate, active)
                steps = {"loss": terms.loss, "approx_kl": approx_kl, "grad_norm": gradient_norm, "active": active}
                shown = {**steps, **terms.shown}
                history.append(torch.stack([value.detach() for value in shown.values()]))
        means = torch.stack(history).mean(0).unbind()
        metrics = {f"train/{name}": value for name, value in zip(shown, means, strict=True)}
        metrics["train/learning_rate"] = rate
        self.caution.copy_(cautious(self.caution, metrics["train/approx_kl"], config.target_kl))
        with torch.no_grad():
            norm, diversity = weight_statistics(self.agent.generate(context_RTC[-1]))
        return metrics | {"train/weight_norm": norm, "train/weight_diversity": diversity}

    def normalise(self, obs_STEO: Tensor, discounted_STE: Tensor, usable: Tensor | None = None) -> None:
        """Take in a rollout's observations and discounted sums; the values stay what they were, up to rounding.

        Not before the first rollout, whose unit of returns is a guess; nor where ``usable``, a boolean on the device,
        is false: then nothing is taken in.
        """
        normaliser = self.agent.normaliser
        before, first = normaliser.value_scale, normaliser.count == 0
        kept = [buffer.clone() for buffer in normaliser.buffers()]
        normaliser.update(obs_STEO, discounted_STE, self.ranks.mean, self.ranks.count)
        if usable is not None:
            for buffer, old in zip(normaliser.buffers(), kept, strict=True):
                buffer.copy_(torch.where(usable, buffer, old))
        factor = before / normaliser.value_scale
        # values beyond the returns' own unit are guesses too
        self.agent.scale_values(torch.where(first, factor.clamp(max=1), factor))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration depends on; of several processes, whole on the first one."""
        return {
            "iteration": self.iteration,
            "agent": self.agent.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.state_dict(),
            "caution": self.caution,
            "ranks": self.ranks.collected(self._own_state()),
        }

    def _own_state(self) -> dict[str, Any]:
        """What each process has of its own."""
        return {
            "env": self.env.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "ahead": self.ahead.state_dict() if self.ahead else None,
            "state_TEH": self.actor.state_TEH,
            "discounted_TE": self.discounted_TE,
            "episode_return_TE": self.episode_return_TE,
            "episode_length_TE": self.episode_length_TE,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``'s answer: bit for bit, but for episodes that the environment does not repeat.

        Where another number of processes saved it, new variants are drawn and new episodes begin, with a warning.
        """
        self.iteration = state["iteration"]
        self.agent.load_state_dict(state["agent"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampler.load_state_dict(state["sampler"])
        self.caution.copy_(state["caution"])
        if len(state["ranks"]) == self.ranks.count:
            self._load_own_state(state["ranks"][self.ranks.rank])
            return
        before, now = (f"{count} process{'es' * (count > 1)}" for count in (len(state["ranks"]), self.ranks.count))
        warnings.warn(f"saved by {before}, goes on with {now}: new episodes begin", stacklevel=2)
        self.env.put(self.sampler.draw(self.config.variants, self.iteration)[self.own])
        self.begin_anew()

    def _load_own_state(self, state: dict[str, Any]) -> None:
        self.obs, anew_N = self.env.load_state_dict(state["env"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name].cpu())
        self.actor.state_TEH = state["state_TEH"].to(self.device)
        for name in ("discounted_TE", "episode_return_TE", "episode_length_TE"):
            getattr(self, name).copy_(state[name])
        if self.ahead and anew_N.any():
            self.begin_anew()  # the sums are of the rollout before the one that was collected ahead
            return
        self._begin_anew(anew_N.view_as(self.discounted_TE))
        if self.ahead:
            self.ahead.load_state_dict(state["ahead"], self.rollout)


def cautious(caution: Tensor, kl: Tensor, target_kl: float, largest: float = 1.0) -> Tensor:
    """The factor (0, largest] on the learning rate for the next update, after one whose mean KL divergence was ``kl``.

    As the adaptive penalty of PPO (Schulman et al., 2017, section 4), on the learning rate: the lower a policy's
    entropy, the further the same step moves it.
    """
    lower = torch.where(kl > KL_TOLERANCE * target_kl, caution / CAUTION_STEP, caution)
    return torch.where(kl < target_kl / KL_TOLERANCE, caution * CAUTION_STEP, lower).clamp(max=largest)
