"""One variant of a family as an ordinary Gymnasium environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import torch
from gymnasium.utils import RecordConstructorArgs

from hyperrl.envs.drift import drifted
from hyperrl.envs.errors import InputError
from hyperrl.envs.family import Family
from hyperrl.envs.registry import get


def make(family: str, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
    """The single environment of a registered family, with its parameters as keyword arguments.

    It ends no episode by itself: the time limit is that of ``gymnasium.make``, whose ``max_episode_steps`` counts.

    Raises:
        InputError: as ``Family.single``.
    """
    env = get(family).single(render_mode, **parameters)
    env.get_wrapper_attr("forget_limit")()
    return env


# read by gymnasium.make, which makes lists of frames of a mode that is here; mypy knows no attributes of functions, so
# that an assignment would need a mark as well
setattr(make, "metadata", {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]})  # noqa: B010


class SingleEnv(gymnasium.Env[Any, Any]):
    """Base class of every family's single environment: a ``context`` that may be set, drift, and the time limit.

    It needs no ``TimeLimit`` around it. As the outermost environment it takes ``set_attr("context", ...)`` from
    Gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv`` and from Stable-Baselines3's ``DummyVecEnv`` and
    ``SubprocVecEnv``; under another wrapper, such as ``Monitor``, ``env_method("set_context", ...)`` reaches it.
    """

    family: Family

    def _begin(self, family: Family, parameters: Mapping[str, float]) -> None:
        self.family, self._steps, self._limit = family, 0, float(family.max_episode_steps)
        self._context = self._start = family.variant(**parameters)

    @property
    def context(self) -> dict[str, float]:
        """The variant in SI units; if parameters drift, with their present values.

        Setting it checks it; parameters that are left out take their defaults.
        """
        return dict(self._context)

    @context.setter
    def context(self, context: Mapping[str, float]) -> None:
        self.set_context(context)

    def set_context(self, context: Mapping[str, float]) -> None:
        """Set the variant; drift continues from it.

        Raises:
            InputError: as ``Family.variant``, or the context is not a mapping.
        """
        if not isinstance(context, Mapping):
            example = dict(list(self._context.items())[:1])
            raise InputError(f"context={context!r}: must map parameters to values, as in {example}")
        self._start = self.family.variant(**context)
        self._put(self._start)

    def _put(self, variant: dict[str, float]) -> None:
        """Continue with a variant that has been checked."""
        self._context = variant

    def _restart(self) -> None:
        """Reset the step count and the drift."""
        self._steps = 0
        self._put(self._start)

    def _pass(self) -> bool:
        """Count a step and let parameters drift; return whether the time limit is reached."""
        self._steps += 1
        if self.family.drift:
            now_1P, start_1P = (torch.as_tensor(self.family.table([p])) for p in (self._context, self._start))
            normal_1P = torch.as_tensor(self.np_random.standard_normal(now_1P.shape))
            after_1P = drifted(self.family, now_1P, start_1P, torch.tensor([self._steps]), normal_1P)
            self._put(self.family.untable(after_1P.numpy())[0])
        return self._steps >= self._limit

    def forget_limit(self) -> None:
        """Let another time limit end the episodes, such as that of ``gymnasium.make``."""
        self._limit = math.inf


class Settable(gymnasium.Wrapper, RecordConstructorArgs):
    """The outermost wrapper of a registered environment: passes ``context`` on to the ``SingleEnv``."""

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
