"""One variant as Stable-Baselines3's vector environment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from hyperrl.envs import Family, InputError, PhysicsFamily
from hyperrl.envs.actions import ends, first, fitting, whole
from hyperrl.envs.finite import require_finite
from hyperrl.seeds import seed_of
from hyperrl.training.finite import LARGEST


def with_judged_starts(family: Family) -> PhysicsFamily:
    """The family, with every episode starting as the judged ones do: where adaptation plays its episodes, too.

    Raises:
        InputError: the family trains from the starts that it is judged from.
    """
    if not isinstance(family, PhysicsFamily) or family.judged_start is None:
        raise InputError(f"judged_starts=True: family {family.name!r} is judged from its training starts; leave it out")
    return dataclasses.replace(family, start=family.judged_start)


def sb3_space(space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
    """An action space as Stable-Baselines3 knows it: discrete actions from 0, no whole numbers in a Box."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return gymnasium.spaces.Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and whole(space):
        low, high = (end.astype(np.float32) for end in ends(space))
        return gymnasium.spaces.Box(low, high, dtype=np.float32)
    return space


def from_sb3(space: gymnasium.Space[Any], actions: np.ndarray) -> np.ndarray:
    """Actions (N,) or (N, A) in ``sb3_space`` as a copy in the space itself."""
    return fitting(space, actions + first(space) if first(space) else actions)


class VariantVecEnv(VecEnv):
    """Copies of one variant as Stable-Baselines3's ``VecEnv``: one batched torch step serves all of them.

    Observations are float32 arrays (E, O), rewards float32 (E,). As from ``DummyVecEnv`` around ``Monitor``,
    the info of an ended episode holds ``terminal_observation`` (O,) and ``episode`` with its return ``r``,
    its length ``l`` in steps and the seconds ``t`` since the environment was made; every info holds
    ``TimeLimit.truncated``, true where the time limit alone ended the episode.
    """

    def __init__(
        self,
        family: Family,
        parameters: Mapping[str, float],
        copies: int = 1,
        seed: int = 0,
        judged_starts: bool = False,
    ) -> None:
        """Set up the copies.

        Args:
            family: the task.
            parameters: the variant in SI units; what is left out keeps its default.
            copies: E, copies stepped together, at least 1.
            seed: of the starts, until ``seed`` sets another for the next ``reset``.
            judged_starts: every episode starts as judged ones do, see ``with_judged_starts``.

        Raises:
            InputError: as ``Family.variant``, ``copies`` is below 1, or the family has no other starts for judging.
        """
        family = with_judged_starts(family) if judged_starts else family
        self.variant = family.variant(**parameters)
        self.env = family.vector(family.table([self.variant]), copies, seed=seed_of("starts", seed))
        self._space = family.variant_action_space(self.variant)
        super().__init__(copies, family.observation_space, sb3_space(self._space))
        self._born = time.time()
        self._actions, self._steps = torch.empty(0), 0
        self._returns_E = np.zeros(copies)
        self._lengths_E = np.zeros(copies, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Start every copy anew and return observations (E, O).

        Raises:
            InputError: an observation is not finite, or too large to learn from.
        """
        obs, _ = self.env.reset(seed=self._start_seed())
        self._require_finite("an observation of a start", obs.numpy())
        self._reset_seeds()
        self._reset_options()
        self._returns_E[:] = 0
        self._lengths_E[:] = 0
        return obs.numpy()

    def _start_seed(self) -> int | None:
        """Of the starts, where ``seed`` was called: not that of Stable-Baselines3's own draws."""
        return None if self._seeds[0] is None else seed_of("starts", self._seeds[0])

    def step_async(self, actions: np.ndarray) -> None:
        """Remember actions (E,) or (E, A) for ``step_wait``."""
        self._actions = torch.as_tensor(from_sb3(self._space, actions))

    def step_wait(self) -> VecEnvStepReturn:
        """Take the remembered actions; return observations (E, O), rewards (E,), dones (E,) and E infos.

        Raises:
            InputError: an observation or a reward is not finite, or too large to learn from.
        """
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        reward_E = reward.numpy().astype(np.float32)
        terminated_E, done_E = terminated.numpy(), (terminated | truncated).numpy()
        self._steps += self.num_envs
        self._require_finite("a reward", reward_E)
        self._require_finite("an observation", np.where(terminated_E[:, None], 0.0, info["final_obs"].numpy()))
        self._require_finite("an observation of a start", obs.numpy())
        self._returns_E += reward_E
        self._lengths_E += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if done_E.any():
            final_EO = info["final_obs"].numpy()
            seconds = round(time.time() - self._born, 6)
            for e in np.flatnonzero(done_E):
                episode = {"r": float(self._returns_E[e]), "l": int(self._lengths_E[e]), "t": seconds}
                infos[e] = {
                    "TimeLimit.truncated": not terminated_E[e],
                    "terminal_observation": final_EO[e].copy(),
                    "episode": episode,
                }
            self._returns_E[done_E] = 0
            self._lengths_E[done_E] = 0
        return obs.numpy(), reward_E, done_E, infos

    def _require_finite(self, what: str, numbers_E: np.ndarray) -> None:
        variant_1P = self.env.family.table([self.variant])
        require_finite(self.env.family, f"{what}, at step {self._steps:,},", numbers_E[None], variant_1P, LARGEST)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the variant's environment, once a copy; ``render_mode`` is ``None``."""
        value = None if attr_name == "render_mode" else getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the copies are one batch, and a setting that changed nothing would mislead.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{attr_name}: copies of one variant are a batch; make a new VariantVecEnv instead")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not possible: the copies are one batch.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{method_name}: copies of one variant are a batch; make a new VariantVecEnv instead")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether each copy does what the wrapper does: true for ``Monitor`` only."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]
