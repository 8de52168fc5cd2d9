"""Parameters, families, their splits, and how a variant is encoded for a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.errors import InputError

Values = Mapping[str, Tensor]
"""Parameter name -> tensor that broadcasts against (T, E)."""

SPLITS = ("train", "validation", "interpolation", "extrapolation", "combination")


@dataclass(frozen=True)
class Parameter:
    """One physical or reward number of a task.

    Raises:
        InputError: a range is not two numbers, the ranges are not nested as ``train`` within ``wide`` within
            ``bounds``, or the default lies outside ``bounds``.
    """

    name: str
    """Keyword under which the parameter is set, a valid Python identifier."""
    unit: str
    """SI unit, or what one unit is where the task has none."""
    default: float
    """Value of the original task."""
    train: tuple[float, float]
    """Training range, both ends included."""
    wide: tuple[float, float]
    """Wider range that the extrapolation split is drawn from."""
    bounds: str = "(-inf, inf)"
    """Values for which the physics is defined, as an interval: ``"(0, 10]"`` leaves 0 out and 10 in."""
    note: str = ""
    """What the parameter is, in a few words."""

    def __post_init__(self) -> None:
        for name in ("train", "wide"):
            ends = _ends(f"parameter {self.name!r}: {name}", getattr(self, name))
            object.__setattr__(self, name, ends)
        try:
            object.__setattr__(self, "default", float(self.default))
        except (TypeError, ValueError):
            raise InputError(f"parameter {self.name!r}: default {self.default!r} must be a number") from None
        low, high = self.limits
        nested = low <= self.wide[0] <= self.train[0] < self.train[1] <= self.wide[1] <= high
        if not (self.name.isidentifier() and nested):
            raise InputError(
                f"parameter {self.name!r}: train {_span(self.train)} must lie within wide {_span(self.wide)}, "
                f"and wide within {self.bounds}; mend the ranges"
            )
        for value in (self.default, *self.train, *self.wide):
            if not self.admits(value):
                raise InputError(f"parameter {self.name!r}: {value:g} must be within {self.bounds}")

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of ``bounds`` as numbers."""
        low, high = self.bounds[1:-1].split(",")
        return float(low), float(high)

    def admits(self, value: float) -> bool:
        """Whether the physics is defined for ``value``."""
        low, high = self.limits
        above = value > low if self.bounds[0] == "(" else value >= low
        below = value < high if self.bounds[-1] == ")" else value <= high
        return math.isfinite(value) and above and below

    def features(self, value_T: Tensor) -> list[Tensor]:
        """Encode values (T,) as one or more features (T,), each about [-1, 1] over the training range.

        Centre and half-range first; a range that spans both signs adds the sign; one that spans a decade adds
        the logarithm and the reciprocal, unless ``bounds`` admit 0.
        """
        low, high = self.train
        features = [_scale(value_T, low, high)]
        if low < 0 < high:
            features.append(torch.sign(value_T))
        elif not self.admits(0.0) and low * high > 0 and max(low / high, high / low) >= 10:
            features.append(_scale(value_T.abs().log(), math.log(abs(low)), math.log(abs(high))))
            features.append(_scale(1 / value_T, 1 / low, 1 / high))
        return features


def _ends(name: str, ends: Any) -> tuple[float, float]:
    """A range as a tuple of two floats, whatever sequence it was given as."""
    try:
        low, high = map(float, ends)
    except (TypeError, ValueError):
        raise InputError(f"{name}={ends!r}: must be two numbers, as in (0.5, 2)") from None
    return low, high


def _span(ends: tuple[float, float]) -> str:
    return f"({ends[0]:g}, {ends[1]:g})"


def _scale(value_T: Tensor, low: float, high: float) -> Tensor:
    return (value_T - (low + high) / 2) / ((high - low) / 2)


def _identity(state: Tensor, p: Values) -> Tensor:
    return state


def _set_state(twin: Any, state: np.ndarray, action: Any) -> None:
    twin.state = state


@dataclass(frozen=True, eq=False)
class Family:
    """A contextual MDP: one task as pure functions over (T, E), its parameters and its splits.

    The physics functions take ``p``, a mapping from parameter name to a tensor that broadcasts against
    (T, E). They may use any float dtype and device, and must not branch on a tensor's value.
    """

    name: str
    """Registered name, as in ``hyperrl train NAME``."""
    parameters: tuple[Parameter, ...]
    """Every number that tells one variant from another."""
    observation_space: gymnasium.spaces.Box
    """Observations of one copy, shape (O,)."""
    action_space: gymnasium.spaces.Box | gymnasium.spaces.Discrete
    """Actions of one copy: Box (A,), or Discrete starting at 0. Holds the actions of every variant."""
    max_episode_steps: int
    """Steps after which an episode is truncated."""
    draws: int
    """How many uniform draws in [0, 1) one start takes."""
    start: Callable[[Tensor, Values], Tensor]
    """(draws (T, E, draws), p) -> state (T, E, X)."""
    step: Callable[[Tensor, Tensor, Values], tuple[Tensor, Tensor, Tensor]]
    """(state (T, E, X), action (T, E) or (T, E, A), p) -> next state, reward (T, E), terminated (T, E)."""
    observe: Callable[[Tensor, Values], Tensor] = _identity
    """(state (T, E, X), p) -> observation (T, E, O)."""
    held_out: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Sub-box of the training box that is never trained on: the combination split."""
    env_id: str = ""
    """Id of the registered single environment."""
    twin: Callable[..., Any] | None = None
    """``twin(render_mode=None, **parameters)``: Gymnasium's own environment with the parameters applied."""
    show: Callable[[Any, np.ndarray, Any], None] = _set_state
    """(twin, state (X,), action): put the state in the twin, so that its renderer draws it."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Tuned settings for whoever trains on the family; not read in this package room."""
    expert: Mapping[str, Any] = field(default_factory=dict)
    """Published settings for training on one variant alone; not read in this package room."""
    solved: float | None = None
    """Return at which the task counts as solved, where its authors name one."""
    source: str = ""
    """Where the physics comes from."""

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if not names or len(set(names)) != len(names):
            raise InputError(f"family {self.name!r}: needs one or more parameters with different names, got {names}")
        if int(self.max_episode_steps) < 1:
            raise InputError(f"family {self.name!r}: max_episode_steps={self.max_episode_steps} must be 1 or more")
        object.__setattr__(self, "max_episode_steps", int(self.max_episode_steps))
        held_out = {name: _ends(f"family {self.name!r}: held_out {name}", ends) for name, ends in self.held_out.items()}
        object.__setattr__(self, "held_out", held_out)
        for name, (low, high) in held_out.items():
            train = self[name].train
            if not train[0] <= low < high <= train[1]:
                raise InputError(
                    f"family {self.name!r}: held_out {name}={_span((low, high))} must lie within its "
                    f"training range {_span(train)}"
                )
        if held_out and all(ends == self[name].train for name, ends in held_out.items()):
            raise InputError(f"family {self.name!r}: held_out leaves nothing to train on; make it smaller")
        for name in ("held_out", "training", "expert"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = ", ".join(self.names)
        raise InputError(f"{name}: unknown parameter of family {self.name!r}; choose from {known}")

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in the order of the columns of (T, P)."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def splits(self) -> tuple[str, ...]:
        """The held-out splits that have variants, in the order of ``SPLITS``."""
        wider = any(parameter.wide != parameter.train for parameter in self.parameters)
        has = {"train": False, "extrapolation": wider, "combination": bool(self.held_out)}
        return tuple(split for split in SPLITS if has.get(split, True))

    @property
    def defaults(self) -> dict[str, float]:
        """The original task."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def variant(self, **values: float) -> dict[str, float]:
        """The original task with some parameters changed, checked.

        Raises:
            InputError: a name is unknown, or a value is no number within the parameter's bounds.
        """
        return self.defaults | {name: self._checked(name, value) for name, value in values.items()}

    def _checked(self, name: str, value: float) -> float:
        parameter = self[name]
        family = f"family {self.name!r}; the default is {parameter.default:g}"
        bound = f"{parameter.bounds} {parameter.unit} for {family}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise InputError(f"{name}={value}: must be a number within {bound}") from None
        if not parameter.admits(number):
            raise InputError(f"{name}={number}: must be within {bound}")
        return number

    def table(self, variants: Iterable[Mapping[str, float]]) -> np.ndarray:
        """Variants as an array (T, P) in SI units, checked; what a variant leaves out keeps its default.

        Raises:
            InputError: as ``variant``.
        """
        rows = [[self.variant(**variant)[name] for name in self.names] for variant in variants]
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.names))

    def untable(self, table_TP: np.ndarray) -> list[dict[str, float]]:
        """Rows of (T, P) as one dictionary a variant."""
        return [dict(zip(self.names, map(float, row), strict=True)) for row in table_TP]

    def box(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends (P,) of the ``train`` or the ``wide`` ranges."""
        ends = np.array([getattr(parameter, kind) for parameter in self.parameters], dtype=np.float64)
        return ends[:, 0], ends[:, 1]

    def in_training_ranges(self, table_TP: np.ndarray) -> np.ndarray:
        """Whether every parameter of each variant (T, P) lies within its training range: (T,)."""
        low, high = self.box("train")
        return np.all((table_TP >= low) & (table_TP <= high), axis=1)

    def range_note(self, table_TP: np.ndarray) -> str:
        """One line on the variants (T, P) that lie outside the training ranges, empty where none does."""
        outside = ~self.in_training_ranges(table_TP)
        if len(table_TP) > 1:
            count = f"{int(outside.sum())} of {len(table_TP)}"
            return f"{count} variants lie outside the training ranges of {self.name}" if outside.any() else ""
        return "; ".join(
            f"{p.name}={value:g} lies outside the training range {p.train[0]:g} to {p.train[1]:g} {p.unit}"
            for p, value in zip(self.parameters, table_TP.flat, strict=True)
            if not p.train[0] <= value <= p.train[1]
        )

    def is_held_out(self, table_TP: np.ndarray) -> np.ndarray:
        """Whether each variant (T, P) lies in the held-out sub-box: (T,)."""
        if not self.held_out:
            return np.zeros(len(table_TP), dtype=bool)
        inside = [
            (table_TP[:, self.names.index(name)] >= low) & (table_TP[:, self.names.index(name)] <= high)
            for name, (low, high) in self.held_out.items()
        ]
        return np.all(inside, axis=0)

    def distance(self, table_TP: np.ndarray) -> np.ndarray:
        """How far each variant (T, P) lies outside training, in half-ranges of the worst parameter: (T,)."""
        low, high = self.box("train")
        outside = np.abs(table_TP - (low + high) / 2) / ((high - low) / 2) - 1
        return np.maximum(outside, 0).max(axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` training variants (n, P), uniform over the training box without the held-out sub-box."""
        return self._draw("train", n, rng)

    def variants(self, split: str, n: int) -> np.ndarray:
        """The first ``n`` variants (n, P) of a split, fixed: ``variants(s, 8)`` begins ``variants(s, 64)``.

        Raises:
            InputError: the split is unknown, or the family has no variants in it.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r}: unknown; choose from {', '.join(SPLITS)}")
        if split not in ("train", *self.splits):
            raise InputError(f"split {split!r}: family {self.name!r} has no variants in it; choose another split")
        if n < 1:
            raise InputError(f"variants={n}: must be 1 or more; choose how many of the split")
        return self._draw(split, n, np.random.default_rng((0, SPLITS.index(split))))

    def _draw(self, split: str, n: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.box("wide" if split == "extrapolation" else "train")
        if split == "combination":
            for name, ends in self.held_out.items():
                low[self.names.index(name)], high[self.names.index(name)] = ends
        accepted = np.empty((0, len(self.names)))
        for _ in range(max(1000, n)):
            # rows come one after the other, so that a longer draw begins with a shorter one
            rows = rng.uniform(low, high, size=(256, len(low)))
            if split == "extrapolation":
                keep = ~self.in_training_ranges(rows)
            elif split == "combination":
                keep = np.ones(len(rows), dtype=bool)
            else:
                keep = ~self.is_held_out(rows)
            accepted = np.concatenate([accepted, rows[keep]])
            if len(accepted) >= n:
                return accepted[:n]
        raise InputError(
            f"split {split!r}: family {self.name!r} has hardly any variants in it; "
            f"make {'wide wider' if split == 'extrapolation' else 'held_out smaller'}"
        )

    def variant_action_space(self, variant: Mapping[str, float]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """Actions of one copy of a variant: its twin's space, or the family's where there is no twin."""
        return self.action_space if self.twin is None else self.twin(**variant).action_space

    @property
    def context_size(self) -> int:
        """C, the width of an encoded variant."""
        return self.encode(torch.tensor([list(self.defaults.values())])).shape[1]

    def encode(self, variants_TP: Tensor) -> Tensor:
        """Encode variants (T, P) in SI units as a context (T, C), every feature about [-1, 1] in training."""
        features = [
            feature
            for parameter, value_T in zip(self.parameters, variants_TP.unbind(1), strict=True)
            for feature in parameter.features(value_T)
        ]
        return torch.stack(features, dim=1)

    def check(self) -> None:
        """Try the spaces and the physics: start, observe and step a few copies once, in float32.

        Raises:
            InputError: a space is of another kind, or a function raises, or answers in another shape or dtype
                than it must.
        """
        space = self.action_space
        if not (isinstance(self.observation_space, gymnasium.spaces.Box) and len(self.observation_space.shape) == 1):
            raise InputError(f"family {self.name!r}: observation_space must be a Box of shape (O,)")
        discrete = isinstance(space, gymnasium.spaces.Discrete) and space.start == 0
        if not (discrete or (isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1)):
            raise InputError(f"family {self.name!r}: action_space must be a Box of shape (A,), or a Discrete from 0")
        # T and E equal no other size, so that a wrong broadcast cannot pass for a right one
        T, E = sorted(set(range(2, 7)) - {self.draws, *self.observation_space.shape, *(space.shape or ())})[:2]
        p = self.values(torch.as_tensor(self.variants("train", T), dtype=torch.float32))
        if isinstance(space, gymnasium.spaces.Discrete):
            action = torch.arange(T * E).view(T, E) % int(space.n)
        else:
            low, high = (torch.as_tensor(end, dtype=torch.float32) for end in (space.low, space.high))
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

        draws = torch.rand((T, E, self.draws), generator=torch.Generator().manual_seed(0))
        state = call("start", self.start, draws)
        size = state.shape[-1] if isinstance(state, Tensor) and state.ndim else 1
        expect("start's state", state, (T, E, size), "(T, E, X)", torch.float32)
        shape = (T, E, *self.observation_space.shape)
        expect("observe's observation", call("observe", self.observe, state), shape, "(T, E, O)", torch.float32)
        answer = call("step", self.step, state, action)
        if not isinstance(answer, tuple | list) or len(answer) != 3:
            raise InputError(f"family {self.name!r}: step must return (next state, reward, terminated)")
        expect("step's next state", answer[0], (T, E, size), "(T, E, X)", torch.float32)
        expect("step's reward", answer[1], (T, E), "(T, E)", torch.float32)
        expect("step's terminated", answer[2], (T, E), "(T, E)", torch.bool)

    def values(self, variants_TP: Tensor) -> dict[str, Tensor]:
        """Variants (T, P) as what the physics takes: one tensor (T, 1) a parameter."""
        return {name: value_T.unsqueeze(1) for name, value_T in zip(self.names, variants_TP.unbind(1), strict=True)}
