"""T variants of a family, E copies of each, stepped together."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from hyperrl.envs.drift import drifted
from hyperrl.envs.errors import InputError
from hyperrl.envs.family import Family
from hyperrl.envs.physics import PhysicsFamily

AnyFamily = TypeVar("AnyFamily", bound=Family)


class VariantVectorEnv(VectorEnv[Tensor, Tensor, Tensor], Generic[AnyFamily]):
    """A ``gymnasium.vector.VectorEnv`` that speaks torch.

    Row ``t * E + e`` is copy ``e`` of variant ``t``. Autoreset is ``SAME_STEP``: where an episode ends,
    ``step`` returns the next start and ``info["final_obs"]`` holds the last observation; elsewhere
    ``final_obs`` equals the observation, so that it is always what the action led to.

    ``reset(options={"paired": True})`` starts copy e of every variant from the same draws, so that what a variant's
    copies start from does not depend on which other variants there are, and from the family's ``judged_start``, as
    ``"judged": True`` alone does; what an end is followed by is a start of training.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  as Gymnasium declares it

    def __init__(
        self, family: AnyFamily, variants_TP: np.ndarray, copies: int, device: str | torch.device, dtype: torch.dtype
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
        """One step of what the family says of its parameters' drift; nothing where it says nothing."""
        if not self.family.drift:
            return
        self._drift_step_T.add_(1)
        shape = self.variants_TP.shape
        normal_TP = torch.randn(shape, generator=generator, dtype=self.variants_TP.dtype, device=generator.device)
        start_TP, step_T = self._drift_start_TP, self._drift_step_T
        self.change(drifted(self.family, self.variants_TP, start_TP, step_T, normal_TP.to(self.device)))

    def _restart_drift(self, variants_TP: Tensor, mask_T: Tensor) -> None:
        """Put variants (T, P) where the mask (T,) is true, to drift from there."""
        self._drift_start_TP.copy_(torch.where(mask_T.unsqueeze(1), variants_TP, self._drift_start_TP))
        self._drift_step_T.mul_(~mask_T)
        self.variants_TP.copy_(torch.where(mask_T.unsqueeze(1), variants_TP, self.variants_TP))

    def replace(self, variants_TP: np.ndarray, replaced_T: np.ndarray) -> Tensor:
        """Put new variants (T, P) where ``replaced_T`` (T,) is true, start those anew, and observe."""
        raise NotImplementedError

    def change(self, variants_TP: Tensor) -> None:
        """Change the parameters to (T, P) and let every copy go on from where it is."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> Tensor:
        """Go on from ``state_dict``'s answer; return the observations (T * E, O)."""
        raise NotImplementedError


class PhysicsVectorEnv(VariantVectorEnv[PhysicsFamily]):
    """Variants of a ``PhysicsFamily`` on one device; nothing is copied to the host.

    All starts come from one ``torch.Generator`` on the device, seeded by ``reset(seed=...)``. A simulated family
    keeps its state and parameters in float64 whatever the dtype; observations and rewards have the dtype.
    """

    def __init__(
        self,
        family: PhysicsFamily,
        variants_TP: np.ndarray,
        copies: int = 1,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        """Set up the buffers; call ``reset`` before the first ``step``.

        Args:
            family: the task.
            variants_TP: parameters in SI units, shape (T, P), T >= 1.
            copies: E, copies of each variant, at least 1.
            device: where everything lives.
            dtype: float32 or float64.
            seed: of the starts.

        Raises:
            InputError: the shape of ``variants_TP`` or ``copies`` is out of range.
        """
        self._state_dtype = torch.float64 if family.simulated else dtype
        super().__init__(family, variants_TP, copies, device, self._state_dtype)
        self.dtype = dtype
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._values = family.values(self.variants_TP)
        self._elapsed_TE = torch.zeros(self.num_variants, copies, dtype=torch.int64, device=self.device)
        self._state_TEX = self._starts()

    def _starts(self, paired: bool = False, judged: bool = False) -> Tensor:
        variants = 1 if paired else self.num_variants
        shape = (variants, self.copies, self.family.draws)
        draws = torch.rand(shape, generator=self._generator, device=self.device, dtype=self._state_dtype)
        start = self.family.judged_start if judged and self.family.judged_start else self.family.start
        return start(draws.expand(self.num_variants, -1, -1), self._values)

    def _observe(self, state_TEX: Tensor) -> Tensor:
        return self.family.observe(state_TEX, self._values).reshape(self.num_envs, -1).to(self.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start every copy anew and return observations (T * E, O)."""
        if seed is not None:
            self._generator.manual_seed(seed)
        if self.family.drift:
            self._restart_drift(self._drift_start_TP, torch.ones_like(self._drift_step_T, dtype=torch.bool))
        paired = bool(options and options.get("paired"))
        start_TEX = self._starts(paired, judged=paired or bool(options and options.get("judged")))
        self._state_TEX.copy_(start_TEX)
        self._elapsed_TE.zero_()
        return self._observe(start_TEX), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take actions (T * E,) or (T * E, A); return observations, rewards, both ends and infos."""
        action = actions.view(self.num_variants, self.copies, *actions.shape[1:])
        state_TEX, reward_TE, terminated_TE = self.family.step(self._state_TEX, action, self._values)
        self._drift(self._generator)
        self._elapsed_TE.add_(1)
        truncated_TE = self._elapsed_TE >= self.family.max_episode_steps
        done_TE = terminated_TE | truncated_TE
        after_TEX = torch.where(done_TE.unsqueeze(2), self._starts(), state_TEX)
        self._state_TEX.copy_(after_TEX)
        self._elapsed_TE.mul_(~done_TE)
        info = {"final_obs": self._observe(state_TEX), "_final_obs": done_TE.flatten()}
        return (
            self._observe(after_TEX),
            reward_TE.flatten().to(self.dtype),
            terminated_TE.flatten(),
            truncated_TE.flatten(),
            info,
        )

    def replace(self, variants_TP: np.ndarray, replaced_T: np.ndarray) -> Tensor:
        """Put new variants (T, P) where ``replaced_T`` (T,) is true, start those anew, and observe."""
        mask_T = torch.as_tensor(replaced_T, device=self.device)
        fresh_TP = torch.as_tensor(variants_TP, dtype=self._state_dtype, device=self.device)
        self._restart_drift(fresh_TP, mask_T)
        self._state_TEX.copy_(torch.where(mask_T.view(-1, 1, 1), self._starts(), self._state_TEX))
        self._elapsed_TE.mul_(~mask_T.unsqueeze(1))
        return self._observe(self._state_TEX.clone())

    def change(self, variants_TP: Tensor) -> None:
        """Change the parameters to (T, P) and let every copy go on from its state."""
        self.variants_TP.copy_(variants_TP)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        return {
            "variants_TP": self.variants_TP.clone(),
            "state_TEX": self._state_TEX.clone(),
            "elapsed_TE": self._elapsed_TE.clone(),
            "generator": self._generator.get_state(),
            "drift_start_TP": self._drift_start_TP.clone(),
            "drift_step_T": self._drift_step_T.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> Tensor:
        """Go on from ``state_dict``'s answer; return the observations (T * E, O)."""
        self.variants_TP.copy_(state["variants_TP"])
        self._state_TEX.copy_(state["state_TEX"])
        self._elapsed_TE.copy_(state["elapsed_TE"])
        self._drift_start_TP.copy_(state["drift_start_TP"])
        self._drift_step_T.copy_(state["drift_step_T"])
        self._generator.set_state(state["generator"].cpu())
        return self._observe(self._state_TEX.clone())
