"""Names of families: those shipped here, and those of other packages through entry points."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import gymnasium

from hyperrl.envs.errors import InputError

if TYPE_CHECKING:
    from hyperrl.envs.family import Family

ENTRY_POINT_GROUP = "hyperrl.families"

# File here -> id and time limit of its single environment, so that registering imports no physics.
_SHIPPED = {
    "cartpole": ("hyperrl/CartPole-v1", 500),
    "pendulum": ("hyperrl/Pendulum-v1", 200),
    "acrobot": ("hyperrl/Acrobot-v1", 500),
    "mountain_car": ("hyperrl/MountainCar-v0", 200),
    "mountain_car_continuous": ("hyperrl/MountainCarContinuous-v0", 999),
}


def families() -> list[str]:
    """Names of every registered family."""
    return [*_SHIPPED, *sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))]


def get(name: str) -> Family:
    """The registered family of that name.

    Raises:
        InputError: no family has that name, or what another package registered under it is none.
    """
    if name in _SHIPPED:
        return import_module(f"hyperrl.envs.{name}").family
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _load(point)
    raise InputError(
        f"family {name!r}: unknown; choose from {', '.join(families())}, a module:attribute or a path to a .py file"
    )


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
    for name, (env_id, max_episode_steps) in _SHIPPED.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="hyperrl.envs.single:VariantEnv",
                max_episode_steps=max_episode_steps,
                kwargs={"family": name},
            )
