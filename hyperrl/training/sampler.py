"""Which variants are trained on."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from hyperrl.envs import Family
from hyperrl.seeds import numpy_generator


class Sampler(Protocol):
    """Draws variants to train on, and may learn from how they went."""

    def draw(self, n: int, iteration: int) -> np.ndarray:
        """Variants (n, P) in SI units for the slots that change before this iteration."""

    def tell(self, variants_TP: Tensor, scores_T: Tensor) -> None:
        """What an iteration found of its variants: the mean absolute advantage of each, on the device."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that later draws depend on beside the seed and the iteration."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``'s answer."""


class UniformSampler:
    """Uniform over the training region; a draw depends on the seed and the iteration alone."""

    def __init__(self, family: Family, seed: int) -> None:
        self._family, self._seed = family, seed

    def draw(self, n: int, iteration: int) -> np.ndarray:
        """Variants (n, P)."""
        return self._family.sample(n, numpy_generator("variants", self._seed, iteration))

    def tell(self, variants_TP: Tensor, scores_T: Tensor) -> None:
        """Nothing is learned."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
