"""Distractors: parameters without effect, of one value in training and another in evaluation.

After the distractor contexts of Beukman et al., NeurIPS 2023: a network that learns to depend on their training values
fails at other values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from hyperrl.envs.errors import InputError, number
from hyperrl.envs.family import Family
from hyperrl.envs.parameter import Parameter
from hyperrl.envs.physics import PhysicsFamily

AnyFamily = TypeVar("AnyFamily", bound=Family)


def distractors(
    family: AnyFamily, k: int, train: float = 1.0, evaluation: float = 0.0, name: str | None = None, env_id: str = ""
) -> AnyFamily:
    """A family with ``k`` parameters without effect added, ``distractor_0`` to ``distractor_{k - 1}``.

    Their value is ``train`` in the train and validation splits, and ``evaluation`` in the other splits and by default.
    All other parameters of each split's variants are the same as in the given family.

    Args:
        family: of any kind.
        k: number of distractors, 1 or more.
        train: value in training.
        evaluation: value in evaluation.
        name: name of the new family; ``<family>_d<k>`` by default.
        env_id: id of its single environment, if it is registered.

    Returns:
        The new family; its context is ``k`` entries longer.

    Raises:
        InputError: ``k`` is below 1, a value is not finite, or the family has distractors of that name already.
    """
    count = number("k", k)
    if count < 1 or count % 1:
        raise InputError(f"k={k}: must be 1 or more distractors, a whole number; use the family itself for none")
    k = int(count)
    added = tuple(
        Parameter(
            f"distractor_{i}",
            "1",
            evaluation,
            (train, train),
            (min(train, evaluation), max(train, evaluation)),
            note="no effect",
            distractor=True,
        )
        for i in range(k)
    )
    changes: dict[str, Any] = {}
    if isinstance(family, PhysicsFamily) and family.twin is not None:
        changes["twin"] = partial(_undistracted, family.twin, family.names)
    return dataclasses.replace(
        family,
        name=name or f"{family.name}_d{k}",
        parameters=(*family.parameters, *added),
        fixed={split: _widened(split, rows, k, train, evaluation) for split, rows in family.fixed.items()},
        env_id=env_id,
        source="; ".join(
            filter(None, (family.source, f"{k} parameters without effect after Beukman et al., NeurIPS 2023"))
        ),
        **changes,
    )


def _undistracted(
    twin: Callable[..., Any], names: tuple[str, ...], render_mode: str | None = None, **parameters: float
) -> Any:
    """The twin, of which the distractors are kept."""
    return twin(render_mode, **{name: value for name, value in parameters.items() if name in names})


def _widened(split: str, rows: np.ndarray, k: int, train: float, evaluation: float) -> np.ndarray:
    """Variants (n, P) of a split with the distractors' values beside them, (n, P + k)."""
    value = train if split in ("train", "validation") else evaluation
    return np.pad(rows, ((0, 0), (0, k)), constant_values=value)
