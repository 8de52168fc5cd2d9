"""The policy of one variant, with Stable-Baselines3's ``predict``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from hyperrl.agents import Agent
from hyperrl.agents.actor_critic import sample
from hyperrl.envs import Family
from hyperrl.rollout import to_env_units


class Policy:
    """A policy whose weights were generated once, for one variant."""

    def __init__(
        self, agent: Agent, family: Family, parameters: dict[str, float], device: str | torch.device = "cpu"
    ) -> None:
        """Generate the weights.

        Args:
            agent: the arm.
            family: the agent's.
            parameters: the variant, every parameter in SI units.
            device: the agent's.
        """
        self.family, self.parameters = family, parameters
        self._agent, self._device = agent, torch.device(device)
        self._to_env = to_env_units(family.action_space, self._device)
        self._space = family.variant_action_space(parameters)
        self._generator = torch.Generator(self._device).manual_seed(0)
        variants = torch.as_tensor(family.table([parameters]), dtype=torch.float32, device=self._device)
        with torch.no_grad():
            self._weights_1D = agent.generate(family.encode(variants))

    def again(self, **parameters: float) -> Policy:
        """The policy generated anew, for parameters that have drifted."""
        return Policy(self._agent, self.family, parameters, self._device)

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Actions for one observation (O,) or several (N, O), within the variant's action space.

        Same signature as ``stable_baselines3.common.base_class.BaseAlgorithm.predict``; ``state`` is passed through.

        Raises:
            ValueError: the observation has another shape.
        """
        shape = self.family.observation_space.shape
        obs = torch.as_tensor(np.asarray(observation), dtype=torch.float32, device=self._device)
        if obs.shape[-1:] != shape or obs.ndim > 2:
            raise ValueError(f"observation of shape {tuple(obs.shape)}: must be {shape} or (N, {shape[0]})")
        distribution, _ = self._agent(self._weights_1D, obs.view(1, -1, shape[0]))
        drawn = distribution.mode if deterministic else sample(distribution, self._generator)
        action = self._to_env(drawn)[0].cpu().numpy()
        if isinstance(self._space, Box):
            action = np.clip(action, self._space.low, self._space.high)
        return (action if obs.ndim == 2 else action[0]), state
