"""Bipedal Walker: walk over gentle hills on two legs of two joints each.

Gymnasium's own environment, which needs Box2D.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

import gymnasium

from hyperrl.envs.gymnasium_env import GymnasiumFamily
from hyperrl.envs.parameter import Parameter


class FreshWorld(gymnasium.Wrapper):
    """Resets into a new world: an old one depends on earlier episodes, so equal seeds would give other motions."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Keep the gravity of the old world, and nothing else."""
        env: Any = self.unwrapped
        env._destroy()
        env.world = type(env.world)(gravity=env.world.gravity)
        return self.env.reset(seed=seed, options=options)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """Gymnasium's environment, in a fresh world for each episode."""
    return FreshWorld(
        gymnasium.make("BipedalWalker-v3", render_mode=render_mode, max_episode_steps=-1, disable_env_checker=True)
    )


def set_gravity(env: Any, value: float) -> None:
    """Set the gravity of the world."""
    env.world.gravity = (0, value)


def set_hull_density(env: Any, value: float) -> None:
    """Set the density of the hull that the last reset built, and with it mass and inertia."""
    for fixture in env.hull.fixtures:
        fixture.density = value
    env.hull.ResetMassData()


def set_friction(env: Any, value: float) -> None:
    """Set the friction of the present ground, its contacts included, and of the ground that a reset builds."""
    if env.fd_edge.friction == value:
        return
    env.fd_edge.friction = value
    for body in env.terrain:
        for fixture in body.fixtures:
            fixture.friction = value
    for contact in env.world.contacts:
        contact.ResetFriction()


def set_motors_torque(env: Any, value: float) -> None:
    """Set a module constant that Gymnasium's ``step`` reads: this copy gets a ``step`` with another constant."""
    step = type(env).step
    constants = {**step.__globals__, "MOTORS_TORQUE": value}
    env.step = MethodType(FunctionType(step.__code__, constants, "step"), env)


family = GymnasiumFamily(
    name="bipedal_walker",
    make=make,
    max_episode_steps=1600,
    parameters=(
        Parameter("gravity", "units/s2", -10.0, (-13, -7), (-16, -5), "[-50, 0]", "vertical, down is negative"),
        Parameter("hull_density", "1/units2", 5.0, (3, 8), (2, 12), "(0, 100]", "mass of the hull per area"),
        Parameter("friction", "1", 2.5, (1, 5), (0.3, 8), "[0, 100]", "friction of the ground"),
        Parameter("motors_torque", "units", 80.0, (60, 100), (45, 120), "(0, 1000]", "largest torque of a joint"),
    ),
    apply={
        "gravity": set_gravity,
        "hull_density": set_hull_density,
        "friction": set_friction,
        "motors_torque": set_motors_torque,
    },
    held_out={"gravity": (-13, -11), "motors_torque": (60, 76)},
    env_id="hyperrl/BipedalWalker-v3",
    solved=300.0,
    source="gymnasium.envs.box2d.bipedal_walker, by Oleg Klimov, in Box2D",
)
