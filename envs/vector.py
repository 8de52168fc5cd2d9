"""T variants of a family, E copies of each, stepped together."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from hyperrl.envs.drift import Drifting, drifted
from hyperrl.envs.errors import InputError


class Stepped(Drifting, Protocol):
    """The part of a family that a vector environment reads."""

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Of one copy."""

    @property
    def action_space(self) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """Of one copy."""


AnyStepped = TypeVar("AnyStepped", bound=Stepped)


class VariantVectorEnv(VectorEnv[Tensor, Tensor, Tensor], Generic[AnyStepped]):
    """A ``gymnasium.vector.VectorEnv`` with torch tensors.

    Row ``t * E + e`` is copy ``e`` of variant ``t``. Autoreset is ``SAME_STEP``: at the end of an
    episode ``step`` returns the next start, and ``info["final_obs"]`` holds the last observation. For all other copies
    ``final_obs`` equals the observation, so that it is always the observation after the action.

    ``reset(options={"paired": True})`` starts copy e of every variant from the same draws; a variant's starts then do
    not depend on the other variants. It uses the family's ``judged_start``, as ``"judged": True`` alone does. Later
    episodes start as in training.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  as Gymnasium declares it

    def __init__(
        self, family: AnyStepped, variants_TP: np.ndarray, copies: int, device: str | torch.device, dtype: torch.dtype
    ) -> None:
        """Check the shapes and set up the spaces.

        Raises:
            InputError: the shape of ``variants_TP`` or ``copies`` is out of range.
        """
        variants_TP = np.asarray(variants_TP, dtype=np.float64)
        if variants_TP.ndim != 2 or not len(variants_TP) or variants_TP.shape[1] != len(family.parameters):
            raise InputError(
                f"variants of shape {variants_TP.shape}: must be (T, {len(family.parameters)}) with T >= 1"
            )
        if copies < 1:
            raise InputError(f"copies={copies}: must be 1 or more")
        self.family, self.copies = family, copies
        self.num_variants = len(variants_TP)
        self.num_envs = self.num_variants * copies
        self.single_observation_space, self.single_action_space = family.observation_space, family.action_space
        self.observation_space = batch_space(family.observation_space, self.num_envs)
        self.action_space = batch_space(family.action_space, self.num_envs)
        self.device, self.dtype = torch.device(device), dtype
        self.variants_TP = torch.tensor(variants_TP, dtype=dtype, device=self.device)
        self._drift_start_TP = self.variants_TP.clone()
        self._drift_step_T = torch.zeros(self.num_variants, dtype=torch.int64, device=self.device)

    def _drift(self, generator: torch.Generator) -> None:
        """One step of the family's drift, if it has any."""
        if not self.family.drift:
            return
        self._drift_step_T.add_(1)
        shape = self.variants_TP.shape
        normal_TP = torch.randn(shape, generator=generator, dtype=self.variants_TP.dtype, device=generator.device)
        start_TP, step_T = self._drift_start_TP, self._drift_step_T
        self.change(drifted(self.family, self.variants_TP, start_TP, step_T, normal_TP.to(self.device)))

    def _restart_drift(self, variants_TP: Tensor, mask_T: Tensor) -> None:
        """Set variants (T, P) where the mask (T,) is true, as new starts of the drift."""
        self._drift_start_TP.copy_(torch.where(mask_T.unsqueeze(1), variants_TP, self._drift_start_TP))
        self._drift_step_T.mul_(~mask_T)
        self.variants_TP.copy_(torch.where(mask_T.unsqueeze(1), variants_TP, self.variants_TP))

    def replace(self, variants_TP: np.ndarray, replaced_T: np.ndarray) -> Tensor:
        """Set new variants (T, P) where ``replaced_T`` (T,) is true, start those anew, and observe."""
        raise NotImplementedError

    def put(self, variants_TP: np.ndarray) -> None:
        """Set variants (T, P), from which the next ``reset`` starts."""
        raise NotImplementedError

    def change(self, variants_TP: Tensor) -> None:
        """Change the parameters to (T, P); every copy continues from its state."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Restore a ``state_dict``; the observations (T * E, O), and which copies (T * E,) had to begin anew."""
        raise NotImplementedError
