"""Physics and tasks. Importing this registers the single environments; physics is imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import hyperrl.envs.registry as registry
from hyperrl.envs.errors import InputError

if TYPE_CHECKING:
    from hyperrl.envs.drift import Schedule, Walk
    from hyperrl.envs.family import Family
    from hyperrl.envs.gymnasium_env import Argument, Attribute, Context, GymnasiumFamily, GymnasiumVectorEnv, ModelField
    from hyperrl.envs.parameter import Parameter
    from hyperrl.envs.physics import PhysicsFamily, PhysicsVectorEnv, VariantEnv
    from hyperrl.envs.vector import VariantVectorEnv

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
    "Parameter": "parameter",
    "PhysicsFamily": "physics",
    "PhysicsVectorEnv": "physics",
    "Schedule": "drift",
    "VariantEnv": "physics",
    "VariantVectorEnv": "vector",
    "Walk": "drift",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"hyperrl.envs.{_HOME[name]}"), name)


registry.register_envs()
