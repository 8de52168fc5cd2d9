"""The policy of one variant, with Stable-Baselines3's ``predict``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.envs import Family
from hyperrl.envs.actions import fitting
from hyperrl.play.actors import to_env_units
from hyperrl.seeds import torch_generator
from hyperrl.storage.device import float32


@torch.no_grad()
def generated(
    agent: Agent, family: Family, variants: Iterable[Mapping[str, float]], device: str | torch.device = "cpu"
) -> Tensor:
    """Weights (T, D) of variants in SI units, all in one call."""
    variants_TP = torch.as_tensor(family.table(variants), dtype=torch.float32, device=device)
    return agent.generate(family.encode(variants_TP))


class VariantPolicy:
    """A policy whose weights were generated once, for one variant; ``hyperrl.api.Policy`` is what users have of it."""

    def __init__(
        self,
        agent: Agent,
        family: Family,
        parameters: dict[str, float],
        device: str | torch.device = "cpu",
        gamma: float = 0.99,
        weights_1D: Tensor | None = None,
    ) -> None:
        """Generate the weights, or take those that are given.

        Args:
            agent: the arm.
            family: the agent's.
            parameters: the variant, every parameter in SI units.
            device: the agent's.
            gamma: discount a step that its value network was trained with.
            weights_1D: generated already, or adapted to the variant.
        """
        self.family, self.parameters, self.gamma = family, parameters, gamma
        self.agent, self._device = agent, torch.device(device)
        self._to_env = to_env_units(family.action_space, self._device)
        self._space = family.variant_action_space(parameters)
        self._generator = torch_generator("policy actions", device=self._device)
        self.weights_1D = generated(agent, family, [parameters], self._device) if weights_1D is None else weights_1D

    def again(self, /, **parameters: float) -> Self:
        """The policy generated anew, for parameters that have drifted."""
        return type(self)(self.agent, self.family, parameters, self._device, self.gamma)

    @torch.no_grad()
    @float32()
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Actions for one observation (O,) or several (N, O), within the variant's action space.

        Same signature as ``stable_baselines3.common.base_class.BaseAlgorithm.predict``. An arm without a state passes
        ``state`` through; another arm's is an array (N, H), ``None`` before the first observation, and begins anew
        where ``episode_start`` (N,) is true.

        Raises:
            ValueError: the observation has another shape.
        """
        shape = self.family.observation_space.shape
        # a copy, because a tensor cannot share an array of negative strides
        obs = torch.as_tensor(np.array(observation, dtype=np.float32, order="C"), device=self._device)
        if obs.shape[-1:] != shape or obs.ndim > 2:
            raise ValueError(f"observation of shape {tuple(obs.shape)}: must be {shape} or (N, {shape[0]})")
        obs_1NO = obs.view(1, -1, shape[0])
        before_1NH = self._state(state, episode_start, obs_1NO)
        distribution, after_1NH = self.agent.decide(self.weights_1D, obs_1NO, before_1NH)
        drawn = distribution.mode if deterministic else distribution.sample(self._generator)
        action = fitting(self._space, self._to_env(drawn)[0].cpu().numpy())
        after = after_1NH[0].cpu().numpy() if self.agent.state_size else state
        return (action if obs.ndim == 2 else action[0]), after

    def _state(self, state: Any, episode_start: Any, obs_1NO: Tensor) -> Tensor:
        """The arm's state (1, N, H) as ``predict`` was given it."""
        begin_1NH = self.agent.begin(1, obs_1NO.shape[1])
        if state is None or not self.agent.state_size:
            return begin_1NH
        state_1NH = torch.as_tensor(state, dtype=torch.float32, device=self._device).view_as(begin_1NH)
        if episode_start is None:
            return state_1NH
        ended_1N = torch.as_tensor(np.asarray(episode_start), dtype=torch.bool, device=self._device).view(1, -1)
        return self.agent.restart(state_1NH, ended_1N)
