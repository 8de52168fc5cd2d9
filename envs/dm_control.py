"""Tasks of the DeepMind Control Suite in batch, on the models that the package dm_control ships.

dm_control itself is not imported: its models are read, and its observations and rewards are written as functions over
all variants and copies. ``tests/envs/test_dm_control.py`` compares them with the package, step by step.

dm_control reads positions and velocities of the new state after every step (``legacy_step``), and so do the fields of a
``SuiteSimulation``.

Source: Y. Tassa et al., "dm_control: Software and Tasks for Continuous Control", Software Impacts 6, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np
import torch
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Box
from torch import Tensor

from hyperrl.envs.mujoco import Edit, Shape, Simulation, no_fields

STEPS = 1000
"""Steps of an episode; nothing terminates."""


def model_path(domain: str) -> str:
    """The domain's XML file in the installed package.

    Raises:
        ModuleNotFoundError: dm_control is not installed.
    """
    package = find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'dm_control'", name="dm_control")
    return str(Path(package.submodule_search_locations[0], "suite", f"{domain}.xml"))


class Scene(MujocoEnv):
    """A model for drawing only, as a family's ``twin``."""

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}  # noqa: RUF012  as Gymnasium does
    asset: str
    steps: int
    seen: Box

    def __init__(self, render_mode: str | None = None, camera_name: str | None = None) -> None:
        """Show the model with one of its cameras."""
        super().__init__(self.asset, self.steps, self.seen, render_mode=render_mode, camera_name=camera_name)
        self.metadata = {**self.metadata, "render_fps": round(1 / self.dt)}


class SuiteSimulation(Simulation):
    """One of dm_control's domains, stepped in batch."""

    on_gpu = False

    def __init__(
        self,
        domain: str,
        observations: int,
        frame_skip: int = 1,
        edits: Mapping[str, Edit] | None = None,
        shapes: Mapping[str, Shape] | None = None,
        fields: Callable[[mujoco.MjData], tuple[np.ndarray, ...]] = no_fields,
        camera: str = "fixed",
    ) -> None:
        """Say what to simulate; nothing is compiled before the first step.

        Args:
            domain: name of its XML file.
            observations: O.
            frame_skip: MuJoCo steps in one step of the task.
            edits: parameter name -> edit of the compiled model.
            shapes: parameter name -> change before compilation.
            fields: views of the fields that a state holds, in one dimension each.
            camera: its camera for pictures.

        Raises:
            ModuleNotFoundError: dm_control is not installed.
        """
        asset = model_path(domain)
        self.observation_space = Box(-np.inf, np.inf, shape=(observations,), dtype=np.float64)
        scene = type("Scene", (Scene,), {"asset": asset, "steps": frame_skip, "seen": self.observation_space})
        super().__init__(scene, asset, frame_skip, edits or {}, fields, shapes or {})
        self.camera = camera
        self._given = (domain, observations, frame_skip, edits, shapes, fields, camera)

    @staticmethod
    def refresh(model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Compute positions, velocities and their sensors of the new state."""
        mujoco.mj_step1(model, data)


def gaussian(x: Tensor, margin: float) -> Tensor:
    """1 at 0, and 0.1 at the margin: dm_control's ``tolerance`` with its defaults."""
    return torch.exp(math.log(0.1) * (x / margin).square())


def linear(x: Tensor, margin: Tensor | float, value_at_margin: float = 0.0) -> Tensor:
    """1 for x <= 0, and a line to ``value_at_margin`` at the margin that goes on to 0."""
    return (1 - (1 - value_at_margin) * x / margin).clamp(0, 1)
