"""A task, its parameters and their splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from torch import Tensor

import hyperrl.envs.context as contexts
import hyperrl.envs.splits as splitting
from hyperrl.envs.drift import Drift, Schedule, Walk
from hyperrl.envs.errors import OTHERS_ERRORS, InputError, number, one_line
from hyperrl.envs.parameter import MOST_LETTERS, Parameter, span, two_ends
from hyperrl.envs.splits import SPLITS
from hyperrl.envs.vector import VariantVectorEnv

MOST_VARIANTS = 1_000_000
"""Of a split: they are drawn in seconds and held in memory."""
MOST_SPELLED = 6
"""Parameters of a variant in one line of words."""


_NAME = re.compile(rf"\w[\w.-]{{0,{MOST_LETTERS - 1}}}")


def _intervals(name: str, given: Any) -> tuple[tuple[float, float], ...]:
    """One interval, or several, as a tuple of intervals."""
    several = isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(x, list | tuple) for x in given)
    return tuple(two_ends(name, ends) for ends in (given if several else [given]))


def _is_flat(space: Any) -> bool:
    numbers = isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.number)
    return numbers and len(space.shape) == 1 and space.shape[0] >= 1


def _named(space: Any) -> str:
    return f"{type(space).__name__} of shape {getattr(space, 'shape', None)}"


@dataclass(frozen=True, eq=False)
class Family:
    """A contextual MDP: one task, its parameters and their splits.

    A subclass says how the task is simulated, in ``vector`` and ``single``.
    """

    name: str
    """Registered name, as in ``hyperrl train NAME``."""
    parameters: tuple[Parameter, ...]
    """Every number in which variants differ."""
    observation_space: gymnasium.spaces.Box
    """Observations of one copy, shape (O,)."""
    action_space: gymnasium.spaces.Box | gymnasium.spaces.Discrete
    """Actions of one copy: Box (A,) of real or whole numbers, or Discrete. Holds the actions of every variant."""
    max_episode_steps: int
    """Steps after which an episode is truncated."""
    held_out: Mapping[str, Any] = field(default_factory=dict)
    """Region of the training box that is never trained on, the combination split: parameter name -> a range, or
    several; kept as a tuple of ranges."""
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Splits that are lists of variants (n, P) instead of draws from the ranges: published grids."""
    drift: Drift = field(default_factory=dict)
    """Parameters that change within an episode, each with a ``Walk`` or a ``Schedule``; none by default. All copies
    of a variant drift together from its parameters. When a copy starts an episode, the drift is not reset: walks
    continue, and schedules begin anew every ``max_episode_steps`` steps. In a single environment both begin anew with
    every episode."""
    env_id: str = ""
    """Id of the registered single environment."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Tuned settings of training, for a user's one-file family; not read in this package."""
    expert: Mapping[str, Any] = field(default_factory=dict)
    """Settings of experts, for a user's one-file family; not read in this package."""
    solved: float | None = None
    """Return at which the task counts as solved; ``None`` if its authors name none."""
    source: str = ""
    """Source of the physics."""
    origin: str = ""
    """Name of the family that this one was made from by ``dataclasses.replace``, or else this family's name."""

    def __post_init__(self) -> None:
        self._check_name()
        self._check_parameters()
        object.__setattr__(self, "origin", self.origin or self.name)
        self._check_steps()
        self._check_held_out()
        self._check_fixed()
        for name, change in self.drift.items():
            self[name]
            if not isinstance(change, Walk | Schedule):
                raise InputError(f"family {self.name!r}: drift of {name!r} is {change!r}; must be a Walk or a Schedule")
        for name in ("training", "expert"):
            given = getattr(self, name)
            if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
                shown = f"family {self.name!r}: {name}={repr(given)[:60]}"
                raise InputError(f"{shown}: must be a dictionary of settings by their names")
        for name in ("held_out", "fixed", "drift", "training", "expert"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def _check_name(self) -> None:
        """The name is part of names of files and of commands."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            shown = repr(self.name) if len(repr(self.name)) <= 80 else f"{repr(self.name)[:80]}..."
            raise InputError(
                f"family {shown}: the name must be letters, digits, '_', '-' and '.', begin with a letter, a digit or "
                f"'_', and have at most {MOST_LETTERS} of them; choose another"
            )

    def _check_parameters(self) -> None:
        if not isinstance(self.parameters, list | tuple) or not all(isinstance(p, Parameter) for p in self.parameters):
            raise InputError(f"family {self.name!r}: parameters={self.parameters!r}: must be a tuple of Parameter")
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters or len(set(self.names)) != len(self.names):
            names = list(self.names)
            raise InputError(f"family {self.name!r}: needs one or more parameters with different names, got {names}")

    def _check_steps(self) -> None:
        steps = number(f"family {self.name!r}: max_episode_steps", self.max_episode_steps)
        if not steps >= 1 or steps % 1:
            raise InputError(
                f"family {self.name!r}: max_episode_steps={self.max_episode_steps} must be 1 or more, a whole number"
            )
        object.__setattr__(self, "max_episode_steps", int(steps))

    def _check_held_out(self) -> None:
        held_out = {
            name: _intervals(f"family {self.name!r}: held_out {name}", given) for name, given in self.held_out.items()
        }
        object.__setattr__(self, "held_out", held_out)
        for name, intervals in held_out.items():
            train = self[name].train
            for low, high in intervals:
                if not train[0] <= low < high <= train[1]:
                    raise InputError(
                        f"family {self.name!r}: held_out {name}={span((low, high))} must lie within its "
                        f"training range {span(train)}"
                    )
        if held_out and all(self[name].train in intervals for name, intervals in held_out.items()):
            raise InputError(f"family {self.name!r}: held_out leaves nothing to train on; make it smaller")

    def _check_fixed(self) -> None:
        width = len(self.parameters)
        for split, rows in self.fixed.items():
            if split not in SPLITS or np.ndim(rows) != 2 or not len(rows) or np.shape(rows)[1] != width:
                raise InputError(
                    f"family {self.name!r}: fixed {split!r} of shape {np.shape(rows)} must be a split's name and "
                    f"variants (n, {width}) with n >= 1; choose from {', '.join(SPLITS)}"
                )

    def __deepcopy__(self, memo: Any) -> Self:
        """The family itself: nothing in it changes."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """The fields, with plain mappings, because read-only ones cannot be pickled."""
        return {
            name: dict(value) if isinstance(value, MappingProxyType) else value for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, MappingProxyType(value) if isinstance(value, dict) else value)

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = ", ".join(self.names)
        raise InputError(f"{name}: unknown parameter of family {self.name!r}; choose from {known}")

    @property
    def region(self) -> str:
        """The held-out region in words, ``length 0.25 to 0.5, gravity 11.5 to 15``; empty without one."""
        return ", ".join(
            f"{name} {' and '.join(f'{low:g} to {high:g}' for low, high in intervals)}"
            for name, intervals in self.held_out.items()
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in the order of the columns of (T, P)."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def changeable(self) -> tuple[str, ...]:
        """Names of the parameters that act and may change within an episode."""
        return tuple(parameter.name for parameter in self.parameters if not parameter.distractor)

    @property
    def splits(self) -> tuple[str, ...]:
        """The held-out splits that have variants, in the order of ``SPLITS``."""
        wider = any(parameter.wide != parameter.train for parameter in self.parameters if not parameter.distractor)
        has = {"extrapolation": wider, "combination": bool(self.held_out)}
        return tuple(split for split in SPLITS[1:] if has.get(split, True) or split in self.fixed)

    @property
    def defaults(self) -> dict[str, float]:
        """The original task."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def variant(self, /, **values: float) -> dict[str, float]:
        """The original task with some parameters changed, checked.

        Raises:
            InputError: a name is unknown, or a value is not a number within the parameter's bounds.
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
        """Variants as an array (T, P) in SI units, checked; parameters that a variant leaves out have their defaults.

        Raises:
            InputError: as ``variant``.
        """
        rows = [[self.variant(**variant)[name] for name in self.names] for variant in variants]
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.names))

    def untable(self, table_TP: np.ndarray) -> list[dict[str, float]]:
        """Rows of (T, P) as one dictionary for each variant."""
        return [dict(zip(self.names, map(float, row), strict=True)) for row in table_TP]

    def spelled(self, variant_P: Iterable[float]) -> str:
        """``gravity=12 length=0.8``: a variant (P,) in a line of few words, its distractors left out."""
        acting = [(p.name, value) for p, value in zip(self.parameters, variant_P, strict=True) if not p.distractor]
        shown = [f"{name}={value:.4g}" for name, value in acting[:MOST_SPELLED]]
        return " ".join(shown) + (f" and {len(acting) - len(shown)} more" if len(acting) > len(shown) else "")

    def box(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends (P,) of the ``train`` or the ``wide`` ranges."""
        ends = np.array([getattr(parameter, kind) for parameter in self.parameters], dtype=np.float64)
        return ends[:, 0], ends[:, 1]

    def in_training_ranges(self, table_TP: np.ndarray) -> np.ndarray:
        """Whether every parameter of each variant (T, P) lies within its training range: (T,)."""
        return splitting.in_training_ranges(self.parameters, table_TP)

    def range_note(self, table_TP: np.ndarray) -> str:
        """One line about the variants (T, P) outside the training ranges; empty if there are none."""
        return splitting.range_note(self.name, self.parameters, table_TP)

    def is_held_out(self, table_TP: np.ndarray) -> np.ndarray:
        """Whether each variant (T, P) lies in the held-out region: (T,)."""
        return splitting.is_held_out(self.parameters, self.held_out, table_TP)

    def distance(self, table_TP: np.ndarray) -> np.ndarray:
        """How far each variant (T, P) lies outside training, in half-ranges of the worst parameter: (T,)."""
        return splitting.distance(self.parameters, table_TP)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` training variants (n, P), uniform over the training box without the held-out region."""
        if "train" in self.fixed:
            return self.fixed["train"][rng.integers(len(self.fixed["train"]), size=n)]
        return self._draw("train", n, rng)

    def variants(self, split: str, n: int) -> np.ndarray:
        """The first ``n`` variants (n, P) of a split, always the same: ``variants(s, 8)`` begins ``variants(s, 64)``.

        A split that is a list of fewer than ``n`` variants gives all of them.

        Raises:
            InputError: the split is unknown, or the family has no variants in it.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r}: unknown; choose from {', '.join(SPLITS)}")
        if split not in ("train", *self.splits):
            raise InputError(f"split {split!r}: family {self.name!r} has no variants in it; choose another split")
        if not 1 <= n <= MOST_VARIANTS:
            raise InputError(f"variants={n}: must be 1 or more, at most {MOST_VARIANTS}; choose how many of the split")
        rng = np.random.default_rng((0, SPLITS.index(split)))
        if split in self.fixed:
            return rng.permutation(self.fixed[split])[:n]
        return self._draw(split, n, rng)

    def _draw(self, split: str, n: int, rng: np.random.Generator) -> np.ndarray:
        return splitting.draw(self.name, self.parameters, self.held_out, split, n, rng)

    def variant_action_space(self, variant: Mapping[str, float]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """Action space of one copy of a variant: the family's, unless it depends on the parameters."""
        return self.action_space

    @property
    def simulators(self) -> int | None:
        """Number of copies that are judged at once; ``None`` where any number may be."""
        return None

    def at_once(self, copies: int, variants: int) -> int:
        """How many of some variants may be played at once, each by so many copies: at least 1."""
        return variants if self.simulators is None else min(variants, max(1, self.simulators // copies))

    @property
    def own_statistics(self) -> tuple[str, ...]:
        """Names of what normalises observations or rewards within the environment, by statistics of its own."""
        return ()

    @property
    def drawn(self) -> bool:
        """Whether the single environment renders."""
        raise NotImplementedError

    def vector(
        self,
        variants_TP: np.ndarray,
        copies: int = 1,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> VariantVectorEnv:
        """Variants (T, P) in SI units x copies, stepped together: see ``hyperrl.envs.vector``."""
        raise NotImplementedError

    def single(self, render_mode: str | None = None, **parameters: float) -> gymnasium.Env:
        """One variant as an ordinary environment, parameters in SI units; see ``hyperrl.envs.single``.

        Raises:
            InputError: as ``variant``, or the task does not have the render mode.
        """
        raise NotImplementedError

    @property
    def outside(self) -> bool:
        """Whether steps are computed outside Python's interpreter, which may do something else meanwhile."""
        return False

    def in_process(self) -> Family:
        """The same family, stepped in this process, so that playing many variants starts no other processes."""
        return self

    @property
    def context_size(self) -> int:
        """C, the width of an encoded variant."""
        return self.encode(torch.tensor([list(self.defaults.values())])).shape[1]

    def encode(self, variants_TP: Tensor) -> Tensor:
        """Encode variants (T, P) in SI units as a context (T, C), every feature about [-1, 1] in training."""
        return contexts.encode(self.parameters, variants_TP)

    @property
    def inferable(self) -> tuple[int, ...]:
        """Columns of (T, P) that can be inferred from transitions: all but distractors."""
        return contexts.inferable(self.parameters)

    def coordinates(self, variants_TP: Tensor) -> Tensor:
        """Variants (T, P) as one number (T, Z) for each inferable parameter; see ``Parameter.coordinate``."""
        return contexts.coordinates(self.parameters, variants_TP)

    def decode(self, coordinates_TZ: Tensor) -> Tensor:
        """Coordinates (T, Z) as variants (T, P), distractors in the middle of their training range."""
        return contexts.decode(self.parameters, coordinates_TZ)

    def nearest(self, variants_TP: Tensor) -> Tensor:
        """The nearest variants (T, P) within the training ranges. Angles stay as they are, and gaps are ignored."""
        return contexts.nearest(self.parameters, variants_TP)

    def expected_context(self, variants_BMP: Tensor, weight_BM: Tensor) -> Tensor:
        """Expected contexts (B, C) of distributions over variants: see ``hyperrl.envs.context``."""
        return contexts.expected_context(self.parameters, variants_BMP, weight_BM)

    def check(self) -> None:
        """Test a user's declarations: spaces and drift here, the simulation in subclasses.

        Raises:
            InputError: a space is of another kind, drift fails or leaves the bounds, or the simulation fails.
        """
        space = self.action_space
        what = f"family {self.name!r}"
        if not _is_flat(self.observation_space):
            raise InputError(
                f"{what}: observation_space {_named(self.observation_space)} must be a Box of shape (O,), O >= 1; "
                "make one vector of it, as gymnasium.wrappers.FlattenObservation does within `make`"
            )
        if not (isinstance(space, gymnasium.spaces.Discrete) or _is_flat(space)):
            raise InputError(
                f"{what}: action_space {_named(space)} must be a Box of numbers of shape (A,), A >= 1, or a "
                "Discrete; make one vector of it, as gymnasium.wrappers.TransformAction does within `make`"
            )
        for name in self.drift:
            for value in self[name].train:
                self._check_drift(name, value)

    def _check_drift(self, name: str, start: float) -> None:
        """Let one parameter drift from a start for a whole episode."""
        step_T = torch.arange(self.max_episode_steps) * 1.0
        start_T = torch.full_like(step_T, start)
        try:
            after_T = self.drift[name](start_T, start_T, step_T, step_T * 0, self[name])
        except OTHERS_ERRORS as error:
            raise InputError(
                f"family {self.name!r}: drift of {name!r} raised {one_line(error)}; a Schedule's "
                "function takes (start (T,), step (T,))"
            ) from None
        if not isinstance(after_T, Tensor) or after_T.shape != step_T.shape:
            got = tuple(after_T.shape) if isinstance(after_T, Tensor) else type(after_T).__name__
            raise InputError(
                f"family {self.name!r}: drift of {name!r} must return a tensor (T,) = {tuple(step_T.shape)}; got {got}"
            )
        for end in (after_T.min(), after_T.max()):
            self._checked(name, float(end))

    def values(self, variants_TP: Tensor) -> dict[str, Tensor]:
        """Variants (T, P) as arguments of the physics: one tensor (T, 1) for each parameter."""
        return {name: value_T.unsqueeze(1) for name, value_T in zip(self.names, variants_TP.unbind(1), strict=True)}
