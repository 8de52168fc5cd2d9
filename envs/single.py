"""One variant of a family as an ordinary Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import RecordConstructorArgs

from hyperrl.envs import registry
from hyperrl.envs.drift import drifted
from hyperrl.envs.errors import InputError
from hyperrl.envs.family import Family
from hyperrl.envs.physics import PhysicsFamily


def make(family: str, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
    """The single environment of a registered family, with its parameters as keyword arguments.

    Raises:
        InputError: as ``Family.single``.
    """
    return registry.get(family).single(render_mode, **parameters)


class SingleEnv(gymnasium.Env[Any, Any]):
    """What the single environment of every family has: a ``context`` that may be set, drift, and the time limit.

    So it needs no ``TimeLimit`` around it. As the outermost environment it takes ``set_attr("context", ...)`` from
    Gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv`` and from Stable-Baselines3's ``DummyVecEnv`` and
    ``SubprocVecEnv``; under another wrapper, such as ``Monitor``, ``env_method("set_context", ...)`` reaches it.
    """

    family: Family

    def _begin(self, family: Family, parameters: Mapping[str, float]) -> None:
        self.family, self._steps = family, 0
        self._context = self._start = family.variant(**parameters)

    @property
    def context(self) -> dict[str, float]:
        """The variant in SI units, that of now where parameters drift.

        Setting it checks it; what is left out takes its default.
        """
        return dict(self._context)

    @context.setter
    def context(self, context: Mapping[str, float]) -> None:
        self.set_context(context)

    def set_context(self, context: Mapping[str, float]) -> None:
        """Set the variant; where parameters drift, they go on from it.

        Raises:
            InputError: as ``Family.variant``, or the context is no mapping.
        """
        if not isinstance(context, Mapping):
            example = dict(list(self._context.items())[:1])
            raise InputError(f"context={context!r}: must map parameters to values, as in {example}")
        self._start = self.family.variant(**context)
        self._put(self._start)

    def _put(self, variant: dict[str, float]) -> None:
        """Go on under a variant, which has been checked."""
        self._context = variant

    def _restart(self) -> None:
        """Let the clock and drift begin anew."""
        self._steps = 0
        self._put(self._start)

    def _pass(self) -> bool:
        """Count a step and let parameters drift; whether the time limit is reached."""
        self._steps += 1
        if self.family.drift:
            now_1P, start_1P = (torch.as_tensor(self.family.table([p])) for p in (self._context, self._start))
            normal_1P = torch.as_tensor(self.np_random.standard_normal(now_1P.shape))
            after_1P = drifted(self.family, now_1P, start_1P, torch.tensor([self._steps]), normal_1P)
            self._put(self.family.untable(after_1P.numpy())[0])
        return self._steps >= self.family.max_episode_steps


class Settable(gymnasium.Wrapper, RecordConstructorArgs):
    """The outermost wrapper of a registered environment: hands ``context`` through those of ``gymnasium.make``."""

    def __init__(self, env: gymnasium.Env) -> None:
        """Wrap an environment that holds a ``SingleEnv``."""
        RecordConstructorArgs.__init__(self)
        super().__init__(env)

    @property
    def context(self) -> dict[str, float]:
        """As ``SingleEnv.context``."""
        return self.env.get_wrapper_attr("context")

    @context.setter
    def context(self, context: Mapping[str, float]) -> None:
        self.env.get_wrapper_attr("set_context")(context)


class VariantEnv(SingleEnv):
    """A family's physics in float64 for one variant, with its parameters as keyword arguments.

    ``reset(seed=...)`` draws the start that Gymnasium's environment draws from the same seed (MuJoCo's tasks: another
    of the same distribution), and starts as judged episodes do where training starts elsewhere; ``render`` uses
    Gymnasium's own renderer, with the parameters that were set.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 30}  # noqa: RUF012  as Gymnasium declares it
    family: PhysicsFamily

    def __init__(self, family: PhysicsFamily, render_mode: str | None = None, **parameters: float) -> None:
        """Set up one variant.

        Args:
            family: the family.
            render_mode: ``None``, ``"human"`` or ``"rgb_array"``.
            parameters: values in SI units; the others keep their defaults.

        Raises:
            InputError: as ``Family.variant``, or a render mode for a family without a renderer.
        """
        if family.twin is None:
            self.metadata = {**self.metadata, "render_modes": []}
            if render_mode:
                raise InputError(f"render_mode={render_mode!r}: family {family.name!r} has no renderer; use None")
        self.render_mode, self._twin = render_mode, None
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self.state = np.zeros(0)
        self._begin(family, parameters)
        self._dress()

    def _dress(self) -> None:
        """Take spaces and renderer from a twin of the context."""
        family = self.family
        if family.twin is not None and (self.render_mode or not family.simulated):
            self.close()
            twin = family.twin(render_mode=self.render_mode, **self._context)
            self.observation_space, self.action_space = twin.observation_space, twin.action_space
            self.metadata = twin.metadata
            self._twin = twin if self.render_mode else None

    def set_context(self, context: Mapping[str, float]) -> None:
        """Set the variant at once; where parameters drift, they go on from it.

        Raises:
            InputError: as ``Family.variant``, or the context is no mapping.
        """
        super().set_context(context)
        self._dress()

    @property
    def _values(self) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([[value]], dtype=torch.float64) for name, value in self._context.items()}

    def _observe(self, state: torch.Tensor, action: Any) -> np.ndarray:
        self.state = state[0, 0].numpy()
        if self._twin is not None:
            self.family.show(self._twin, self.state, action)
            if self.render_mode == "human":
                self._twin.render()
        return self.family.observe(state, self._values)[0, 0].numpy().astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draw a start.

        Raises:
            InputError: there are options; none is supported.
        """
        if options:
            raise InputError(f"options={options}: not supported; leave them out, and set parameters in the constructor")
        super().reset(seed=seed)
        self._restart()
        draws = torch.as_tensor(self.np_random.random((1, 1, self.family.draws)))
        start = self.family.judged_start or self.family.start
        return self._observe(start(draws, self._values), None), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one action.

        Raises:
            InputError: the action is none of the discrete ones.
        """
        if isinstance(self.action_space, gymnasium.spaces.Discrete) and not self.action_space.contains(action):
            raise InputError(f"action={action!r}: must be a whole number from 0 to {self.action_space.n - 1}")
        state = torch.as_tensor(self.state, dtype=torch.float64).view(1, 1, -1)
        action_11 = torch.as_tensor(np.asarray(action)).view(1, 1, *np.shape(action))
        state, reward, terminated = self.family.step(state, action_11, self._values)
        truncated = self._pass()
        return self._observe(state, action), float(reward), bool(terminated), truncated, {}

    def render(self) -> Any:
        """Draw the current state with Gymnasium's renderer."""
        return None if self._twin is None else self._twin.render()

    def close(self) -> None:
        """Close the renderer."""
        if self._twin is not None:
            self._twin.close()
