"""A renderer for tasks that Gymnasium does not draw: a position and its goal, seen from above."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hyperrl.envs.errors import InputError

SIZE = 400  # pixels, of each side of a frame
DOT = 12  # pixels, radius of the dot and of the goal


class Sketch(gymnasium.Env[Any, Any]):
    """Draws ``state``: a red dot at its first two entries (the second is 0 if there is one only), and a green goal.

    It only draws, as a family's ``twin``; the family's own functions start and step.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  as Gymnasium declares it

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        half: float,
        goal: tuple[float, float] = (0.0, 0.0),
        render_mode: str | None = None,
    ) -> None:
        """Set up the frame.

        Args:
            observation_space: of the family.
            action_space: of the family.
            half: distance shown from the middle to each side; a dot beyond is drawn at the side.
            goal: position of the goal.
            render_mode: ``None`` or ``"rgb_array"``.

        Raises:
            InputError: another render mode.
        """
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"render_mode={render_mode!r}: cannot be drawn; use 'rgb_array' or None")
        self.observation_space, self.action_space, self.render_mode = observation_space, action_space, render_mode
        self.state = np.zeros(2)
        self._half, self._goal = half, goal

    def render(self) -> np.ndarray:
        """The state as an image (H, W, 3) of bytes."""
        frame = np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
        for place, colour in ((self._goal, (60, 160, 80)), ([*self.state, 0.0][:2], (190, 60, 50))):
            across, up = np.clip(np.asarray(place) / self._half, -1, 1) * (SIZE / 2 - DOT) + SIZE / 2
            rows, columns = np.ogrid[:SIZE, :SIZE]
            frame[(columns - across) ** 2 + (SIZE - rows - up) ** 2 < DOT**2] = colour
        return frame
