"""A parameter of a task: its ranges, and how its values are scaled and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperrl.envs.errors import InputError, number, printable

MOST_LETTERS = 64
"""Of a name or a unit, so that tables stay tables and names of files stay names."""

Values = Mapping[str, Tensor]
"""Parameter name -> tensor that broadcasts against (T, E)."""

SCALES = ("linear", "sign", "log", "reciprocal")
"""Features of a value; see ``Parameter.features``."""
SMALLEST = 0.2
"""Magnitude, in half-ranges, below which logarithm and reciprocal of a range with both signs and no gap are flat."""

_RESERVED = (
    *("self", "family", "render_mode", "id", "max_episode_steps", "disable_env_checker"),
    *("split", "episodes", "mode", "unknown"),
)
"""Other keywords of ``single``, ``gymnasium.make`` and a run's calls, which no parameter may have as its name."""


@dataclass(frozen=True)
class Parameter:
    """One physical or reward number of a task.

    Raises:
        InputError: the name cannot be a keyword argument; a range is not two numbers; ``bounds`` is not an interval;
            the ranges are not nested as ``train`` within ``wide`` within ``bounds``; the default lies outside
            ``bounds``; or ``gap`` or ``period`` do not fit ``train``.
    """

    name: str
    """Keyword under which the parameter is set, a valid Python identifier."""
    unit: str
    """SI unit, or the task's unit if it has no SI unit."""
    default: float
    """Value of the original task."""
    train: tuple[float, float]
    """Training range, both ends included."""
    wide: tuple[float, float]
    """Wider range, from which the extrapolation split is drawn."""
    bounds: str = "(-inf, inf)"
    """Values for which the physics is defined, as an interval: ``"(0, 10]"`` leaves 0 out and 10 in."""
    note: str = ""
    """Description in a few words."""
    gap: float = 0.0
    """Values nearer to 0 than this are never drawn, and both signs are drawn equally often: ``train=(-3, 3)`` with
    ``gap=1`` trains on -3 to -1 and on 1 to 3."""
    period: float = 0.0
    """One whole turn if the parameter is an angle, which is encoded as cosine and sine; else 0."""
    distractor: bool = False
    """Declared to have no effect. It has its default in the evaluation splits, and may train on one value."""
    scales: tuple[str, ...] = ()
    """Features that encode it, of ``SCALES``; empty: chosen from its range, see ``features``."""

    def __post_init__(self) -> None:
        who, taken = f"parameter {self.name!r}", ", ".join(_RESERVED)
        free = isinstance(self.name, str) and self.name.isidentifier() and not iskeyword(self.name)
        if not free or self.name in _RESERVED:
            raise InputError(f"{who}: the name must be a Python identifier, no keyword of Python, and none of {taken}")
        printable("parameter name", self.name, MOST_LETTERS)
        printable(f"{who}: unit", self.unit, MOST_LETTERS)
        printable(f"{who}: note", self.note, 1000)
        for name in ("train", "wide"):
            object.__setattr__(self, name, two_ends(f"{who}: {name}", getattr(self, name)))
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
                f"{who}: train {span(self.train)} must lie within wide {span(self.wide)}, "
                f"and wide within {self.bounds}; mend the ranges"
            )
        for value in (self.default, *self.train, *self.wide):
            if not self.admits(value):
                raise InputError(f"{who}: {value:g} must be within {self.bounds}")
        if self.gap and not (0 < self.gap <= -self.train[0] and self.gap <= self.train[1]):
            raise InputError(
                f"{who}: gap={self.gap:g} must be above 0, and leave values of both signs within train "
                f"{span(self.train)}; mend it"
            )
        if self.period and not self.train[1] - self.train[0] <= self.period < math.inf:
            raise InputError(f"{who}: period={self.period:g} must be at least as long as train {span(self.train)}")
        self._check_scales(who)

    def _check_scales(self, who: str) -> None:
        if not isinstance(self.scales, list | tuple) or not all(scale in SCALES for scale in self.scales):
            raise InputError(f"{who}: scales={self.scales!r}: must be some of {', '.join(SCALES)}; mend them")
        object.__setattr__(self, "scales", tuple(self.scales))
        if self.scales and (self.period or self.train[0] == self.train[1]):
            kind = "an angle" if self.period else "trained on one value"
            raise InputError(f"{who}: scales={self.scales!r}: it is {kind} and encoded as such; leave them out")
        one_sign = self.train[0] >= 0 or self.train[1] <= 0
        if {"log", "reciprocal"} & {*self.scales} and one_sign and self.admits(0.0):
            raise InputError(
                f"{who}: scales={self.scales!r}: log and reciprocal are infinite at 0, which bounds={self.bounds!r} "
                "holds; leave 0 out of bounds, or them"
            )

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

        An angle gives its cosine and sine, and a parameter that trains on one value gives the value. Any other one
        gives the features that ``encoding`` names:

        - linear: (v - centre) / half-range.
        - sign: that of v.
        - log: log |v|, scaled by its ends as linear is. Where the range has both signs: sign(v) log(1 + |v| / s), 1 at
          the end that is farther from 0, with s = ``gap``, or ``SMALLEST`` half-ranges where there is none.
        - reciprocal: 1 / v, scaled likewise. Where the range has both signs: sign(v) / (1 + |v| / s).
        """
        if self.period:
            turn_T = value_T * (2 * math.pi / self.period)
            return [turn_T.cos(), turn_T.sin()]
        if self.train[0] == self.train[1]:
            return [value_T]
        return [getattr(self, f"_{scale}")(value_T) for scale in self.encoding]

    @property
    def encoding(self) -> tuple[str, ...]:
        """Its ``scales``, or those of its range.

        Both signs: linear and sign, which serve a target. With a ``gap``, as factors have that are never 0: log,
        reciprocal and sign, or sign alone where nothing but the sign varies. One sign: linear; with log and reciprocal
        where the ends differ by a factor of 10 or more, unless 0 is within ``bounds``. docs/choosing.md has what each
        loses beyond the training range.
        """
        low, high = self.train
        if self.scales:
            return self.scales
        if self.gap:
            return ("sign",) if self.gap >= max(-low, high) else ("log", "reciprocal", "sign")
        if low < 0 < high:
            return ("linear", "sign")
        decades = not self.admits(0.0) and low * high > 0 and max(low / high, high / low) >= 10
        return ("linear", "log", "reciprocal") if decades else ("linear",)

    def _linear(self, value_T: Tensor) -> Tensor:
        return _scale(value_T, *self.train)

    def _sign(self, value_T: Tensor) -> Tensor:
        return torch.sign(value_T)

    def _log(self, value_T: Tensor) -> Tensor:
        low, high = self.train
        if low < 0 < high:
            largest = max(-low, high) / self._smallest
            return torch.sign(value_T) * torch.log1p(value_T.abs() / self._smallest) / math.log1p(largest)
        return _scale(value_T.abs().log(), math.log(abs(low)), math.log(abs(high)))

    def _reciprocal(self, value_T: Tensor) -> Tensor:
        low, high = self.train
        if low < 0 < high:
            return torch.sign(value_T) / (1 + value_T.abs() / self._smallest)
        return _scale(1 / value_T, 1 / low, 1 / high)

    @property
    def _smallest(self) -> float:
        return self.gap or SMALLEST * (self.train[1] - self.train[0]) / 2

    def coordinate(self, value_T: Tensor) -> Tensor:
        """Values (T,) as numbers within [-1, 1] over the training range, or as angles in radians; see ``decode``."""
        return value_T * (2 * math.pi / self.period) if self.period else _scale(value_T, *self.train)

    @property
    def unit_coordinate(self) -> float:
        """Size of one unit of the coordinate, in units of the parameter."""
        return self.period / (2 * math.pi) if self.period else (self.train[1] - self.train[0]) / 2

    def decode(self, coordinate_T: Tensor) -> Tensor:
        """Coordinates (T,) as values (T,): angles within the turn that begins at ``train``, others within ``wide``.

        Values within the gap are moved to its nearer end.
        """
        low, high = self.train
        if self.period:
            return low + (coordinate_T * (self.period / (2 * math.pi)) - low) % self.period
        value_T = ((low + high) / 2 + (high - low) / 2 * coordinate_T).clamp(*self.wide)
        return (
            torch.where(value_T < 0, value_T.clamp(max=-self.gap), value_T.clamp(min=self.gap)) if self.gap else value_T
        )

    def place(self, unit: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
        """Map uniform draws in [0, 1] to the range ``ends`` without the gap."""
        low, high = ends
        if not self.gap:
            return between(low, high, unit)
        negative, positive = between(low, -self.gap, 2 * unit), between(self.gap, high, 2 * unit - 1)
        return np.where(unit < 0.5, negative, positive)

    def turned(self, values: np.ndarray) -> np.ndarray:
        """Angles within the turn that begins at ``train``; values within ``train`` and other parameters as given."""
        low, high = self.train
        if not self.period:
            return values
        return np.where((values >= low) & (values <= high), values, low + (values - low) % self.period)

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Distance of values from the training range, in half-ranges; 0 inside, and for a distractor.

        Values are compared with the ends themselves, so that each end, and each end of a gap, gives exactly 0. The
        distance of an angle is the turn to the nearer end.
        """
        low, high = self.train
        if self.distractor:
            return np.zeros_like(values)
        values = self.turned(values)
        above = np.minimum(values - high, low + self.period - values) if self.period else values - high
        beyond = np.maximum(np.maximum(low - values, above), self.gap - np.abs(values))
        return np.maximum(beyond, 0) / ((high - low) / 2)


def between(low: Any, high: Any, share: np.ndarray) -> np.ndarray:
    """Low + share (high - low) for shares in [0, 1], never beyond the ends by rounding."""
    return np.clip(low + (high - low) * share, low, high)


def two_ends(name: str, ends: Any) -> tuple[float, float]:
    """A range, given as any sequence, as a tuple of two floats.

    Raises:
        InputError: it is not two numbers.
    """
    try:
        low, high = map(float, ends)
    except (TypeError, ValueError):
        raise InputError(f"{name}={ends!r}: must be two numbers, as in (0.5, 2)") from None
    return low, high


def span(ends: tuple[float, float]) -> str:
    """A range as text, ``(0.5, 2)``."""
    return f"({ends[0]:g}, {ends[1]:g})"


def _scale(value_T: Tensor, low: float, high: float) -> Tensor:
    return (value_T - (low + high) / 2) / ((high - low) / 2)
