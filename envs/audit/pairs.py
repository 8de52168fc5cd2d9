"""Parameters that act as one, such as a force and a mass if the motion depends on their ratio only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from hyperrl.envs.audit.findings import Pair
from hyperrl.envs.audit.playing import Budget
from hyperrl.envs.audit.sensitivities import sensitivities
from hyperrl.envs.family import Family
from hyperrl.envs.parameter import Parameter

RESIDUAL = 1.5e-3
"""Collinear: the part of one sensitivity orthogonal to the other is below this share, |cos| > 1 - 1e-6."""


def pairs_of(
    family: Family, bases_BP: np.ndarray, parameters: Sequence[Parameter], budget: Budget, single: bool
) -> list[Pair]:
    """Parameters whose sensitivities are collinear at every base variant."""
    if len(parameters) < 2:
        return []
    slopes_BPM, noise_BP = sensitivities(family, bases_BP, parameters, budget, single)
    found = []
    for i, j in itertools.combinations(range(len(parameters)), 2):
        factors = _factors(slopes_BPM[:, i], slopes_BPM[:, j], noise_BP[:, i], noise_BP[:, j])
        if factors is not None:
            names = parameters[i].name, parameters[j].name
            first_B, second_B = (bases_BP[:, family.names.index(name)] for name in names)
            found.append(Pair(names, *_law(names, first_B, second_B, factors, single)))
    return found


def _factors(first_BM: np.ndarray, second_BM: np.ndarray, *noises_B: np.ndarray) -> np.ndarray | None:
    """The factor by which the first sensitivity is the second, at each base: (B,), NaN where neither acts.

    ``None`` if the two are not collinear at some base, act at no base, or are not larger than rounding errors.
    """
    sizes = np.linalg.norm([first_BM, second_BM], axis=-1)
    acts = sizes > 0
    noise_B = np.max(np.divide(noises_B, sizes, out=np.zeros_like(sizes), where=acts), axis=0)
    if (acts[0] != acts[1]).any() or not acts.any() or (noise_B > 0.02).any():
        return None
    acts_B = acts[0]
    dot_B = (first_BM * second_BM).sum(-1)
    factor_B = np.divide(dot_B, sizes[1] ** 2, out=np.full(len(dot_B), np.nan), where=acts_B)
    left_B = np.linalg.norm(first_BM - np.nan_to_num(factor_B)[:, None] * second_BM, axis=-1)
    collinear = left_B <= np.maximum(RESIDUAL, 3 * noise_B) * sizes[0]
    return factor_B if collinear.all() else None


def _law(
    names: tuple[str, str], first_B: np.ndarray, second_B: np.ndarray, factor_B: np.ndarray, single: bool
) -> tuple[str, str]:
    """The combination of two parameters whose derivatives have these ratios at every base."""
    a, b = names
    near = 3e-2 if single else 3e-3
    known = np.isfinite(factor_B)

    def constant(values_B: np.ndarray, value: float) -> bool:
        return bool(np.all(np.abs(values_B - value) <= near * max(abs(value), 1e-3)))

    powers_B = (factor_B * first_B / np.where(second_B == 0, np.nan, second_B))[known]
    powers_B = powers_B[np.isfinite(powers_B) & (powers_B != 0)]
    if len(powers_B):
        if constant(powers_B, -1):
            return "ratio", f"{a} / {b}"
        if constant(powers_B, 1):
            return "product", f"{a} * {b}"
    if constant(factor_B[known], 1):
        return "sum", f"{a} + {b}"
    if constant(factor_B[known], -1):
        return "difference", f"{a} - {b}"
    if len(powers_B) > 1 and constant(powers_B, float(powers_B.mean())):
        return "combination", _power_law(a, b, float(powers_B.mean()), near)
    return "combination", ""


def _power_law(a: str, b: str, power: float, near: float) -> str:
    """``a^power * b`` as a formula, in small whole powers if some are near."""
    share = Fraction(power).limit_denominator(4)
    top, bottom = abs(share.numerator), share.denominator
    if not 0 < top <= 4 or abs(power - share) > near * abs(share):
        return f"{a}^{power:.3g} * {b}"
    raised = [name if whole == 1 else f"{name}^{whole}" for name, whole in ((a, top), (b, bottom))]
    return f"{raised[0]} {'*' if power > 0 else '/'} {raised[1]}"
