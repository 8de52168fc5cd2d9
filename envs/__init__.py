"""Physics and tasks. Importing this registers the single environments; the physics comes when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hyperrl.envs import registry
from hyperrl.envs.errors import InputError

if TYPE_CHECKING:
    from hyperrl.envs.drift import Schedule, Walk
    from hyperrl.envs.family import Family, Parameter
    from hyperrl.envs.gymnasium_env import Argument, Attribute, Context, GymnasiumFamily, GymnasiumVectorEnv, ModelField
    from hyperrl.envs.physics import PhysicsFamily
    from hyperrl.envs.single import VariantEnv
    from hyperrl.envs.vector import PhysicsVectorEnv, VariantVectorEnv

__all__ = [
    "Argument",
    "Attribute",
    "Context",
    "Family",
    "GymnasiumFamily",
    "GymnasiumVectorEnv",
    "InputError",
    "ModelField",
    "Parameter",
    "PhysicsFamily",
    "PhysicsVectorEnv",
    "Schedule",
    "VariantEnv",
    "VariantVectorEnv",
    "Walk",
    "registry",
]

_HOME = {
    "Argument": "gymnasium_env",
    "Attribute": "gymnasium_env",
    "Context": "gymnasium_env",
    "Family": "family",
    "GymnasiumFamily": "gymnasium_env",
    "GymnasiumVectorEnv": "gymnasium_env",
    "ModelField": "gymnasium_env",
    "Parameter": "family",
    "PhysicsFamily": "physics",
    "PhysicsVectorEnv": "vector",
    "Schedule": "drift",
    "VariantEnv": "single",
    "VariantVectorEnv": "vector",
    "Walk": "drift",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"hyperrl.envs.{_HOME[name]}"), name)


registry.register_envs()
