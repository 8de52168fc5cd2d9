"""Names of families: those shipped here, and those of other packages through entry points."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NamedTuple

import gymnasium

from hyperrl.envs.errors import InputError

if TYPE_CHECKING:
    from hyperrl.envs.family import Family

ENTRY_POINT_GROUP = "hyperrl.families"


class Shipped(NamedTuple):
    """A family of this package, said without importing its physics."""

    env_id: str
    """Of its single environment."""
    max_episode_steps: int
    module: str
    attribute: str = "family"
    extra: str = ""
    """Of this package, that installs the simulator."""


_SHIPPED = {
    "cartpole": Shipped("hyperrl/CartPole-v1", 500, "cartpole"),
    "pendulum": Shipped("hyperrl/Pendulum-v1", 200, "pendulum"),
    "acrobot": Shipped("hyperrl/Acrobot-v1", 500, "acrobot"),
    "mountain_car": Shipped("hyperrl/MountainCar-v0", 200, "mountain_car"),
    "mountain_car_continuous": Shipped("hyperrl/MountainCarContinuous-v0", 999, "mountain_car_continuous"),
}


def families() -> list[str]:
    """Names of every registered family."""
    return [*_SHIPPED, *sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))]


def get(name: str) -> Family:
    """The registered family of that name.

    Raises:
        InputError: no family has that name, its simulator is not installed, or what another package registered
            under it is none.
    """
    if name in _SHIPPED:
        return _import(name, _SHIPPED[name])
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _load(point)
    raise InputError(
        f"family {name!r}: unknown; choose from {', '.join(families())}, a module:attribute or a path to a .py file"
    )


def _import(name: str, shipped: Shipped) -> Family:
    try:
        return getattr(import_module(f"hyperrl.envs.{shipped.module}"), shipped.attribute)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        if not shipped.extra:
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"family {name!r}: its simulator is not installed ({reason}); pip install 'hyperrl[{shipped.extra}]'"
        ) from None


def _load(point: EntryPoint) -> Family:
    from hyperrl.envs.family import Family

    where = f"family {point.name!r}: entry point {point.value!r} of another package"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where} cannot be loaded: {reason}; mend or uninstall that package") from None
    if not isinstance(found, Family):
        raise InputError(f"{where} is no hyperrl.envs.Family but a {type(found).__name__}; name the family there")
    return found


def register_envs() -> None:
    """Register each shipped family's single environment with Gymnasium."""
    for name, shipped in _SHIPPED.items():
        if shipped.env_id not in gymnasium.registry:
            gymnasium.register(
                shipped.env_id,
                entry_point="hyperrl.envs.single:make",
                max_episode_steps=shipped.max_episode_steps,
                kwargs={"family": name},
            )
