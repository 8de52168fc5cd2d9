"""Parameters, families, their splits, and how a variant is encoded for a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.drift import Drift, Schedule, Walk
from hyperrl.envs.errors import InputError, number, one_line

if TYPE_CHECKING:
    from hyperrl.envs.vector import VariantVectorEnv

Values = Mapping[str, Tensor]
"""Parameter name -> tensor that broadcasts against (T, E)."""

SPLITS = ("train", "validation", "interpolation", "extrapolation", "combination")

_RESERVED = ("self", "family", "render_mode", "id", "max_episode_steps", "disable_env_checker")
"""Keywords that stand beside the parameters' in ``single`` and ``gymnasium.make``."""


@dataclass(frozen=True)
class Parameter:
    """One physical or reward number of a task.

    Raises:
        InputError: the name cannot be a keyword argument; a range is not two numbers, or ``bounds`` no interval; the
            ranges are not nested as ``train`` within ``wide`` within ``bounds``; the default lies outside ``bounds``;
            or ``gap`` or ``period`` do not fit ``train``.
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
    gap: float = 0.0
    """Values nearer to 0 than this are never drawn, and both signs are drawn equally often: ``train=(-3, 3)`` with
    ``gap=1`` trains on -3 to -1 and on 1 to 3."""
    period: float = 0.0
    """One whole turn, where the parameter is an angle: it is encoded as cosine and sine. 0 where it is none."""
    distractor: bool = False
    """Declared to have no effect. Splits held out from training hold it at its default; it may train on one value."""

    def __post_init__(self) -> None:
        who, taken = f"parameter {self.name!r}", ", ".join(_RESERVED)
        free = isinstance(self.name, str) and self.name.isidentifier() and not iskeyword(self.name)
        if not free or self.name in _RESERVED:
            raise InputError(f"{who}: the name must be a Python identifier, no keyword of Python, and none of {taken}")
        for name in ("train", "wide"):
            object.__setattr__(self, name, _ends(f"{who}: {name}", getattr(self, name)))
        for name in ("default", "gap", "period"):
            object.__setattr__(self, name, number(f"{who}: {name}", getattr(self, name)))
        try:
            low, high = self.limits
        except (AttributeError, TypeError, ValueError):
            low, high = math.nan, math.nan
        if not low < high or self.bounds[0] not in "([" or self.bounds[-1] not in ")]":
            raise InputError(f"{who}: bounds={self.bounds!r}: must be an interval, as in '(0, 10]'")
        nested = low <= self.wide[0] <= self.train[0] <= self.train[1] <= self.wide[1] <= high
        if not (nested and (self.train[0] < self.train[1] or self.distractor)):
            raise InputError(
                f"{who}: train {_span(self.train)} must lie within wide {_span(self.wide)}, "
                f"and wide within {self.bounds}; mend the ranges"
            )
        for value in (self.default, *self.train, *self.wide):
            if not self.admits(value):
                raise InputError(f"{who}: {value:g} must be within {self.bounds}")
        if self.gap and not (0 < self.gap <= -self.train[0] and self.gap <= self.train[1]):
            raise InputError(
                f"{who}: gap={self.gap:g} must be above 0, and leave values of both signs within train "
                f"{_span(self.train)}; mend it"
            )
        if self.period and not self.train[1] - self.train[0] <= self.period < math.inf:
            raise InputError(f"{who}: period={self.period:g} must be at least as long as train {_span(self.train)}")

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
        the logarithm and the reciprocal, unless ``bounds`` admit 0. An angle gives its cosine and sine instead, and
        a parameter that trains on one value itself.
        """
        low, high = self.train
        if self.period:
            turn_T = value_T * (2 * math.pi / self.period)
            return [turn_T.cos(), turn_T.sin()]
        if low == high:
            return [value_T]
        features = [_scale(value_T, low, high)]
        if low < 0 < high:
            features.append(torch.sign(value_T))
        elif not self.admits(0.0) and low * high > 0 and max(low / high, high / low) >= 10:
            features.append(_scale(value_T.abs().log(), math.log(abs(low)), math.log(abs(high))))
            features.append(_scale(1 / value_T, 1 / low, 1 / high))
        return features

    def coordinate(self, value_T: Tensor) -> Tensor:
        """Values (T,) as numbers within [-1, 1] over the training range, or as angles in radians; see ``decode``."""
        return value_T * (2 * math.pi / self.period) if self.period else _scale(value_T, *self.train)

    @property
    def unit_coordinate(self) -> float:
        """How much of the parameter one of its coordinate is."""
        return self.period / (2 * math.pi) if self.period else (self.train[1] - self.train[0]) / 2

    def decode(self, coordinate_T: Tensor) -> Tensor:
        """Coordinates (T,) as values (T,): angles within the turn that begins at ``train``, others within ``wide``."""
        low, high = self.train
        if self.period:
            return low + (coordinate_T * (self.period / (2 * math.pi)) - low) % self.period
        return ((low + high) / 2 + (high - low) / 2 * coordinate_T).clamp(*self.wide)

    def place(self, unit: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
        """Carry uniform draws in [0, 1) to the range ``ends``, around the gap."""
        low, high = ends
        if not self.gap:
            return low + (high - low) * unit
        negative, positive = low + (-self.gap - low) * 2 * unit, self.gap + (high - self.gap) * (2 * unit - 1)
        return np.where(unit < 0.5, negative, positive)

    def outside(self, values: np.ndarray) -> np.ndarray:
        """How far values lie outside what is trained on, in half-ranges; 0 inside, and for a distractor."""
        low, high = self.train
        if self.distractor:
            return np.zeros_like(values)
        if self.period:
            values = low + (values - low) % self.period
        half = (high - low) / 2
        return np.maximum(np.maximum(np.abs(values - (low + high) / 2) - half, self.gap - np.abs(values)), 0) / half


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


def _intervals(name: str, given: Any) -> tuple[tuple[float, float], ...]:
    """One interval, or several, as a tuple of intervals."""
    several = isinstance(given, list | tuple) and len(given) > 0 and all(isinstance(x, list | tuple) for x in given)
    return tuple(_ends(name, ends) for ends in (given if several else [given]))


@dataclass(frozen=True, eq=False)
class Family:
    """A contextual MDP: one task, its parameters and their splits.

    How the task is simulated is said by a subclass, in ``vector`` and ``single``.
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
    held_out: Mapping[str, Any] = field(default_factory=dict)
    """Region of the training box that is never trained on, the combination split: parameter name -> a range, or
    several; kept as a tuple of ranges."""
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Splits that are lists of variants (n, P) instead of draws from the ranges: published grids."""
    drift: Drift = field(default_factory=dict)
    """Parameters that change within an episode, each with a ``Walk`` or a ``Schedule``; none by default. All copies
    of a variant drift together, from its parameters on, whichever of them start anew meanwhile: walks go on, schedules
    begin anew every ``max_episode_steps`` steps. In a single environment both begin anew with every episode."""
    env_id: str = ""
    """Id of the registered single environment."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Tuned settings for whoever trains on the family; not read in this package room."""
    expert: Mapping[str, Any] = field(default_factory=dict)
    """Published settings for training on one variant alone; not read in this package room."""
    solved: float | None = None
    """Return at which the task counts as solved, where its authors name one."""
    source: str = ""
    """Where the physics comes from."""

    def __post_init__(self) -> None:
        self._check_parameters()
        names, steps = self.names, number(f"family {self.name!r}: max_episode_steps", self.max_episode_steps)
        if not steps >= 1 or steps % 1:
            raise InputError(
                f"family {self.name!r}: max_episode_steps={self.max_episode_steps} must be 1 or more, a whole number"
            )
        object.__setattr__(self, "max_episode_steps", int(steps))
        held_out = {
            name: _intervals(f"family {self.name!r}: held_out {name}", given) for name, given in self.held_out.items()
        }
        object.__setattr__(self, "held_out", held_out)
        for name, intervals in held_out.items():
            train = self[name].train
            for low, high in intervals:
                if not train[0] <= low < high <= train[1]:
                    raise InputError(
                        f"family {self.name!r}: held_out {name}={_span((low, high))} must lie within its "
                        f"training range {_span(train)}"
                    )
        if held_out and all(self[name].train in intervals for name, intervals in held_out.items()):
            raise InputError(f"family {self.name!r}: held_out leaves nothing to train on; make it smaller")
        for split, rows in self.fixed.items():
            if split not in SPLITS or np.ndim(rows) != 2 or not len(rows) or np.shape(rows)[1] != len(names):
                raise InputError(
                    f"family {self.name!r}: fixed {split!r} of shape {np.shape(rows)} must be a split's name and "
                    f"variants (n, {len(names)}) with n >= 1; choose from {', '.join(SPLITS)}"
                )
        for name, change in self.drift.items():
            self[name]
            if not isinstance(change, Walk | Schedule):
                raise InputError(f"family {self.name!r}: drift of {name!r} is {change!r}; must be a Walk or a Schedule")
        for name in ("held_out", "fixed", "drift", "training", "expert"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def _check_parameters(self) -> None:
        if not isinstance(self.parameters, list | tuple) or not all(isinstance(p, Parameter) for p in self.parameters):
            raise InputError(f"family {self.name!r}: parameters={self.parameters!r}: must be a tuple of Parameter")
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters or len(set(self.names)) != len(self.names):
            names = list(self.names)
            raise InputError(f"family {self.name!r}: needs one or more parameters with different names, got {names}")

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = ", ".join(self.names)
        raise InputError(f"{name}: unknown parameter of family {self.name!r}; choose from {known}")

    @property
    def region(self) -> str:
        """The held-out region in words: ``length 0.25 to 0.5, gravity 11.5 to 15``; empty where there is none."""
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
        return self.distance(table_TP) == 0

    def range_note(self, table_TP: np.ndarray) -> str:
        """One line on the variants (T, P) that lie outside the training ranges, empty where none does."""
        outside = ~self.in_training_ranges(table_TP)
        if len(table_TP) > 1:
            count = f"{int(outside.sum())} of {len(table_TP)}"
            return f"{count} variants lie outside the training ranges of {self.name}" if outside.any() else ""
        return "; ".join(
            f"{p.name}={value:g} lies outside the training range {p.train[0]:g} to {p.train[1]:g} {p.unit}"
            + (f" without the gap {-p.gap:g} to {p.gap:g}" if p.gap else "")
            for p, value in zip(self.parameters, table_TP.flat, strict=True)
            if p.outside(value)
        )

    def is_held_out(self, table_TP: np.ndarray) -> np.ndarray:
        """Whether each variant (T, P) lies in the held-out region: (T,)."""
        if not self.held_out:
            return np.zeros(len(table_TP), dtype=bool)
        inside = np.ones(len(table_TP), dtype=bool)
        for name, intervals in self.held_out.items():
            values_T = table_TP[:, self.names.index(name)]
            inside &= np.any([(values_T >= low) & (values_T <= high) for low, high in intervals], axis=0)
        return inside

    def distance(self, table_TP: np.ndarray) -> np.ndarray:
        """How far each variant (T, P) lies outside training, in half-ranges of the worst parameter: (T,)."""
        return np.max([p.outside(table_TP[:, i]) for i, p in enumerate(self.parameters)], axis=0)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` training variants (n, P), uniform over the training box without the held-out region."""
        if "train" in self.fixed:
            return self.fixed["train"][rng.integers(len(self.fixed["train"]), size=n)]
        return self._draw("train", n, rng)

    def variants(self, split: str, n: int) -> np.ndarray:
        """The first ``n`` variants (n, P) of a split, always the same: ``variants(s, 8)`` begins ``variants(s, 64)``.

        A split that is a list gives all that it has where it has fewer.

        Raises:
            InputError: the split is unknown, or the family has no variants in it.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r}: unknown; choose from {', '.join(SPLITS)}")
        if split not in ("train", *self.splits):
            raise InputError(f"split {split!r}: family {self.name!r} has no variants in it; choose another split")
        if n < 1:
            raise InputError(f"variants={n}: must be 1 or more; choose how many of the split")
        rng = np.random.default_rng((0, SPLITS.index(split)))
        if split in self.fixed:
            return rng.permutation(self.fixed[split])[:n]
        return self._draw(split, n, rng)

    def _draw(self, split: str, n: int, rng: np.random.Generator) -> np.ndarray:
        accepted = np.empty((0, len(self.names)))
        # a distractor held at one value takes no draw, so that a family has the same variants with and without it
        drawn = [i for i, p in enumerate(self.parameters) if p.train[0] < p.train[1]]
        for _ in range(max(1000, n)):
            # rows come one after the other, so that a longer draw begins with a shorter one
            unit = np.zeros((256, len(self.names)))
            unit[:, drawn] = rng.random((256, len(drawn)))
            rows = np.stack([self._place(split, p, unit[:, i]) for i, p in enumerate(self.parameters)], axis=1)
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

    def _place(self, split: str, parameter: Parameter, unit: np.ndarray) -> np.ndarray:
        """Carry uniform draws (n,) to one parameter's values in a split."""
        if parameter.distractor and split not in ("train", "validation"):
            return np.full_like(unit, parameter.default)
        if split == "combination" and parameter.name in self.held_out:
            # one draw picks the interval and the place in it
            place, intervals = unit * len(self.held_out[parameter.name]), np.array(self.held_out[parameter.name])
            low, high = intervals[place.astype(int)].T
            return low + (high - low) * (place % 1)
        return parameter.place(unit, parameter.wide if split == "extrapolation" else parameter.train)

    def variant_action_space(self, variant: Mapping[str, float]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """Actions of one copy of a variant: the family's, unless the task derives them from its parameters."""
        return self.action_space

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
            InputError: as ``variant``, or a render mode that the task has not.
        """
        raise NotImplementedError

    def in_process(self) -> Family:
        """The same family, stepped in this process whatever it says: so that judging many variants starts none."""
        return self

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

    @property
    def inferable(self) -> tuple[int, ...]:
        """Columns of (T, P) that transitions can tell: all but distractors."""
        return tuple(i for i, parameter in enumerate(self.parameters) if not parameter.distractor)

    def coordinates(self, variants_TP: Tensor) -> Tensor:
        """Variants (T, P) as one number (T, Z) for each inferable parameter; see ``Parameter.coordinate``."""
        return torch.stack([self.parameters[i].coordinate(variants_TP[:, i]) for i in self.inferable], dim=1)

    def decode(self, coordinates_TZ: Tensor) -> Tensor:
        """Coordinates (T, Z) as variants (T, P), distractors in the middle of their training range."""
        columns = [torch.full_like(coordinates_TZ[:, 0], sum(parameter.train) / 2) for parameter in self.parameters]
        for i, coordinate_T in zip(self.inferable, coordinates_TZ.unbind(1), strict=True):
            columns[i] = self.parameters[i].decode(coordinate_T)
        return torch.stack(columns, dim=1)

    def nearest(self, variants_TP: Tensor) -> Tensor:
        """The nearest variants (T, P) within the training ranges; angles as they are, and gaps not looked at."""
        columns = zip(self.parameters, variants_TP.unbind(1), strict=True)
        return torch.stack([value_T if p.period else value_T.clamp(*p.train) for p, value_T in columns], dim=1)

    def expected_context(self, variants_BMP: Tensor, weight_BM: Tensor) -> Tensor:
        """Contexts (B, C) where of each variant only M draws are known, and their weights, which sum to 1.

        Features are averaged, so that a sign in doubt is none; an angle's are those of the mean direction.
        """
        columns: list[Tensor] = []
        for parameter, value_BM in zip(self.parameters, variants_BMP.unbind(2), strict=True):
            features = parameter.features(value_BM.flatten())
            means = [(weight_BM * feature.view_as(weight_BM)).sum(1) for feature in features]
            length = torch.stack(means).norm(dim=0) if parameter.period else 1.0
            columns += [mean / length for mean in means]
        return torch.stack(columns, dim=1)

    def check(self) -> None:
        """Try what a user may have declared wrongly: spaces and drift here, the simulation in subclasses.

        Raises:
            InputError: a space is of another kind, drift fails or leaves the bounds, or the simulation fails.
        """
        space = self.action_space
        if not (isinstance(self.observation_space, gymnasium.spaces.Box) and len(self.observation_space.shape) == 1):
            raise InputError(f"family {self.name!r}: observation_space must be a Box of shape (O,)")
        discrete = isinstance(space, gymnasium.spaces.Discrete) and space.start == 0
        if not (discrete or (isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1)):
            raise InputError(f"family {self.name!r}: action_space must be a Box of shape (A,), or a Discrete from 0")
        step_T = torch.arange(self.max_episode_steps) * 1.0
        for name, change in self.drift.items():
            for value in self[name].train:
                start_T = torch.full_like(step_T, value)
                try:
                    after_T = change(start_T, start_T, step_T, step_T * 0, self[name])
                except Exception as error:
                    raise InputError(
                        f"family {self.name!r}: drift of {name!r} raised {one_line(error)}; a Schedule's "
                        "function takes (start (T,), step (T,))"
                    ) from None
                if not isinstance(after_T, Tensor) or after_T.shape != step_T.shape:
                    got = tuple(after_T.shape) if isinstance(after_T, Tensor) else type(after_T).__name__
                    raise InputError(
                        f"family {self.name!r}: drift of {name!r} must answer with a tensor (T,) = "
                        f"{tuple(step_T.shape)}; got {got}"
                    )
                for end in (after_T.min(), after_T.max()):
                    self._checked(name, float(end))

    def values(self, variants_TP: Tensor) -> dict[str, Tensor]:
        """Variants (T, P) as what the physics takes: one tensor (T, 1) a parameter."""
        return {name: value_T.unsqueeze(1) for name, value_T in zip(self.names, variants_TP.unbind(1), strict=True)}
