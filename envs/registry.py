"""Names of families: those shipped here, and those of other packages through entry points."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
from gymnasium.envs.registration import WrapperSpec

from hyperrl.envs.errors import InputError

if TYPE_CHECKING:
    from hyperrl.envs.family import Family

ENTRY_POINT_GROUP = "hyperrl.families"


class Shipped(NamedTuple):
    """A family of this package, described without importing its physics."""

    env_id: str
    """Id of its single environment."""
    max_episode_steps: int
    module: str
    """Its file in ``hyperrl.envs.tasks``."""
    attribute: str = "family"
    extra: str = ""
    """Extra of this package that installs the simulator."""


_SHIPPED = {
    "cartpole": Shipped("hyperrl/CartPole-v1", 500, "cartpole"),
    "cartpole_drift": Shipped("hyperrl/CartPoleDrift-v1", 500, "cartpole", "drift"),
    "pendulum": Shipped("hyperrl/Pendulum-v1", 200, "pendulum"),
    "acrobot": Shipped("hyperrl/Acrobot-v1", 500, "acrobot"),
    "mountain_car": Shipped("hyperrl/MountainCar-v0", 200, "mountain_car"),
    "mountain_car_continuous": Shipped("hyperrl/MountainCarContinuous-v0", 999, "mountain_car_continuous"),
    "mountain_car_continuous_signed": Shipped(
        "hyperrl/MountainCarContinuousSigned-v0", 999, "mountain_car_continuous", "signed"
    ),
    "pendulum_signed": Shipped("hyperrl/PendulumSigned-v0", 200, "pendulum", "signed"),
    "pendulum_spin": Shipped("hyperrl/PendulumSpin-v0", 200, "pendulum", "spin"),
    "cartpole_continuous": Shipped("hyperrl/CartPoleContinuous-v0", 500, "cartpole_continuous"),
    "cartpole_continuous_d20": Shipped("hyperrl/CartPoleContinuousD20-v0", 500, "cartpole_continuous", "d20"),
    "cartpole_continuous_d100": Shipped("hyperrl/CartPoleContinuousD100-v0", 500, "cartpole_continuous", "d100"),
    "ode1": Shipped("hyperrl/ODE1-v0", 200, "ode", "ode1"),
    "ode2": Shipped("hyperrl/ODE2-v0", 200, "ode", "ode2"),
    "ode2_weak": Shipped("hyperrl/ODE2Weak-v0", 200, "ode", "weak"),
    "point": Shipped("hyperrl/Point-v0", 100, "point"),
    "double_integrator_signed": Shipped("hyperrl/DoubleIntegratorSigned-v0", 100, "double_integrator", "signed"),
    "double_integrator_friction": Shipped("hyperrl/DoubleIntegratorFriction-v0", 100, "double_integrator", "friction"),
    "lunar_lander": Shipped("hyperrl/LunarLander-v3", 1000, "lunar_lander", extra="box2d"),
    "lunar_lander_wind": Shipped("hyperrl/LunarLanderWind-v3", 1000, "lunar_lander", "wind", "box2d"),
    "lunar_lander_continuous": Shipped("hyperrl/LunarLanderContinuous-v3", 1000, "lunar_lander", "continuous", "box2d"),
    "bipedal_walker": Shipped("hyperrl/BipedalWalker-v3", 1600, "bipedal_walker", extra="box2d"),
    "half_cheetah": Shipped("hyperrl/HalfCheetah-v5", 1000, "half_cheetah", extra="mujoco"),
    "half_cheetah_velocity": Shipped("hyperrl/HalfCheetahVelocity-v5", 200, "half_cheetah", "velocity", extra="mujoco"),
    "half_cheetah_direction": Shipped(
        "hyperrl/HalfCheetahDirection-v5", 200, "half_cheetah", "direction", extra="mujoco"
    ),
    "hopper": Shipped("hyperrl/Hopper-v5", 1000, "hopper", extra="mujoco"),
    "walker2d": Shipped("hyperrl/Walker2d-v5", 1000, "walker2d", extra="mujoco"),
    "ant": Shipped("hyperrl/Ant-v5", 1000, "ant", extra="mujoco"),
    "ant_velocity": Shipped("hyperrl/AntVelocity-v5", 200, "ant", "velocity", extra="mujoco"),
    "ant_direction": Shipped("hyperrl/AntDirection-v5", 200, "ant", "direction", extra="mujoco"),
    "inverted_pendulum": Shipped("hyperrl/InvertedPendulum-v5", 1000, "inverted_pendulum", extra="mujoco"),
    "inverted_double_pendulum": Shipped(
        "hyperrl/InvertedDoublePendulum-v5", 1000, "inverted_double_pendulum", extra="mujoco"
    ),
    "reacher": Shipped("hyperrl/Reacher-v5", 50, "reacher", extra="mujoco"),
    "swimmer": Shipped("hyperrl/Swimmer-v5", 1000, "swimmer", extra="mujoco"),
    "dmc_cartpole_balance": Shipped("hyperrl/DMCCartpoleBalance-v0", 1000, "dmc_cartpole", extra="dmc"),
    "dmc_cartpole_balance_signed": Shipped(
        "hyperrl/DMCCartpoleBalanceSigned-v0", 1000, "dmc_cartpole", "signed", "dmc"
    ),
    "dmc_reacher_easy": Shipped("hyperrl/DMCReacherEasy-v0", 1000, "dmc_reacher", "easy", "dmc"),
    "dmc_reacher_easy_signed": Shipped("hyperrl/DMCReacherEasySigned-v0", 1000, "dmc_reacher", "easy_signed", "dmc"),
    "dmc_reacher_hard": Shipped("hyperrl/DMCReacherHard-v0", 1000, "dmc_reacher", "hard", "dmc"),
    "dmc_reacher_hard_signed": Shipped("hyperrl/DMCReacherHardSigned-v0", 1000, "dmc_reacher", "hard_signed", "dmc"),
    "dmc_cheetah_run": Shipped("hyperrl/DMCCheetahRun-v0", 1000, "dmc_cheetah", "run", "dmc"),
    "dmc_cheetah_run_signed": Shipped("hyperrl/DMCCheetahRunSigned-v0", 1000, "dmc_cheetah", "run_signed", "dmc"),
    "dmc_cheetah_speed": Shipped("hyperrl/DMCCheetahSpeed-v0", 1000, "dmc_cheetah", "speed", "dmc"),
    "dmc_cheetah_torso": Shipped("hyperrl/DMCCheetahTorso-v0", 1000, "dmc_cheetah", "torso", "dmc"),
    "dmc_cheetah_speed_torso": Shipped("hyperrl/DMCCheetahSpeedTorso-v0", 1000, "dmc_cheetah", "speed_torso", "dmc"),
    "dmc_ball_in_cup_catch": Shipped("hyperrl/DMCBallInCupCatch-v0", 1000, "dmc_ball_in_cup", extra="dmc"),
    "dmc_walker_walk": Shipped("hyperrl/DMCWalkerWalk-v0", 1000, "dmc_walker", extra="dmc"),
}


def families() -> list[str]:
    """Names of every registered family, each once."""
    return [*_SHIPPED, *sorted(_others())]


def _others() -> dict[str, EntryPoint]:
    """Entry points of other packages by name, with a warning about those whose name is taken."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in _SHIPPED or found.setdefault(point.name, point).value != point.value:
            holder = found[point.name].value if point.name in found else "this package"
            warnings.warn(
                f"family {point.name!r}: entry point {point.value!r} of another package is left out, because "
                f"{holder} has that name; register it under another name",
                stacklevel=3,
            )
    return found


def env_id(name: str) -> str:
    """Id of a shipped family's single environment, whether its simulator is installed or not; empty for others."""
    return _SHIPPED[name].env_id if name in _SHIPPED else ""


def extra(name: str) -> str:
    """The extra of this package that installs a family's simulator; empty if none is needed."""
    return _SHIPPED[name].extra if name in _SHIPPED else ""


def get(name: str) -> Family:
    """The registered family of that name.

    Raises:
        InputError: no family has that name, its simulator is not installed, or another package registered
            something under it that is not a family.
    """
    others = _others()
    if name in _SHIPPED:
        return _import(name, _SHIPPED[name])
    if name in others:
        return _load(others[name])
    raise InputError(
        f"family {name!r}: unknown; choose from {', '.join(families())}, a module:attribute or a path to a .py file"
    )


def _import(name: str, shipped: Shipped) -> Family:
    try:
        return getattr(import_module(f"hyperrl.envs.tasks.{shipped.module}"), shipped.attribute)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        missing = not_installed(f"family {name!r}", error, shipped.extra)
        if missing is None:
            raise
        raise missing from None


def not_installed(what: str, error: BaseException, extra: str = "") -> InputError | None:
    """The error that names the extra, if an import failed because a simulator is missing; ``None`` for other errors.

    Args:
        what: what cannot be imported, such as ``"family 'hopper'"``.
        error: the exception.
        extra: extra of this package, if known; else derived from the missing modules.
    """
    cause: BaseException | None = error
    while cause is not None and not extra:
        module = cause.name if isinstance(cause, ImportError) else None
        extra = {"mujoco": "mujoco", "dm_control": "dmc", "Box2D": "box2d"}.get((module or "").partition(".")[0], "")
        cause = cause.__cause__ or cause.__context__
    if not extra:
        return None
    reason = " ".join(str(error).split())
    return InputError(f"{what}: its simulator is not installed ({reason}); pip install 'hyperrl[{extra}]'")


def _load(point: EntryPoint) -> Family:
    from hyperrl.envs.family import Family

    where = f"family {point.name!r}: entry point {point.value!r} of another package"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        missing = not_installed(where, error)
        if missing:
            raise missing from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where} cannot be loaded: {reason}; mend or uninstall that package") from None
    if not isinstance(found, Family):
        raise InputError(f"{where} is not a hyperrl.envs.Family but a {type(found).__name__}; name the family there")
    return found


def register_envs() -> None:
    """Register each shipped family's single environment with Gymnasium."""
    for name, shipped in _SHIPPED.items():
        if shipped.env_id not in gymnasium.registry:
            gymnasium.register(
                shipped.env_id,
                entry_point="hyperrl.envs.single:make",
                max_episode_steps=shipped.max_episode_steps,
                # outermost, so that a context set on the environment of gymnasium.make has an effect
                additional_wrappers=(WrapperSpec("Settable", "hyperrl.envs.single:Settable", {}),),
                kwargs={"family": name},
            )
