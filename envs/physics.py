"""Families whose physics is a set of pure functions over all variants and copies at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.errors import InputError
from hyperrl.envs.family import Family, Values

if TYPE_CHECKING:
    from hyperrl.envs.vector import PhysicsVectorEnv


def _identity(state: Tensor, p: Values) -> Tensor:
    return state


def _set_state(twin: Any, state: np.ndarray, action: Any) -> None:
    twin.state = state


@dataclass(frozen=True, eq=False, kw_only=True)
class PhysicsFamily(Family):
    """A task as pure functions over (T, E).

    The functions take ``p``, a mapping from parameter name to a tensor that broadcasts against (T, E). They may
    use any float dtype and device, and must not branch on a tensor's value.
    """

    draws: int
    """How many uniform draws in [0, 1) one start takes."""
    start: Callable[[Tensor, Values], Tensor]
    """(draws (T, E, draws), p) -> state (T, E, X)."""
    step: Callable[[Tensor, Tensor, Values], tuple[Tensor, Tensor, Tensor]]
    """(state (T, E, X), action (T, E) or (T, E, A), p) -> next state, reward (T, E), terminated (T, E)."""
    observe: Callable[[Tensor, Values], Tensor] = _identity
    """(state (T, E, X), p) -> observation (T, E, O)."""
    judged_start: Callable[[Tensor, Values], Tensor] | None = None
    """As ``start``, where episodes are judged from other starts than are trained from: those of a paired reset, and
    of the single environment. ``None`` where they are the same."""
    simulated: bool = False
    """Whether the functions hand over to a simulator of another library: state and parameters are then float64, and
    every call passes through the host."""
    twin: Callable[..., Any] | None = None
    """``twin(render_mode=None, **parameters)``: Gymnasium's own environment with the parameters applied."""
    show: Callable[[Any, np.ndarray, Any], None] = _set_state
    """(twin, state (X,), action): put the state in the twin, so that its renderer draws it."""

    @property
    def drawn(self) -> bool:
        """Whether there is a twin, whose renderer draws the states."""
        return self.twin is not None

    def vector(
        self,
        variants_TP: np.ndarray,
        copies: int = 1,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> PhysicsVectorEnv:
        """One batched call a step serves every variant and copy."""
        from hyperrl.envs.vector import PhysicsVectorEnv

        return PhysicsVectorEnv(self, variants_TP, copies, device, dtype, seed)

    def single(self, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
        """The same functions in float64, drawn by the twin."""
        from hyperrl.envs.single import VariantEnv

        return VariantEnv(self, render_mode, **parameters)

    def variant_action_space(self, variant: Mapping[str, float]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """The twin's action space, or the family's where there is no twin, or where one takes long to make."""
        return self.action_space if self.twin is None or self.simulated else self.twin(**variant).action_space

    def check(self) -> None:
        """Try the spaces and the physics: start, observe and step a few copies once.

        Raises:
            InputError: a space is of another kind, or a function raises, or answers in another shape or dtype
                than it must.
        """
        super().check()
        space, dtype = self.action_space, torch.float64 if self.simulated else torch.float32
        # T and E equal no other size, so that a wrong broadcast cannot pass for a right one
        T, E = sorted(set(range(2, 7)) - {self.draws, *self.observation_space.shape, *(space.shape or ())})[:2]
        p = self.values(torch.as_tensor(self.variants("train", T), dtype=dtype))
        if isinstance(space, gymnasium.spaces.Discrete):
            action = torch.arange(T * E).view(T, E) % int(space.n)
        else:
            low, high = (torch.as_tensor(end, dtype=dtype) for end in (space.low, space.high))
            action = torch.zeros(T, E, *space.shape).clamp(low, high)

        def call(name: str, function: Callable[..., Any], *given: Tensor) -> Any:
            try:
                return function(*given, p)
            except Exception as error:
                shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
                raise InputError(
                    f"family {self.name!r}: {name} raised {type(error).__name__}: {' '.join(str(error).split())}; "
                    f"it got {shapes} and parameters {(T, 1)}, for T={T} variants and E={E} copies"
                ) from None

        def expect(what: str, got: Any, shape: tuple[int, ...], letters: str, dtype: torch.dtype) -> None:
            if not isinstance(got, Tensor) or tuple(got.shape) != shape or got.dtype != dtype:
                found = f"{tuple(got.shape)}, {got.dtype}" if isinstance(got, Tensor) else type(got).__name__
                raise InputError(
                    f"family {self.name!r}: {what} must be {letters} = {shape}, {dtype}, for T={T} variants and "
                    f"E={E} copies; got {found}"
                )

        draws = torch.rand((T, E, self.draws), dtype=dtype, generator=torch.Generator().manual_seed(0))
        state = call("start", self.start, draws)
        size = state.shape[-1] if isinstance(state, Tensor) and state.ndim else 1
        expect("start's state", state, (T, E, size), "(T, E, X)", dtype)
        shape = (T, E, *self.observation_space.shape)
        expect("observe's observation", call("observe", self.observe, state), shape, "(T, E, O)", dtype)
        answer = call("step", self.step, state, action)
        if not isinstance(answer, tuple | list) or len(answer) != 3:
            raise InputError(f"family {self.name!r}: step must return (next state, reward, terminated)")
        expect("step's next state", answer[0], (T, E, size), "(T, E, X)", dtype)
        expect("step's reward", answer[1], (T, E), "(T, E)", dtype)
        expect("step's terminated", answer[2], (T, E), "(T, E)", torch.bool)
