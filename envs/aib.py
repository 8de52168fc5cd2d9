"""The actuator-inversion benchmark (AIB): its splits as lists of variants, and the sign of the action.

Training variants are 50 values a parameter over its range, interpolation 50 others within it, and extrapolation 25
below and 25 above it, in every parameter at once; a sign takes both values everywhere. All combinations are listed.

Source: J. Benad et al., "Dynamics-Aligned Shared Hypernetworks for Zero-Shot Actuator Inversion", arXiv:2602.06550.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from torch import Tensor

from hyperrl.envs.parameter import Parameter, Values
from hyperrl.envs.physics import PhysicsFamily

VALUES = 50
MARGIN = 0.01  # of the training range, between the values of two splits at its ends
SOURCE = "Benad et al., Dynamics-Aligned Shared Hypernetworks for Zero-Shot Actuator Inversion, arXiv:2602.06550"
ACTION_SIGN = Parameter("action_sign", "1", 1, (-1, 1), (-1, 1), "[-1, 1]", "sign of every action, -1 or 1", gap=1)


def turned(action: Tensor, p: Values) -> Tensor:
    """The action (T, E, A) that acts: with the variant's sign, if the family has one."""
    return action * p[ACTION_SIGN.name].unsqueeze(-1) if ACTION_SIGN.name in p else action


def signed(family: PhysicsFamily, env_id: str) -> PhysicsFamily:
    """The family NAME as NAME_signed, in which the sign of the action is a parameter too."""
    parameters = (*family.parameters, ACTION_SIGN)
    return replace(family, name=f"{family.name}_signed", parameters=parameters, fixed=splits(parameters), env_id=env_id)


def splits(parameters: Sequence[Parameter]) -> Mapping[str, np.ndarray]:
    """The benchmark's variants (n, P) of each split."""
    values = [_values(parameter) for parameter in parameters]
    return {split: np.array(list(product(*(each[split] for each in values)))) for split in values[0]}


def chosen(rows_NP: np.ndarray, n: int) -> np.ndarray:
    """The ``n`` variants of a split that the benchmark plays: equally far apart in their order."""
    ordered = rows_NP[np.lexsort(rows_NP.T[::-1])]
    return ordered[np.linspace(0, len(ordered) - 1, n, dtype=int)]


def _values(parameter: Parameter) -> dict[str, np.ndarray]:
    if parameter == ACTION_SIGN:
        signs = np.array([-1.0, 1.0])
        return {"train": signs, "interpolation": signs, "extrapolation": signs}
    (low, high), (lowest, highest) = parameter.train, parameter.wide
    margin = MARGIN * (high - low)
    below = np.linspace(lowest, low - margin, VALUES // 2)
    above = np.linspace(high + margin, highest, VALUES // 2)
    return {
        "train": np.linspace(low, high, VALUES).round(4),
        "interpolation": np.linspace(low + margin, high - margin, VALUES).round(4),
        "extrapolation": np.concatenate((below, above)).round(4),
    }
