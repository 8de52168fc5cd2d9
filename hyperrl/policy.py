"""The policy of one variant, with Stable-Baselines3's ``predict``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.agents import Agent
from hyperrl.agents.actor_critic import sample
from hyperrl.envs import Family
from hyperrl.rollout import to_env_units


@torch.no_grad()
def generated(
    agent: Agent, family: Family, variants: Iterable[Mapping[str, float]], device: str | torch.device = "cpu"
) -> Tensor:
    """Weights (T, D) of variants in SI units, all in one call."""
    variants_TP = torch.as_tensor(family.table(variants), dtype=torch.float32, device=device)
    return agent.generate(family.encode(variants_TP))


class Policy:
    """A policy whose weights were generated once, for one variant."""

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
        self._generator = torch.Generator(self._device).manual_seed(0)
        self.weights_1D = generated(agent, family, [parameters], self._device) if weights_1D is None else weights_1D

    def again(self, **parameters: float) -> Policy:
        """The policy generated anew, for parameters that have drifted."""
        return Policy(self.agent, self.family, parameters, self._device, self.gamma)

    def export(self, path: str | Path, format: str, force: bool = False) -> float:
        """Write the policy as a file that needs no hyperrl, checked against itself first.

        Args:
            path: file to write.
            format: a key of ``hyperrl.export.FORMATS``.
            force: overwrite what is there.

        Returns:
            The largest difference found between the file's actions and the policy's.

        Raises:
            InputError: as ``hyperrl.export.export``.
        """
        from hyperrl.export import export

        return export([self], [Path(path)], format, force)[0]

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
        distribution, _ = self.agent(self.weights_1D, obs.view(1, -1, shape[0]))
        drawn = distribution.mode if deterministic else sample(distribution, self._generator)
        action = self._to_env(drawn)[0].cpu().numpy()
        if isinstance(self._space, Box):
            action = np.clip(action, self._space.low, self._space.high)
        return (action if obs.ndim == 2 else action[0]), state
