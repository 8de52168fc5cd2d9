"""One variant of a family as an ordinary Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from hyperrl.envs import registry
from hyperrl.envs.drift import drifted
from hyperrl.envs.errors import InputError
from hyperrl.envs.physics import PhysicsFamily


def make(family: str, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
    """The single environment of a registered family, with its parameters as keyword arguments.

    Raises:
        InputError: as ``Family.single``.
    """
    return registry.get(family).single(render_mode, **parameters)


class VariantEnv(gymnasium.Env[np.ndarray, Any]):
    """A family's physics in float64 for one variant, with its parameters as keyword arguments.

    ``reset(seed=...)`` draws the start that Gymnasium's environment draws from the same seed (MuJoCo's tasks: another
    of the same distribution), and starts as judged episodes do where training starts elsewhere; ``render`` uses
    Gymnasium's own renderer. The time limit is the registered environment's ``TimeLimit``. Where the family's
    parameters drift, ``parameters`` are those of now.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 30}  # noqa: RUF012  as Gymnasium declares it

    def __init__(self, family: PhysicsFamily, render_mode: str | None = None, **parameters: float) -> None:
        """Set up one variant.

        Args:
            family: the family.
            render_mode: ``None``, ``"human"`` or ``"rgb_array"``.
            parameters: values in SI units; the others keep their defaults.

        Raises:
            InputError: as ``Family.variant``, or a render mode for a family without a renderer.
        """
        self.family = family
        self.parameters = self.family.variant(**parameters)
        self._start = self.parameters
        self._steps = 0
        self.render_mode = render_mode
        self.observation_space, self.action_space = self.family.observation_space, self.family.action_space
        self._twin = None
        if self.family.twin is not None and (render_mode or not self.family.simulated):
            twin = self.family.twin(render_mode=render_mode, **self.parameters)
            self.observation_space, self.action_space = twin.observation_space, twin.action_space
            self.metadata = twin.metadata
            self._twin = twin if render_mode else None
        elif self.family.twin is None and render_mode:
            raise InputError(f"render_mode={render_mode!r}: family {self.family.name!r} has no renderer; use None")
        if self.family.twin is None:
            self.metadata = {**self.metadata, "render_modes": []}
        self.state = np.zeros(0)

    @property
    def _values(self) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([[value]], dtype=torch.float64) for name, value in self.parameters.items()}

    def _drift(self) -> None:
        if not self.family.drift:
            return
        self._steps += 1
        now_1P, start_1P = (torch.as_tensor(self.family.table([p])) for p in (self.parameters, self._start))
        normal_1P = torch.as_tensor(self.np_random.standard_normal(now_1P.shape))
        after_1P = drifted(self.family, now_1P, start_1P, torch.tensor([self._steps]), normal_1P)
        (self.parameters,) = self.family.untable(after_1P.numpy())

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
        self.parameters, self._steps = self._start, 0
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
        self._drift()
        return self._observe(state, action), float(reward), bool(terminated), False, {}

    def render(self) -> Any:
        """Draw the current state with Gymnasium's renderer."""
        return None if self._twin is None else self._twin.render()

    def close(self) -> None:
        """Close the renderer."""
        if self._twin is not None:
            self._twin.close()
