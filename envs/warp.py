"""MuJoCo on a GPU: mujoco-warp steps every copy of every variant at once, in float32.

Each variant has its own constants, those that MuJoCo derives from others included: they are read from the model that
MuJoCo itself has compiled for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.errors import InputError
from hyperrl.envs.parameter import Values

Fields = Callable[[Any], tuple[Any, ...]]
"""From ``MjData``, or what looks like it, to the fields that a state holds."""
CONTACTS = 4
"""Contacts that there is room for, a geom; mujoco-warp leaves out further ones."""
ROWS = 4
"""Constraints of a contact."""
MODELS = 4096
"""Models whose constants are remembered."""


@cache
def installed() -> bool:
    """Whether mujoco-warp is there."""
    return find_spec("mujoco_warp") is not None


def steps_on(device: torch.device) -> bool:
    """Whether the states of a device are stepped there: on GPUs, where mujoco-warp is installed."""
    return device.type == "cuda" and installed()


def _part(model: Any, name: str) -> Any:
    return getattr(model, name) if name else model


class _Names:
    """Collects the names of the fields that are read."""

    def __init__(self, data: mujoco.MjData) -> None:
        self._data, self.read = data, dict[str, None]()

    def __getattr__(self, name: str) -> Any:
        self.read[name] = None
        return getattr(self._data, name)


class _World:
    """The fields of one world, as ``MjData`` has them."""

    def __init__(self, fields: dict[str, Tensor]) -> None:
        vars(self).update(fields)


class Worlds:
    """T variants x E copies of one task on a device. World e * T + t is copy e of variant t."""

    def __init__(
        self, nominal: mujoco.MjModel, variants: int, copies: int, device: torch.device, fields: Fields | None
    ) -> None:
        """Make room on the device.

        Args:
            nominal: model of the task, of whose sizes all variants' models are.
            variants: T.
            copies: E.
            device: where to step.
            fields: as ``Simulation`` has them; ``None`` where a state is positions and velocities only.
        """
        import mujoco_warp
        import warp

        import hyperrl.envs.warp_contacts  # noqa: F401  before the first kernel is compiled

        warp.config.log_level = warp.LOG_WARNING  # each kernel that is compiled has a line else
        self._warp, self._mujoco_warp = warp, mujoco_warp
        self.variants, self.copies, self._nominal, self._fields = variants, copies, nominal, fields
        self._device = str(device) if device.index is not None or device.type == "cpu" else f"{device.type}:0"
        data, names = mujoco.MjData(nominal), dict[str, None]()
        if fields:
            seen = _Names(data)
            fields(seen)
            names = seen.read
        self._followed: list[tuple[int, int]] = []
        self._kept: list[Tensor] = []
        self._own = lru_cache(MODELS)(self._own_constants)
        self._set: dict[str, None] = {}
        contacts = CONTACTS * nominal.ngeom
        with self._at_work():
            self._model = mujoco_warp.put_model(nominal)
            self._data = mujoco_warp.put_data(
                nominal,
                data,
                nworld=variants * copies,
                nconmax=contacts,
                njmax=ROWS * contacts + 2 * nominal.nv,
            )
            self._position, self._velocity, self._solved, self._control = (
                warp.to_torch(getattr(self._data, name)) for name in ("qpos", "qvel", "qacc_warmstart", "ctrl")
            )
            self._read = {name: warp.to_torch(getattr(self._data, name)) for name in names}
        self._constants = dict(self._find_constants())

    def _find_constants(self) -> Iterator[tuple[str, tuple[np.ndarray, Any]]]:
        """Names of the constants that each world may have of its own, their nominal values, and what holds them."""
        for part in ("", "opt"):
            of_nominal, holder = _part(self._nominal, part), _part(self._model, part)
            for name, annotation in type(holder).__annotations__.items():
                if getattr(annotation, "shape", ())[:1] == ("*",) and hasattr(of_nominal, name):
                    yield name, (np.array(getattr(of_nominal, name)), holder)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Let warp work on this device, in the order of PyTorch's own work there."""
        with self._warp.ScopedDevice(self._device) as device:
            if not device.is_cuda:
                yield
                return
            with self._warp.ScopedStream(self._warp.stream_from_torch(torch.cuda.current_stream())):
                yield

    def follow(self, p: Values, models: Callable[[], Sequence[mujoco.MjModel]]) -> None:
        """Take over the models where the parameters are other tensors than before, or have been changed in place."""
        now = [(id(value), value._version) for value in p.values()]
        if now != self._followed:
            self.set_models(models())
            self._followed, self._kept = now, list(p.values())  # kept, so that no other tensor gets such an id

    def set_models(self, models: Sequence[mujoco.MjModel]) -> None:
        """Give each variant the constants of its model.

        Raises:
            InputError: the models differ in something that all worlds of mujoco-warp share.
        """
        own = [self._own(model) for model in models]
        changed = dict.fromkeys(name for constants in own for name in constants)
        with self._at_work():
            for name in self._set | changed:
                of_nominal, holder = self._constants[name]
                rows = np.stack([constants.get(name, of_nominal) for constants in own]).astype(np.float32)
                setattr(holder, name, self._warp.array(rows, dtype=getattr(holder, name).dtype))
        self._set |= changed

    def _own_constants(self, model: mujoco.MjModel) -> dict[str, np.ndarray]:
        """The constants in which a model differs from the nominal one, by name.

        Raises:
            InputError: as ``set_models``.
        """
        found = {}
        for part in ("", "opt"):
            of_model, of_nominal = _part(model, part), _part(self._nominal, part)
            for name in type(_part(self._model, part)).__annotations__:
                ours = getattr(of_model, name, None)
                if not isinstance(ours, np.ndarray | float | int) or np.array_equal(ours, getattr(of_nominal, name)):
                    continue
                if name not in self._constants:
                    raise InputError(
                        f"{name}: differs between variants, and mujoco-warp has one for all; use device cpu"
                    )
                found[name] = np.array(ours)
        return found

    def advance(self, state_TEX: Tensor, action_TEA: Tensor, steps: int) -> Tensor:
        """The states (T, E, X), in their dtype, after steps of MuJoCo with an action (T, E, A)."""
        before_WX = state_TEX.transpose(0, 1).flatten(0, 1)
        nq, nv = self._nominal.nq, self._nominal.nv
        with self._at_work():
            self._position.copy_(before_WX[:, :nq])
            self._velocity.copy_(before_WX[:, nq : nq + nv])
            self._control.copy_(action_TEA.transpose(0, 1).flatten(0, 1))
            if self._fields:
                self._solved.copy_(before_WX[:, nq + nv : nq + 2 * nv])
            else:
                self._solved.zero_()
            for _ in range(steps):
                self._mujoco_warp.step(self._model, self._data)
            parts = [self._position, self._velocity]
            if self._fields:
                parts += [self._solved, *self._read_fields()]
            after_WX = torch.cat(parts, dim=1).to(state_TEX.dtype)
        return after_WX.unflatten(0, (self.copies, self.variants)).transpose(0, 1).contiguous()

    def _read_fields(self) -> tuple[Tensor, ...]:
        """Each field (W, entries)."""
        if not self._read:
            return ()
        if "cfrc_ext" in self._read:
            self._mujoco_warp.rne_postconstraint(self._model, self._data)

        def of_one(fields: dict[str, Tensor]) -> tuple[Tensor, ...]:
            assert self._fields is not None
            return tuple(self._fields(_World(fields)))

        return torch.func.vmap(of_one)(self._read)
