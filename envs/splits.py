"""Splits: how their variants are drawn, the held-out region, and the distance from training.

Pure functions over a sequence of parameters; variants are arrays (T, P) in SI units, a column for each parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hyperrl.envs.errors import InputError
from hyperrl.envs.parameter import Parameter, between

SPLITS = ("train", "validation", "interpolation", "extrapolation", "combination")

HeldOut = Mapping[str, tuple[tuple[float, float], ...]]
"""Region of the training box that is never trained on: parameter name -> ranges."""

_ROWS = 256  # drawn at a time


def distance(parameters: Sequence[Parameter], table_TP: np.ndarray) -> np.ndarray:
    """Distance (T,) of each variant (T, P) from the training ranges: the largest over parameters, in half-ranges."""
    return np.max([p.outside(table_TP[:, i]) for i, p in enumerate(parameters)], axis=0)


def in_training_ranges(parameters: Sequence[Parameter], table_TP: np.ndarray) -> np.ndarray:
    """Whether every parameter of each variant (T, P) lies within its training range: (T,)."""
    return distance(parameters, table_TP) == 0


def is_held_out(parameters: Sequence[Parameter], held_out: HeldOut, table_TP: np.ndarray) -> np.ndarray:
    """Whether each variant (T, P) lies in the held-out region: (T,); false without one."""
    inside = np.full(len(table_TP), bool(held_out))
    for i, parameter in enumerate(parameters):
        if parameter.name in held_out:
            values_T = parameter.turned(table_TP[:, i])
            intervals = held_out[parameter.name]
            inside &= np.any([(values_T >= low) & (values_T <= high) for low, high in intervals], axis=0)
    return inside


def range_note(name: str, parameters: Sequence[Parameter], table_TP: np.ndarray) -> str:
    """One line about the variants (T, P) of a family outside the training ranges; empty if there are none."""
    outside = ~in_training_ranges(parameters, table_TP)
    if len(table_TP) > 1:
        count = f"{int(outside.sum())} of {len(table_TP)}"
        return f"{count} variants lie outside the training ranges of {name}" if outside.any() else ""
    return "; ".join(
        f"{p.name}={value:g} lies outside the training range {p.train[0]:g} to {p.train[1]:g} {p.unit}"
        + (f" without the gap {-p.gap:g} to {p.gap:g}" if p.gap else "")
        for p, value in zip(parameters, table_TP.flat, strict=True)
        if p.outside(value)
    )


def draw(
    name: str, parameters: Sequence[Parameter], held_out: HeldOut, split: str, n: int, rng: np.random.Generator
) -> np.ndarray:
    """The first ``n`` variants (n, P) of a split of the family ``name``; a longer draw begins with a shorter one.

    Raises:
        InputError: too few draws belong to the split.
    """
    accepted, found = [np.empty((0, len(parameters)))], 0
    # a distractor of one value takes no draw: a family has the same variants with and without it
    drawn = [i for i, p in enumerate(parameters) if p.train[0] < p.train[1]]
    for _ in range(max(1000, n)):
        unit = np.zeros((_ROWS, len(parameters)))
        unit[:, drawn] = rng.random((_ROWS, len(drawn)))
        rows = np.stack([_place(split, p, held_out, unit[:, i]) for i, p in enumerate(parameters)], axis=1)
        accepted.append(rows[_belongs(split, parameters, held_out, rows)])
        found += len(accepted[-1])
        if found >= n:
            return np.concatenate(accepted)[:n]
    raise InputError(
        f"split {split!r}: family {name!r} has hardly any variants in it; "
        f"make {'wide wider' if split == 'extrapolation' else 'held_out smaller'}"
    )


def _belongs(split: str, parameters: Sequence[Parameter], held_out: HeldOut, table_TP: np.ndarray) -> np.ndarray:
    """Which of the variants (T, P) drawn for a split belong to it: (T,)."""
    if split == "extrapolation":
        return ~in_training_ranges(parameters, table_TP)
    if split == "combination":
        return np.ones(len(table_TP), dtype=bool)
    return ~is_held_out(parameters, held_out, table_TP)


def _place(split: str, parameter: Parameter, held_out: HeldOut, unit: np.ndarray) -> np.ndarray:
    """Map uniform draws (n,) to one parameter's values in a split."""
    if parameter.distractor and split not in ("train", "validation"):
        return np.full_like(unit, parameter.default)
    if split == "combination" and parameter.name in held_out:
        # one draw gives the interval and the place in it
        intervals = np.array(held_out[parameter.name])
        place = unit * len(intervals)
        low, high = intervals[place.astype(int)].T
        return between(low, high, place % 1)
    return parameter.place(unit, parameter.wide if split == "extrapolation" else parameter.train)
