"""The meta-loop: one PPO over a family, variants resampled as it goes on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from hyperrl.agents import ARMS, AgentSpec
from hyperrl.agents.hypernetwork import weight_statistics
from hyperrl.agents.ppo import Batch, gae, ppo_loss
from hyperrl.config import Config
from hyperrl.envs import Family, InputError
from hyperrl.rollout import Rollout, collect, to_env_units


def build_agent(family: Family, config: Config, device: torch.device) -> Any:
    """The arm that the settings name, with weights drawn from their seed.

    Raises:
        InputError: the arm or the activation is unknown.
    """
    if config.agent not in ARMS:
        raise InputError(f"agent {config.agent!r}: unknown; choose from {', '.join(ARMS)}")
    space = family.action_space
    discrete = isinstance(space, Discrete)
    try:
        spec = AgentSpec(
            observation=int(np.prod(family.observation_space.shape)),
            action=int(space.n) if isinstance(space, Discrete) else int(np.prod(space.shape)),
            discrete=discrete,
            context=family.context_size,
            hidden=tuple(config.hidden),
            activation=config.activation,
            log_std=config.log_std,
            generator_hidden=tuple(config.generator_hidden),
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ARMS[config.agent](spec).to(device)


def pick_device(name: str) -> torch.device:
    """cpu, cuda, or auto.

    Raises:
        InputError: the name is none of these, or there is no CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"device {name!r}: unknown; choose from auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': PyTorch finds none here; choose cpu or auto")
    return torch.device(name)


_TERMS = (
    "loss",
    "policy_gradient_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "grad_norm",
    "active",
)


class Trainer:
    """Owns all that changes while training: agent, optimiser, environments, generators."""

    def __init__(self, family: Family, config: Config) -> None:
        self.family, self.config = family, config
        self.device = pick_device(config.device)
        self.agent = build_agent(family, config, self.device)
        self.env = family.vector(self._fresh_variants(0), config.copies, self.device, seed=config.seed)
        self.obs, _ = self.env.reset()
        self.to_env = to_env_units(family.action_space, self.device)
        self.generator = torch.Generator(self.device).manual_seed(config.seed + 1)  # the starts have the seed itself
        # a tensor, so that the learning rate changes without a copy to the host or a new graph
        learning_rate = torch.tensor(config.learning_rate, device=self.device)
        self.optimiser = torch.optim.Adam(self.agent.parameters(), lr=learning_rate, eps=1e-5, fused=True)
        self.iteration = 0
        self.caution = torch.ones((), device=self.device)
        shape = (config.variants, config.copies)
        self.discounted_TE = torch.zeros(shape, device=self.device)
        self.episode_return_TE = torch.zeros(shape, device=self.device)
        self.episode_length_TE = torch.zeros(shape, device=self.device)

    def _fresh_variants(self, iteration: int) -> np.ndarray:
        # the last number keeps training draws from those of the splits, which are seeded with two
        rng = np.random.default_rng((self.config.seed, iteration, 1))
        return self.family.sample(self.config.variants, rng)

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.iteration * self.config.iteration_steps

    def iterate(self) -> dict[str, float]:
        """One iteration of the meta-loop; returns what TensorBoard shows of it."""
        self.resample()
        rollout = self.collect()
        batch, collected = self.estimate(rollout)
        updated = self.update(batch, rollout.context_TC)
        self.agent.normaliser.update(rollout.obs_STEO, collected.pop("discounted"))
        self.iteration += 1
        metrics = collected | updated
        # one copy to the host for all of them
        return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))

    def resample(self) -> None:
        """Give the slots whose variants have lived for ``lifetime`` episodes' worth of steps freshly drawn ones."""
        lifetime = math.ceil(self.config.lifetime * self.family.max_episode_steps / self.config.rollout)
        replaced_T = np.arange(self.config.variants) % lifetime == self.iteration % lifetime
        if self.iteration == 0 or not replaced_T.any():
            return
        self.obs = self.env.replace(self._fresh_variants(self.iteration), replaced_T)
        kept_T1 = torch.as_tensor(~replaced_T, device=self.device).unsqueeze(1)
        for running_TE in (self.discounted_TE, self.episode_return_TE, self.episode_length_TE):
            running_TE.mul_(kept_T1)

    def context(self) -> Tensor:
        """Contexts (T, C) of the variants that are trained on now."""
        return self.family.encode(self.env.variants_TP.float())

    def collect(self) -> Rollout:
        """Generate weights once per variant and play S steps."""
        rollout, self.obs = collect(self.agent, self.env, self.obs, self.config.rollout, self.to_env, self.generator)
        return rollout

    @torch.no_grad()
    def estimate(self, rollout: Rollout) -> tuple[Batch, dict[str, Tensor]]:
        """Advantages and returns, scaled per variant, and statistics of the rollout."""
        config = self.config
        contexts = len(rollout.context_RTC)
        weights_TD = self.agent.generate(rollout.context_TC)
        _, next_value_TN = self.agent(weights_TD, _by_context(rollout.next_obs_STEO, contexts))
        next_value_STE = next_value_TN.view(contexts, config.variants, -1, config.copies).transpose(1, 2).flatten(0, 1)
        advantage_STE = gae(
            rollout.reward_STE,
            rollout.value_STE,
            next_value_STE,
            rollout.terminated_STE,
            rollout.done_STE,
            config.gamma,
            config.gae_lambda,
        )
        return_STE = advantage_STE + rollout.value_STE
        advantage_TN, return_TN = _by_context(advantage_STE, 1), _by_context(return_STE, 1)
        mean_T1, var_T1 = advantage_TN.mean(1, keepdim=True), advantage_TN.var(1, keepdim=True)
        # where a variant has nothing to tell, its noise is not blown up to the others' size
        scale_T1 = (var_T1 + 0.25 * var_T1.mean() + 1e-16).sqrt()
        # the family's variance keeps a variant whose returns hardly vary from drowning the others
        family_var = self.agent.normaliser.return_var
        batch = Batch(
            obs_TNO=_by_context(rollout.obs_STEO, contexts),
            action_TN=_by_context(rollout.action_STE, contexts),
            log_prob_TN=_by_context(rollout.log_prob_STE, contexts),
            advantage_TN=_by_context((advantage_STE - mean_T1) / scale_T1, contexts),
            return_TN=_by_context(return_STE, contexts),
            return_scale_T1=(return_TN.var(1, keepdim=True) + family_var).sqrt().repeat(contexts, 1),
        )
        residual = return_STE - rollout.value_STE
        statistics = self._episode_statistics(rollout)
        statistics["train/explained_variance"] = 1 - residual.var() / (return_STE.var() + 1e-8)
        return batch, statistics

    def _episode_statistics(self, rollout: Rollout) -> dict[str, Tensor]:
        """Running discounted returns (S, T, E), and mean return and length of the episodes that ended."""
        discounted, ended_returns, ended_lengths = [], [], []
        for reward_TE, done_TE in zip(rollout.reward_STE, rollout.done_STE, strict=True):
            self.discounted_TE.mul_(self.config.gamma).add_(reward_TE)
            self.episode_return_TE.add_(reward_TE)
            self.episode_length_TE.add_(1)
            discounted.append(self.discounted_TE.clone())
            ended_returns.append(self.episode_return_TE * done_TE)
            ended_lengths.append(self.episode_length_TE * done_TE)
            for running_TE in (self.discounted_TE, self.episode_return_TE, self.episode_length_TE):
                running_TE.mul_(~done_TE)
        ended = rollout.done_STE.sum()
        return {
            "discounted": torch.stack(discounted),
            "rollout/ep_rew_mean": torch.stack(ended_returns).sum() / ended,
            "rollout/ep_len_mean": torch.stack(ended_lengths).sum() / ended,
        }

    def update(self, batch: Batch, context_TC: Tensor) -> dict[str, Tensor]:
        """Epochs of PPO; the weights are generated again for each minibatch, so that gradients reach the generator."""
        config, parameters = self.config, list(self.agent.parameters())
        learning_rate = self.optimiser.param_groups[0]["lr"]
        rate = self.caution * (config.learning_rate * (1 - self.iteration / config.iterations))
        active = torch.ones((), device=self.device)
        samples = batch.obs_TNO.shape[1]
        regularised = bool(config.weight_norm_coef or config.diversity_coef)
        history = []
        for _ in range(config.epochs):
            order = torch.randperm(samples, generator=self.generator, device=self.device)
            for rows in order.chunk(config.minibatches):
                minibatch = batch.take(rows)
                weights_TD = self.agent.generate(context_TC)
                distribution, value_TN = self.agent(weights_TD, minibatch.obs_TNO)
                loss = ppo_loss(distribution, value_TN, minibatch, config.clip)
                total = loss.policy + config.value_coef * loss.value - config.entropy_coef * loss.entropy
                if regularised:
                    norm, diversity = weight_statistics(weights_TD)
                    total = total + config.weight_norm_coef * norm - config.diversity_coef * diversity
                self.optimiser.zero_grad(set_to_none=True)
                total.backward()
                gradient_norm = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
                approx_kl = loss.approx_kl_T.mean()
                active = active * (approx_kl <= 4 * config.target_kl)
                learning_rate.copy_(rate * active)
                self.optimiser.step()
                told = (loss.policy, loss.value, loss.entropy, approx_kl, loss.clip_fraction)
                terms = (total, *told, gradient_norm, active)
                history.append(torch.stack([term.detach() for term in terms]))
        means = torch.stack(history).mean(0).unbind()
        metrics = {f"train/{name}": value for name, value in zip(_TERMS, means, strict=True)}
        metrics["train/entropy_loss"] = -metrics.pop("train/entropy")
        metrics["train/learning_rate"] = rate
        self.caution = cautious(self.caution, metrics["train/approx_kl"], config.target_kl)
        with torch.no_grad():
            norm, diversity = weight_statistics(self.agent.generate(self.context()))
        metrics |= {"train/weight_norm": norm, "train/weight_diversity": diversity}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return {
            "iteration": self.iteration,
            "agent": self.agent.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "env": self.env.state_dict(),
            "generator": self.generator.get_state(),
            "caution": self.caution,
            "discounted_TE": self.discounted_TE,
            "episode_return_TE": self.episode_return_TE,
            "episode_length_TE": self.episode_length_TE,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``'s answer, bit for bit."""
        self.iteration = state["iteration"]
        self.agent.load_state_dict(state["agent"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = group["lr"].to(self.device)  # load_state_dict leaves it where the file was mapped
        self.obs = self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())
        for name in ("caution", "discounted_TE", "episode_return_TE", "episode_length_TE"):
            getattr(self, name).copy_(state[name])


def cautious(caution: Tensor, kl: Tensor, target_kl: float, boldest: float = 1.0) -> Tensor:
    """The factor (0, boldest] on the learning rate for the next update, after one whose mean KL divergence was ``kl``.

    As the adaptive penalty of PPO (Schulman et al., 2017, section 4), on the learning rate: a policy that has grown
    sure of itself is moved further by the same step.
    """
    calmer = torch.where(kl > 1.5 * target_kl, caution / 1.5, caution)
    return torch.where(kl < target_kl / 1.5, caution * 1.5, calmer).clamp(max=boldest)


def _by_context(x_STE: Tensor, contexts: int) -> Tensor:
    """(S, T, E, ...) -> (contexts * T, S / contexts * E, ...): one row for each stretch of steps under one context."""
    return x_STE.unflatten(0, (contexts, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
