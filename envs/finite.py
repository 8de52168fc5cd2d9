"""Numbers of a family that nothing can be measured with."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperrl.envs.errors import InputError


def require_finite(family: Any, what: str, numbers_T: Any, variants_TP: np.ndarray, largest: float = np.inf) -> None:
    """See that all numbers of T variants are finite.

    Args:
        family: the task.
        what: they are, with the step where that is known.
        numbers_T: shape (T, ...).
        variants_TP: the variants (T, P).
        largest: size of a number at the most.

    Raises:
        InputError: one is not, or is larger: names the first of them and its variant.
    """
    numbers_T = np.asarray(numbers_T, dtype=np.float64)
    wrong_T = ~(np.isfinite(numbers_T) & (np.abs(numbers_T) <= largest))
    if wrong_T.any():
        first = tuple(np.argwhere(wrong_T)[0])
        bound = "finite" if largest == np.inf else f"finite and at most {largest:g} in size"
        raise InputError(
            f"family {family.name!r} at {family.spelled(variants_TP[first[0]])}: {what} is {numbers_T[first]:g}: must "
            f"be {bound}; mend the family there"
        )
