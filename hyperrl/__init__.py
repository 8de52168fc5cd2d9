"""hyperrl: train once on a family of control tasks, get an expert for any variant.

``hyperrl.train(family)`` trains and returns a run, ``hyperrl.train_seeds(family, 10)`` ten of them;
``hyperrl.load(folder)`` opens one, ``run.policy(**parameters)`` is the policy of one variant, ``hyperrl.compare`` puts
arms side by side, and ``hyperrl.tune`` searches settings. Importing this registers the single environments with
Gymnasium and imports no PyTorch.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import hyperrl.envs  # noqa: F401  registers the single environments

if TYPE_CHECKING:
    from hyperrl.api import Run as load
    from hyperrl.api import compare, train, train_seeds
    from hyperrl.training.search import tune

__all__ = ["compare", "load", "train", "train_seeds", "tune"]
__version__ = version("hyperrl")


def __getattr__(name: str) -> Any:
    if name == "tune":
        from hyperrl.training.search import tune

        return tune
    if name in __all__:
        from hyperrl import api

        return api.Run if name == "load" else getattr(api, name)
    raise AttributeError(f"module 'hyperrl' has no attribute {name!r}")
