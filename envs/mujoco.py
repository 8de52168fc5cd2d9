"""MuJoCo in batch: one compiled model for each variant, all copies stepped in threads.

``Simulation.advance`` is a pure function of state, action and parameters, like the physics of the other families. If a
step depends on positions and velocities only, it is one call of ``mujoco.rollout``. Some tasks need two things that a
rollout does not return:

- The constraint solver's last solution, from which it starts at the next step. Without it, contacts and joint limits
  are solved to the same tolerance but not to the same digits: on random variants of HalfCheetah, Hopper and Walker2d, 1
  to 3 steps in 10,000 then differ from Gymnasium's v5 by more than 1e-9, the worst seen by 1e-6.
- Fields of ``MjData`` that v5 reads: Ant's contact forces, a pendulum tip's or a fingertip's position. After a
  Runge-Kutta step they belong to its last stage and not to the new positions, so that neither sensors nor forward
  kinematics give them.

For these tasks a pool of threads calls ``mj_step``, which releases the interpreter lock, and the state holds both:
whole episodes then equal v5's to the last digit.

The pool uses all processors that this process may use, whatever torch's number of threads; ``taskset`` limits both.

States on a GPU are stepped there by mujoco-warp, where that is installed (see warp.py).
"""

from __future__ import annotations

import copy
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, lru_cache
from itertools import pairwise, starmap
from types import MappingProxyType
from typing import Any, NamedTuple

import mujoco
import numpy as np
import torch
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv, expand_model_path
from mujoco.rollout import Rollout
from torch import Tensor

from hyperrl.envs import warp
from hyperrl.envs.errors import InputError
from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.warp import Worlds

Edit = Callable[[mujoco.MjModel, float], None]
"""Set one parameter's value in a model that holds the nominal value."""
Shape = Callable[[mujoco.MjSpec, float], None]
"""Set one parameter's value before the model is compiled: of a length, from which inertia follows."""

MODELS = 4096  # compiled models kept by one simulation, 10 to 40 kB each
FEW = 8  # copies; with fewer, threads cost more time than they save
KEPT = 4  # batches of other sizes for which there is room on a GPU at once

_CONTROL = int(mujoco.mjtState.mjSTATE_CTRL)
_KEPT = int(mujoco.mjtState.mjSTATE_QPOS | mujoco.mjtState.mjSTATE_QVEL | mujoco.mjtState.mjSTATE_WARMSTART)
_GIVEN = _KEPT | _CONTROL

# The threads step one batch at a time. Threads do not survive a fork: they are stopped before it, and started when
# needed.
_one_batch = threading.Lock()
_rollouts = cache(lambda threads: Rollout(nthread=threads))
_executors = cache(lambda threads: ThreadPoolExecutor(threads))


def _drop_threads() -> None:
    _one_batch.acquire()
    _rollouts.cache_clear()
    _executors.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_drop_threads, after_in_parent=_one_batch.release, after_in_child=_one_batch.release)


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gravity(model: mujoco.MjModel, value: float) -> None:
    model.opt.gravity[2] = -value


def _mass(model: mujoco.MjModel, value: float) -> None:
    model.body_mass *= value
    model.body_inertia *= value


def _damping(model: mujoco.MjModel, value: float) -> None:
    model.dof_damping *= value


def _gear(model: mujoco.MjModel, value: float) -> None:
    model.actuator_gear *= value


def _friction(model: mujoco.MjModel, value: float) -> None:
    # MuJoCo uses the larger friction of two geoms in contact: scaling all geoms scales every contact
    model.geom_friction[:, 0] *= value


def _density(model: mujoco.MjModel, value: float) -> None:
    model.opt.density *= value


EDITS: Mapping[str, Edit] = {
    "gravity": _gravity,
    "mass": _mass,
    "damping": _damping,
    "gear": _gear,
    "friction": _friction,
    "density": _density,
}
"""Edits of a model for the parameters of ``PARAMETERS``."""

_SCALES = {
    "mass": "scale of every body's mass and inertia",
    "damping": "scale of every joint's damping",
    "gear": "scale of every motor's gear",
    "friction": "scale of every contact's sliding friction",
    "density": "scale of the medium's density",
}

PARAMETERS: Mapping[str, Parameter] = {
    "gravity": Parameter("gravity", "m/s2", 9.81, (5, 15), (2.5, 20), "[0, 100]", "acceleration of free fall"),
    **{name: Parameter(name, "1", 1.0, (0.7, 1.5), (0.4, 2.5), "[0.05, 20]", note) for name, note in _SCALES.items()},
}
"""The parameters that tasks have in common, by name."""


class _Scratch(NamedTuple):
    """One thread's ``MjData``, and views of the fields that are read in it."""

    data: mujoco.MjData
    fields: tuple[np.ndarray, ...]


def no_fields(data: mujoco.MjData) -> tuple[np.ndarray, ...]:
    """A state of positions, velocities and the solver's solution only."""
    return ()


class Simulation:
    """One of Gymnasium's MuJoCo environments, stepped in batch.

    A state (X,) holds positions and velocities. With ``fields``, it also holds the solver's last solution (zeros at
    first, one entry for each velocity), and then these fields of ``MjData``.
    """

    on_gpu = True
    """Whether mujoco-warp may step it."""
    camera = "track"
    """Camera that pictures are taken with, if the model has one of that name; else Gymnasium's default camera."""

    def __init__(
        self,
        env_class: type[MujocoEnv],
        asset: str,
        frame_skip: int,
        edits: Mapping[str, Edit] = EDITS,
        fields: Callable[[mujoco.MjData], tuple[np.ndarray, ...]] | None = no_fields,
        shapes: Mapping[str, Shape] = MappingProxyType({}),
    ) -> None:
        """Say what to simulate; nothing is compiled before the first step.

        Args:
            env_class: the environment, for drawing.
            asset: its XML file among Gymnasium's.
            frame_skip: MuJoCo steps in one step of the environment.
            edits: parameter name -> edit of the model. A family's other parameters do not change the model.
            fields: views of the fields that a state holds, in one dimension each; ``None`` for rollouts, where a state
                is positions and velocities only.
            shapes: parameter name -> change before compilation.
        """
        self.env_class, self.asset, self.frame_skip = env_class, asset, frame_skip
        self._edits, self._fields, self._shapes = edits, fields, shapes
        self._given: tuple[Any, ...] = (env_class, asset, frame_skip, edits, fields, dict(shapes))
        self._model = lru_cache(MODELS)(self._build)
        self._worlds = lru_cache(KEPT)(self._new_worlds)

    def __reduce__(self) -> Any:
        """Pickle by what it was made of; models are compiled again."""
        return type(self), self._given

    def _compile(self, visual: bool, parameters: Mapping[str, float]) -> mujoco.MjModel:
        """The model with the parameters' shapes, but without their edits."""
        spec = mujoco.MjSpec.from_file(expand_model_path(self.asset))
        for name, shape in self._shapes.items():
            if name in parameters:
                shape(spec, parameters[name])
        # MuJoCo warns about this attribute at every compilation, on screen and in a file of the working folder
        total_mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1
        if not visual:
            for geom in spec.geoms:
                geom.material = ""
            for drawn in [*spec.materials, *spec.textures]:
                spec.delete(drawn)
        model = spec.compile()
        if total_mass > 0:
            mujoco.mj_setTotalmass(model, total_mass)
            mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    @cached_property
    def nominal(self) -> mujoco.MjModel:
        """The compiled model of the original task, without visual elements."""
        return self._compile(visual=False, parameters={})

    def edited(self, model: mujoco.MjModel, parameters: Mapping[str, float]) -> mujoco.MjModel:
        """A copy of a nominal model with the parameters applied."""
        model = copy.copy(model)
        for name, value in parameters.items():
            if name in self._edits:
                self._edits[name](model, value)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    def _build(self, names: tuple[str, ...], values: bytes) -> mujoco.MjModel:
        parameters = dict(zip(names, np.frombuffer(values).tolist(), strict=True))
        shaped = not self._shapes.keys().isdisjoint(parameters)
        return self.edited(self._compile(False, parameters) if shaped else self.nominal, parameters)

    def _models(self, p: Values, T: int, E: int) -> list[mujoco.MjModel]:
        """The compiled model of each copy, variant by variant."""
        names = tuple(name for name in p if name in self._edits or name in self._shapes)
        if not names:
            return [self.nominal] * (T * E)
        values = torch.broadcast_tensors(*(p[name].double() for name in names))
        table = torch.stack(values, dim=-1).cpu().numpy()
        table = table.reshape(*(1,) * (3 - table.ndim), *table.shape)
        rows = [self._model(names, row.tobytes()) for row in table.reshape(-1, len(names))]
        each = np.empty(len(rows), dtype=object)
        each[:] = rows
        return list(np.broadcast_to(each.reshape(table.shape[:2]), (T, E)).flat)

    def _new_scratch(self) -> _Scratch:
        # all variants' models have the same sizes, so any of them may use this MjData
        data = mujoco.MjData(self.nominal)
        return _Scratch(data, self._fields(data) if self._fields else ())

    @cached_property
    def _scratch(self) -> list[_Scratch]:
        """One a thread."""
        return [self._new_scratch() for _ in range(processors())]

    def read(self, data: mujoco.MjData) -> np.ndarray:
        """The state (X,) of the simulation in ``data``, such as the twin's."""
        if self._fields is None:
            return np.concatenate((data.qpos, data.qvel))
        return np.concatenate((data.qpos, data.qvel, data.qacc_warmstart, *self._fields(data)))

    def advance(self, state: Tensor, action: Tensor, p: Values, steps: int | None = None) -> Tensor:
        """The state (T, E, X) float64 after steps of MuJoCo, by default ``frame_skip``, with an action (T, E, A)."""
        T, E, X = state.shape
        if self.on_gpu and warp.steps_on(state.device):
            worlds = self._worlds(T, E, state.device)
            worlds.follow(p, lambda: self._models(p, T, 1))
            return worlds.advance(state, action, steps or self.frame_skip)
        models = self._models(p, T, E)
        before = state.reshape(T * E, X).cpu().numpy()
        control = action.reshape(T * E, -1).to("cpu", torch.float64).numpy()
        with _one_batch:
            play = self._roll if self._fields is None else self._step
            after = play(models, before, control, steps or self.frame_skip)
        return torch.from_numpy(after).view(T, E, X).to(state.device)

    def _new_worlds(self, variants: int, copies: int, device: torch.device) -> Worlds:
        return Worlds(self.nominal, variants, copies, device, self._fields)

    def _roll(self, models: list[mujoco.MjModel], before: np.ndarray, control: np.ndarray, steps: int) -> np.ndarray:
        """All copies in one call: states (N, X), controls (N, A) -> states (N, X)."""
        copies = len(models)
        threads = len(self._scratch) if copies >= FEW else 0
        # MuJoCo's state starts with the time, on which nothing depends
        start = np.concatenate((np.zeros((copies, 1)), before), axis=1)
        states = np.empty((copies, steps, start.shape[1]))
        data = [scratch.data for scratch in self._scratch[: max(threads, 1)]]
        _rollouts(threads).rollout(
            models,
            data,
            start,
            np.repeat(control[:, None], steps, axis=1),
            skip_checks=True,
            nstep=steps,
            control_spec=_CONTROL,
            state=states,
            sensordata=np.empty((copies, steps, self.nominal.nsensordata)),
            chunk_size=max(1, copies // (10 * max(threads, 1))),
        )
        return states[:, -1, 1:].copy()

    def _step(self, models: list[mujoco.MjModel], before: np.ndarray, control: np.ndarray, steps: int) -> np.ndarray:
        """As ``_roll``, with the solver's solution and the fields."""
        after = np.empty_like(before)
        motion = self.nominal.nq + 2 * self.nominal.nv
        start = np.concatenate((before[:, :motion], control), axis=1)

        def work(chunk: slice) -> None:
            scratch = self._scratch.pop()
            try:
                self._step_chunk(scratch, models[chunk], start[chunk], after[chunk], steps)
            finally:
                self._scratch.append(scratch)

        threads = len(self._scratch)
        if len(models) < FEW:
            work(slice(None))
        else:
            # more chunks than threads, because copies in contact take longer
            ends = np.linspace(0, len(models), 4 * threads + 1).astype(int)
            list(_executors(threads).map(work, starmap(slice, pairwise(ends))))
        return after

    def _step_chunk(
        self, scratch: _Scratch, models: list[mujoco.MjModel], start: np.ndarray, after: np.ndarray, steps: int
    ) -> None:
        data, fields = scratch
        motion = self.nominal.nq + 2 * self.nominal.nv
        for model, given, answer in zip(models, start, after, strict=True):
            mujoco.mj_setState(model, data, given, _GIVEN)
            mujoco.mj_step(model, data, nstep=steps)
            mujoco.mj_getState(model, data, answer[:motion], _KEPT)
            if fields:
                self.refresh(model, data)
                np.concatenate(fields, out=answer[motion:])

    @staticmethod
    def refresh(model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Compute what the environment reads after a step, before the fields are read."""
        mujoco.mj_rnePostConstraint(model, data)

    def twin(self, render_mode: str | None = None, **parameters: float) -> MujocoEnv:
        """Gymnasium's environment with the parameters applied to its model.

        Raises:
            InputError: the render mode asks for frames or a window, and this machine cannot draw.
        """
        screen = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
        if render_mode == "human" and not screen:
            raise InputError("render_mode='human': there is no screen here to open a window on; use 'rgb_array'")
        if render_mode is not None and not screen:
            os.environ.setdefault("MUJOCO_GL", "egl")
        model = self.edited(self._compile(visual=True, parameters=parameters), parameters)

        def initialise(env: MujocoEnv) -> tuple[mujoco.MjModel, mujoco.MjData]:
            model.vis.global_.offwidth = max(model.vis.global_.offwidth, env.width)
            model.vis.global_.offheight = max(model.vis.global_.offheight, env.height)
            return model, mujoco.MjData(model)

        env_class = type(self.env_class.__name__, (self.env_class,), {"_initialize_simulation": initialise})
        # Gymnasium's default camera stands still, and a running body leaves the picture
        follows = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, self.camera) >= 0
        env = env_class(render_mode=render_mode, **({"camera_name": self.camera} if follows else {}))
        if render_mode == "rgb_array":
            _require_frames(env)
        return env


def _require_frames(env: MujocoEnv) -> None:
    try:
        # the first frame fixes where the camera looks
        env.set_state(env.init_qpos, env.init_qvel)
        env.render()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        backend = os.environ.get("MUJOCO_GL", "unset")
        raise InputError(
            f"render_mode='rgb_array': MuJoCo cannot draw here with MUJOCO_GL {backend} ({reason}); "
            "set MUJOCO_GL to egl, osmesa or glfw, whichever is installed"
        ) from None


def show(twin: Any, state: np.ndarray, action: Any) -> None:
    """Set positions and velocities of the state (X,) in the twin."""
    nq, nv = twin.model.nq, twin.model.nv
    twin.set_state(state[:nq], state[nq : nq + nv])


def uniform(draws: Tensor, scale: float) -> Tensor:
    """Uniform draws in [0, 1) as noise in +-``scale``."""
    return scale * (2 * draws - 1)


def normal(draws: Tensor, scale: float) -> Tensor:
    """Uniform draws in [0, 1) as normal noise of deviation ``scale``."""
    return scale * torch.special.ndtri(draws.clamp(min=2.0**-53))
