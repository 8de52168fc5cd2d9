"""Tables that others published: the variants that they judged on, as the ``judge`` of a matrix's rows."""

from __future__ import annotations

import numpy as np
from cells import Tables, splits

from hyperrl.envs import Family, aib, registry
from hyperrl.envs.physics import PhysicsFamily
from hyperrl.envs.tasks.ode import evaluation_grid

GRID = "grid"
"""Part of the cells: the whole published grid, training variants included."""
AIB_VARIANTS = 20
"""Contexts of each split that the actuator-inversion benchmark plays."""


def ode(family: Family) -> Tables:
    """Every split, and the grid of Beukman et al. (2023), whose mean return is the average evaluation reward."""
    assert isinstance(family, PhysicsFamily)
    return {**splits(family), GRID: evaluation_grid(family)}


def actuator_inversion(family: Family) -> Tables:
    """Every split, the benchmark's as its 20 contexts (Benad et al., 2026)."""
    chosen = {split: aib.chosen(rows, AIB_VARIANTS) for split, rows in family.fixed.items() if split != "train"}
    return {**splits(family), **chosen}


def inside_training_range(family: str, variants_TP: np.ndarray) -> np.ndarray:
    """Whether each variant of a grid lies within the training ranges: (T,)."""
    return registry.get(family).in_training_ranges(variants_TP)
