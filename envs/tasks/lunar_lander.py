"""Lunar Lander: land softly between two flags; without and with wind, with switched and with throttled engines.

Gymnasium's own environment, which needs Box2D.
"""

from __future__ import annotations

from typing import Any

from hyperrl.envs.gymnasium_env import Attribute, GymnasiumFamily, How
from hyperrl.envs.parameter import Parameter


def set_gravity(env: Any, value: float) -> None:
    """Set gravity in the present world and in those that a reset builds."""
    env.gravity = value
    env.world.gravity = (0, value)


GRAVITY = Parameter(
    "gravity", "units/s2", -10.0, (-11.9, -4), (-11.99, -2), "(-12, 0)", "vertical acceleration, down is negative"
)
WIND = (
    Parameter("wind_power", "units", 15.0, (0, 15), (0, 20), "[0, 20]", "largest sideways force of the wind"),
    Parameter("turbulence_power", "units", 1.5, (0, 1.5), (0, 2), "[0, 2]", "largest turning force of the wind"),
)
BY_NAME: dict[str, How] = {
    "gravity": set_gravity,
    "wind_power": Attribute("wind_power"),
    "turbulence_power": Attribute("turbulence_power"),
}
SOLVED = 200.0
SOURCE = "gymnasium.envs.box2d.lunar_lander, by Oleg Klimov, in Box2D"

family = GymnasiumFamily(
    name="lunar_lander",
    make="LunarLander-v3",
    parameters=(GRAVITY,),
    apply={"gravity": set_gravity},
    held_out={"gravity": (-8.5, -7.5)},
    env_id="hyperrl/LunarLander-v3",
    solved=SOLVED,
    source=SOURCE,
)

wind = GymnasiumFamily(
    name="lunar_lander_wind",
    make="LunarLander-v3",
    arguments={"enable_wind": True},
    parameters=(GRAVITY, *WIND),
    apply=BY_NAME,
    held_out={"gravity": (-7, -4), "wind_power": (10, 15)},
    env_id="hyperrl/LunarLanderWind-v3",
    solved=SOLVED,
    source=SOURCE,
)

continuous = GymnasiumFamily(
    name="lunar_lander_continuous",
    make="LunarLander-v3",
    arguments={"continuous": True, "enable_wind": True},
    parameters=(GRAVITY, *WIND),
    apply=BY_NAME,
    held_out={"gravity": (-7, -4), "wind_power": (10, 15)},
    env_id="hyperrl/LunarLanderContinuous-v3",
    solved=SOLVED,
    source=SOURCE,
)
