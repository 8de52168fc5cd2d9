"""Families whose physics is a set of pure functions over all variants and copies at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.actions import first
from hyperrl.envs.errors import OTHERS_ERRORS, InputError, one_line
from hyperrl.envs.family import Family
from hyperrl.envs.finite import require_finite
from hyperrl.envs.parameter import Values
from hyperrl.envs.single import SingleEnv
from hyperrl.envs.vector import VariantVectorEnv


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
    """Number of uniform draws in [0, 1) for one start."""
    start: Callable[[Tensor, Values], Tensor]
    """(draws (T, E, draws), p) -> state (T, E, X)."""
    step: Callable[[Tensor, Tensor, Values], tuple[Tensor, Tensor, Tensor]]
    """(state (T, E, X), action (T, E) or (T, E, A), p) -> next state, reward (T, E), terminated (T, E)."""
    observe: Callable[[Tensor, Values], Tensor] = _identity
    """(state (T, E, X), p) -> observation (T, E, O)."""
    judged_start: Callable[[Tensor, Values], Tensor] | None = None
    """As ``start``, for evaluation: used by a paired reset and by the single environment. ``None`` if evaluation
    episodes start as in training."""
    simulated: bool = False
    """Whether the functions call a simulator of another library: state and parameters are then float64, and every call
    copies to the host."""
    twin: Callable[..., Any] | None = None
    """``twin(render_mode=None, **parameters)``: Gymnasium's own environment with the parameters applied."""
    show: Callable[[Any, np.ndarray, Any], None] = _set_state
    """(twin, state (X,), action): set the twin's state, so that its renderer draws it."""
    options: tuple[str, ...] = ()
    """Options of ``reset`` that the single environment takes: those of the twin's ``reset``, which then draws the
    start, ``twin.state``, from the same generator."""

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
        """One batched call for each step of all variants and copies."""
        return PhysicsVectorEnv(self, variants_TP, copies, device, dtype, seed)

    def single(self, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
        """One variant with the same functions in float64, drawn by the twin."""
        return VariantEnv(self, render_mode, **parameters)

    @property
    def outside(self) -> bool:
        """Whether a simulator of another library computes the steps."""
        return self.simulated

    def variant_action_space(self, variant: Mapping[str, float]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """The twin's action space; the family's if there is no twin, or if the family is simulated."""
        return self.action_space if self.twin is None or self.simulated else self.twin(**variant).action_space

    def check(self) -> None:
        """Test the spaces and the physics: start, observe and step a few copies once.

        Raises:
            InputError: a space is of another kind, or a function raises, or returns a wrong shape or dtype, or an
                observation or a reward that is not finite.
        """
        super().check()
        trial = _Trial(self)
        T, E, dtype = trial.T, trial.E, trial.dtype
        draws = torch.rand((T, E, self.draws), dtype=dtype, generator=torch.Generator().manual_seed(0))
        state = trial.call("start", self.start, draws)
        size = state.shape[-1] if isinstance(state, Tensor) and state.ndim else 1
        trial.expect("start's state", state, (T, E, size), "(T, E, X)", dtype)
        shape = (T, E, *self.observation_space.shape)
        obs = trial.call("observe", self.observe, state)
        trial.expect("observe's observation", obs, shape, "(T, E, O)", dtype)
        answer = trial.call("step", self.step, state, trial.action())
        if not isinstance(answer, tuple | list) or len(answer) != 3:
            raise InputError(f"family {self.name!r}: step must return (next state, reward, terminated)")
        after, reward, terminated = answer
        trial.expect("step's next state", after, (T, E, size), "(T, E, X)", dtype)
        trial.expect("step's reward", reward, (T, E), "(T, E)", dtype)
        trial.expect("step's terminated", terminated, (T, E), "(T, E)", torch.bool)
        next_obs = trial.call("observe", self.observe, after)
        ends = terminated.unsqueeze(-1)  # what an episode terminates in is read by nothing
        for what, numbers in (
            ("an observation of a start", obs),
            ("a reward of the first step", reward),
            ("an observation after the first step", next_obs.where(~ends, 0.0)),
        ):
            require_finite(self, what, numbers, trial.variants_TP)


class _Trial:
    """Calls of a family's functions on T variants x E copies, with errors that name the shape and dtype required."""

    def __init__(self, family: PhysicsFamily) -> None:
        self.family = family
        self.dtype = torch.float64 if family.simulated else torch.float32
        # T and E differ from all other sizes, so that a wrong broadcast has a wrong shape
        taken = {family.draws, *family.observation_space.shape, *(family.action_space.shape or ())}
        self.T, self.E = sorted(set(range(2, 7)) - taken)[:2]
        self.device = torch.device("cpu")
        self.variants_TP = family.variants("train", self.T)
        self.p = family.values(torch.as_tensor(self.variants_TP, dtype=self.dtype))

    def action(self) -> Tensor:
        """Every discrete action in turn, or the middle of a Box."""
        space, shape = self.family.action_space, (self.T, self.E)
        if isinstance(space, gymnasium.spaces.Discrete):
            return torch.arange(self.T * self.E).view(shape) % int(space.n) + first(space)
        low, high = (torch.as_tensor(end, dtype=self.dtype) for end in (space.low, space.high))
        return torch.zeros(*shape, *space.shape).clamp(low, high)

    def call(self, name: str, function: Callable[..., Any], *given: Tensor) -> Any:
        """The result of a function.

        Raises:
            InputError: the function raises, or changes what it is given.
        """
        tensors = {f"argument {i}": tensor for i, tensor in enumerate(given, 1)}
        tensors |= {f"p[{parameter!r}]": tensor for parameter, tensor in self.p.items()}
        before = {what: tensor.clone() for what, tensor in tensors.items()}
        answer = self._answer(name, function, *given)
        for what, tensor in tensors.items():
            if not torch.equal(tensor.nan_to_num(), before[what].nan_to_num()):
                raise InputError(
                    f"family {self.family.name!r}: {name} changes its {what} in place; compute a new tensor "
                    "instead, as `x = x + y` for `x += y`"
                )
        return answer

    def _answer(self, name: str, function: Callable[..., Any], *given: Tensor) -> Any:
        try:
            return function(*given, self.p)
        except OTHERS_ERRORS as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
            raise InputError(
                f"family {self.family.name!r}: {name} raised {one_line(error)}; it got {shapes} and parameters "
                f"{(self.T, 1)}, for T={self.T} variants and E={self.E} copies"
            ) from None

    def expect(self, what: str, got: Any, shape: tuple[int, ...], letters: str, dtype: torch.dtype) -> None:
        """Require a shape and a dtype, the device of the parameters, and no gradients.

        Raises:
            InputError: any of them is another.
        """
        if not isinstance(got, Tensor) or tuple(got.shape) != shape or got.dtype != dtype:
            found = f"{tuple(got.shape)}, {got.dtype}" if isinstance(got, Tensor) else type(got).__name__
            raise InputError(
                f"family {self.family.name!r}: {what} must be {letters} = {shape}, {dtype}, for T={self.T} variants "
                f"and E={self.E} copies; got {found}"
            )
        if got.device != self.device:
            raise InputError(
                f"family {self.family.name!r}: {what} is on {got.device}, but state and parameters were on "
                f"{self.device}; make new tensors on the device of those that are given"
            )
        if got.requires_grad:
            raise InputError(
                f"family {self.family.name!r}: {what} asks for gradients; detach() what it is computed from"
            )


class Moment(NamedTuple):
    """What a step starts from."""

    state_TEX: Tensor
    elapsed_TE: Tensor
    """Steps of the episode so far."""


def settle(
    family: PhysicsFamily, final_TEX: Tensor, terminated_TE: Tensor, elapsed_TE: Tensor, p: Values, draws_TED: Tensor
) -> tuple[Tensor, Moment]:
    """Whether episodes of so many steps are truncated (T, E) by one more, and what follows: a start where they end."""
    elapsed_TE = elapsed_TE + 1
    truncated_TE = elapsed_TE >= family.max_episode_steps
    done_TE = terminated_TE | truncated_TE
    if family.simulated:
        state_TEX = _started(family, final_TEX, done_TE, p, draws_TED)
    else:
        state_TEX = torch.where(done_TE.unsqueeze(2), family.start(draws_TED, p), final_TEX)
    return truncated_TE, Moment(state_TEX, elapsed_TE * ~done_TE)


def _started(family: PhysicsFamily, state_TEX: Tensor, done_TE: Tensor, p: Values, draws_TED: Tensor) -> Tensor:
    """The states with starts where episodes ended; no others are computed, as a simulator's may take many steps."""
    if not done_TE.any():
        return state_TEX
    chosen = {name: value.expand(done_TE.shape)[done_TE].unsqueeze(1) for name, value in p.items()}
    state_TEX = state_TEX.clone()
    state_TEX[done_TE] = family.start(draws_TED[done_TE].unsqueeze(1), chosen).squeeze(1)
    return state_TEX


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
            device: device of all tensors.
            dtype: float32 or float64.
            seed: seed of the starts.

        Raises:
            InputError: the shape of ``variants_TP`` or ``copies`` is out of range.
        """
        self._state_dtype = torch.float64 if family.simulated else dtype
        super().__init__(family, variants_TP, copies, device, self._state_dtype)
        self.dtype = dtype
        self.generator = torch.Generator(self.device).manual_seed(seed)
        """What starts are drawn with."""
        self.values = family.values(self.variants_TP)
        """Parameter name -> (T, 1), always those of now."""
        self.moment = self._begun(self._starts())

    def draw(self, *steps: int, variants: int | None = None) -> Tensor:
        """The uniform draws (*steps, T, E, draws) of which further starts are made; steps drawn at once are equal."""
        shape = (*steps, variants or self.num_variants, self.copies, self.family.draws)
        return torch.rand(shape, generator=self.generator, device=self.device, dtype=self._state_dtype)

    def _starts(self, paired: bool = False, judged: bool = False) -> Tensor:
        draws = self.draw(variants=1 if paired else None)
        start = self.family.judged_start if judged and self.family.judged_start else self.family.start
        return start(draws.expand(self.num_variants, -1, -1), self.values)

    def observe(self) -> Tensor:
        """The observations (T * E, O) of now."""
        return self._observe(self.moment.state_TEX)

    def go_on(self, moment: Moment) -> None:
        """Stand there from now on, in the tensors that hold the present moment."""
        for now, new in zip(self.moment, moment, strict=True):
            now.copy_(new)

    def _begun(self, state_TEX: Tensor) -> Moment:
        shape = self.num_variants, self.copies
        return Moment(state_TEX.clone(), torch.zeros(shape, dtype=torch.int64, device=self.device))

    def _observe(self, state_TEX: Tensor) -> Tensor:
        return self.family.observe(state_TEX, self.values).reshape(self.num_envs, -1).to(self.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start every copy anew and return observations (T * E, O)."""
        if seed is not None:
            self.generator.manual_seed(seed)
        if self.family.drift:
            self._restart_drift(self._drift_start_TP, torch.ones_like(self._drift_step_T, dtype=torch.bool))
        paired = bool(options and options.get("paired"))
        start_TEX = self._starts(paired, judged=paired or bool(options and options.get("judged")))
        self.moment = self._begun(start_TEX)
        return self._observe(start_TEX), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take actions (T * E,) or (T * E, A); return observations, rewards, both ends and infos."""
        action = actions.view(self.num_variants, self.copies, *actions.shape[1:])
        state_TEX, elapsed_TE = self.moment
        final_TEX, reward_TE, terminated_TE = self.family.step(state_TEX, action, self.values)
        self._drift(self.generator)
        truncated_TE, self.moment = settle(self.family, final_TEX, terminated_TE, elapsed_TE, self.values, self.draw())
        info = {"final_obs": self._observe(final_TEX), "_final_obs": (terminated_TE | truncated_TE).flatten()}
        return (
            self.observe(),
            reward_TE.flatten().to(self.dtype),
            terminated_TE.flatten(),
            truncated_TE.flatten(),
            info,
        )

    def replace(self, variants_TP: np.ndarray, replaced_T: np.ndarray) -> Tensor:
        """Set new variants (T, P) where ``replaced_T`` (T,) is true, start those anew, and observe."""
        mask_T = torch.as_tensor(replaced_T, device=self.device)
        fresh_TP = torch.as_tensor(variants_TP, dtype=self._state_dtype, device=self.device)
        self._restart_drift(fresh_TP, mask_T)
        state_TEX, elapsed_TE = self.moment
        state_TEX = torch.where(mask_T.view(-1, 1, 1), self._starts(), state_TEX)
        self.go_on(Moment(state_TEX, elapsed_TE * ~mask_T.unsqueeze(1)))
        return self._observe(state_TEX)

    def put(self, variants_TP: np.ndarray) -> None:
        """Set variants (T, P), from which the next ``reset`` starts."""
        fresh_TP = torch.as_tensor(variants_TP, dtype=self._state_dtype, device=self.device)
        self._restart_drift(fresh_TP, torch.ones_like(self._drift_step_T, dtype=torch.bool))

    def change(self, variants_TP: Tensor) -> None:
        """Change the parameters to (T, P); every copy continues from its state."""
        self.variants_TP.copy_(variants_TP)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        return {
            "variants_TP": self.variants_TP.clone(),
            **{name: now.clone() for name, now in self.moment._asdict().items()},
            "generator": self.generator.get_state(),
            "drift_start_TP": self._drift_start_TP.clone(),
            "drift_step_T": self._drift_step_T.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Restore a ``state_dict``; the observations (T * E, O), and that no copy (T * E,) had to begin anew."""
        self.variants_TP.copy_(state["variants_TP"])
        self.go_on(Moment(**{name: state[name] for name in Moment._fields}))
        self._drift_start_TP.copy_(state["drift_start_TP"])
        self._drift_step_T.copy_(state["drift_step_T"])
        self.generator.set_state(state["generator"].cpu())
        anew_N = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return self.observe(), anew_N


class VariantEnv(SingleEnv):
    """A family's physics in float64 for one variant, with its parameters as keyword arguments.

    ``reset(seed=...)`` draws the same start as Gymnasium's environment (MuJoCo's tasks: another start of the same
    distribution), from ``judged_start`` if the family has one. ``render`` uses Gymnasium's renderer, with the variant's
    parameters.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 30}  # noqa: RUF012  as Gymnasium declares it
    family: PhysicsFamily

    def __init__(self, family: PhysicsFamily, render_mode: str | None = None, **parameters: float) -> None:
        """Set up one variant.

        Args:
            family: the family.
            render_mode: ``None``, ``"human"`` or ``"rgb_array"``.
            parameters: values in SI units; the others keep their defaults.

        Raises:
            InputError: as ``Family.variant``, or a render mode for a family without a renderer.
        """
        if family.twin is None:
            self.metadata = {**self.metadata, "render_modes": []}
            if render_mode:
                raise InputError(f"render_mode={render_mode!r}: family {family.name!r} has no renderer; use None")
        self.render_mode, self._twin = render_mode, None
        # of their own, because spaces hold generators
        self.observation_space, self.action_space = copy.deepcopy((family.observation_space, family.action_space))
        self.state = np.zeros(0)
        self._begin(family, parameters)
        self._dress()

    def _dress(self) -> None:
        """Take spaces and renderer from a twin of the context."""
        family = self.family
        if family.twin is not None and (self.render_mode or not family.simulated):
            self.close()
            twin = family.twin(render_mode=self.render_mode, **self._context)
            modes = twin.metadata.get("render_modes", [])
            if self.render_mode not in (None, *modes):
                raise InputError(
                    f"render_mode={self.render_mode!r}: unknown to family {family.name!r}; choose from None, "
                    f"{', '.join(modes)}"
                )
            self.observation_space, self.action_space = twin.observation_space, twin.action_space
            self.metadata = twin.metadata
            self._show_in(twin if self.render_mode else None)

    def _show_in(self, twin: Any) -> None:
        """Draw the present state with another twin from now on."""
        self._twin = twin
        if twin is not None and self.state.size:
            self.family.show(twin, self.state, None)

    def __getstate__(self) -> dict[str, Any]:
        """All but the renderer, which holds a window or a surface."""
        return {**vars(self), "_twin": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.render_mode and self.family.twin is not None:
            self._show_in(self.family.twin(render_mode=self.render_mode, **self._context))

    def set_context(self, context: Mapping[str, float]) -> None:
        """Set the variant at once; drift continues from it.

        Raises:
            InputError: as ``Family.variant``, or the context is not a mapping.
        """
        super().set_context(context)
        self._dress()

    @property
    def _values(self) -> dict[str, Tensor]:
        return {name: torch.tensor([[value]], dtype=torch.float64) for name, value in self._context.items()}

    def _observe(self, state: Tensor, action: Any) -> np.ndarray:
        self.state = state[0, 0].numpy()
        if self._twin is not None:
            self.family.show(self._twin, self.state, action)
            if self.render_mode == "human":
                self._twin.render()
        return self.family.observe(state, self._values)[0, 0].numpy().astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draw a start.

        Raises:
            InputError: an option is none of the family's ``options``, or the twin refuses it.
        """
        unknown = set(options or {}) - set(self.family.options)
        if unknown:
            known = f"choose from {', '.join(self.family.options)}" if self.family.options else "leave them out"
            raise InputError(f"options={options}: family {self.family.name!r} has no such options of reset; {known}")
        super().reset(seed=seed)
        self._restart()
        if options:
            return self._observe(self._start_of_twin(options), None), {}
        draws = torch.as_tensor(self.np_random.random((1, 1, self.family.draws)))
        start = self.family.judged_start or self.family.start
        return self._observe(start(draws, self._values), None), {}

    def _start_of_twin(self, options: dict[str, Any]) -> Tensor:
        assert self.family.twin is not None
        twin = self.family.twin(**self._context).unwrapped
        twin.np_random = self.np_random
        try:
            twin.reset(options=options)
        except OTHERS_ERRORS as error:
            raise InputError(f"options={options}: refused by the environment: {one_line(error)}") from None
        return torch.as_tensor(np.array(twin.state, dtype=np.float64)).view(1, 1, -1)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one action.

        Raises:
            InputError: the action is not one of the discrete ones.
        """
        if isinstance(self.action_space, gymnasium.spaces.Discrete) and not self.action_space.contains(action):
            low = first(self.action_space)
            last = low + int(self.action_space.n) - 1
            raise InputError(f"action={action!r}: must be a whole number from {low} to {last}")
        state = torch.as_tensor(self.state, dtype=torch.float64).view(1, 1, -1)
        action_11 = torch.as_tensor(np.asarray(action)).view(1, 1, *np.shape(action))
        state, reward, terminated = self.family.step(state, action_11, self._values)
        truncated = self._pass()
        return self._observe(state, action), float(reward), bool(terminated), truncated, {}

    def render(self) -> Any:
        """Draw the current state with Gymnasium's renderer."""
        return None if self._twin is None else self._twin.render()

    def close(self) -> None:
        """Close the renderer."""
        if self._twin is not None:
            self._twin.close()
