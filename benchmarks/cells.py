"""Cells of a matrix: one training each, of a family, an arm, a seed and settings, and where its returns are kept.

A row is a family, an arm and a label of settings; ``results/cells/FAMILY/ARM[-LABEL].npz`` holds the return of every
episode of all its seeds, `PART_variants` (T, P) and `PART_returns` (R seeds, T, E starts), and the ``.json`` beside it
how the row was measured, the learning curves and how well the value network predicted. Every table is computed from
these. A row that is to be measured in another way is begun anew.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import CELLS, hardware

from hyperrl.config import Config
from hyperrl.envs import Family
from hyperrl.families import configured, resolve
from hyperrl.storage.run import SPLIT_SIZE

RUNS = Path("runs/matrix")
OWN = ("family", "seed", "device", "threads")
"""Settings that do not make a row another one."""
EPISODES = 10
Tables = Mapping[str, np.ndarray]
"""Name of a part -> its variants (T, P)."""


@dataclass(frozen=True)
class Cell:
    """One training and what it plays."""

    family: str
    """As ``hyperrl train`` takes it."""
    arm: str
    seed: int
    label: str = ""
    """Names settings that are not the family's own."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    judge: str = "cells:splits"
    """``module:function`` of the family -> the variants to play; every split by default."""
    episodes: int = EPISODES
    """Greedy ones a variant."""
    variation: str = ""
    """``module:function`` of what changes the package as long as this cell is trained; the label names it."""

    @property
    def config(self) -> Config:
        """The family's own settings with those of the cell."""
        return configured(self.family, self.chosen)[1]

    @property
    def chosen(self) -> dict[str, Any]:
        """Settings that the cell asks for; the others are the family's own."""
        return {"device": "cpu", **self.settings, "agent": self.arm, "seed": self.seed}

    @property
    def row(self) -> Row:
        """What is stored of this cell's row."""
        return Row(resolve(self.family).name, self.arm, self.label)

    @property
    def measure(self) -> dict[str, Any]:
        """How its row is measured: the whole of the settings, and what it plays."""
        settings = {name: value for name, value in asdict(self.config).items() if name not in OWN}
        found = {"settings": settings, "judge": self.judge, "episodes": self.episodes, "variation": self.variation}
        return json.loads(json.dumps(found))

    @property
    def folder(self) -> Path:
        """The run's, another one where it is measured in another way."""
        digest = hashlib.sha256(json.dumps(self.measure, sort_keys=True).encode()).hexdigest()[:8]
        return RUNS / self.row.family / f"{self.row.name}-{digest}" / f"seed-{self.seed}"

    def tables(self, family: Family) -> Tables:
        """The variants that the agent plays."""
        return _named(self.judge)(family)

    def changed(self) -> AbstractContextManager[Any]:
        """What the cell is trained under."""
        return _named(self.variation)() if self.variation else nullcontext()


def _named(reference: str) -> Callable[..., Any]:
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)


def splits(family: Family) -> Tables:
    """Every held-out split, also ``validation``, which has picked the checkpoint."""
    return {split: family.variants(split, SPLIT_SIZE) for split in family.splits}


def validation(family: Family) -> Tables:
    """The validation variants alone, for what is to be decided."""
    return {"validation": family.variants("validation", SPLIT_SIZE)}


def read_matrix(path: Path) -> list[Cell]:
    """The cells of a file, first seeds first.

    It has `[[rows]]` of families, arms, seeds (how many, or a list), and perhaps label, settings, judge, episodes and
    variation, as ``Cell`` has them.

    Raises:
        SystemExit: the file is not one.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["rows"]
        cells = [
            Cell(family, arm, seed, **{key: row[key] for key in row if key not in ("families", "arms", "seeds")})
            for row in rows
            for family in row["families"]
            for arm in row["arms"]
            for seed in (row["seeds"] if isinstance(row["seeds"], list) else range(row["seeds"]))
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: {error}; must be [[rows]] of families, arms and seeds") from None
    return sorted(cells, key=lambda cell: cell.seed)


@dataclass(frozen=True)
class Measured:
    """What a worker brings home of a cell."""

    seconds: float
    parameters: int
    steps: int
    score: float
    """Of the kept checkpoint on the validation variants."""
    curves: dict[str, list[float]]
    curve_seconds: list[float]
    calibration: dict[str, list[float]]
    """Part -> what the value network predicted and what was measured."""
    variants: Tables
    returns: Mapping[str, np.ndarray]
    """Part -> (T, E)."""


@dataclass(frozen=True)
class Row:
    """All seeds of a family, an arm and settings."""

    family: str
    arm: str
    label: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.arm}-{self.label}" if self.label else self.arm

    @property
    def path(self) -> Path:
        """Of its files, without their ending."""
        return CELLS / self.family / self.name

    @property
    def seeds(self) -> int:
        """How many were measured."""
        return len(self.read().get("seeds", {}))

    def read(self) -> dict[str, Any]:
        """The JSON file; empty where nothing was measured."""
        path = self.path.with_suffix(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def arrays(self) -> dict[str, np.ndarray]:
        """The returns and variants, in float64; the JSON file, written after this one, says how many seeds count."""
        with np.load(self.path.with_suffix(".npz")) as stored:
            arrays = {key: stored[key].astype(np.float64) for key in stored.files}
        return {key: array[: self.seeds] if key.endswith("_returns") else array for key, array in arrays.items()}

    def has(self, cell: Cell) -> bool:
        """Whether the cell is measured, as it would be now."""
        stored = self.read()
        return str(cell.seed) in stored.get("seeds", {}) and _same(stored, cell.measure)

    def add(self, cell: Cell, measured: Measured | str) -> None:
        """Keep what was measured, or why it failed; what the row holds of other measures is dropped."""
        measure, stored = cell.measure, self.read()
        if not _same(stored, measure):
            named = {"family": self.family, "arm": self.arm, "label": self.label}
            stored = {**named, **measure, "hardware": hardware(), "seeds": {}, "failed": {}}
        if isinstance(measured, str):
            stored["failed"][str(cell.seed)] = measured
        else:
            self._add_returns(len(stored["seeds"]), measured)
            stored["failed"].pop(str(cell.seed), None)
            stored |= {"parameters": measured.parameters, "steps": measured.steps}
            stored["seeds"][str(cell.seed)] = {
                "seconds": round(measured.seconds, 1),
                "validation": measured.score,
                "curves": measured.curves,
                "curve_seconds": [round(second, 2) for second in measured.curve_seconds],
                "calibration": measured.calibration,
            }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(stored) + "\n", encoding="utf-8")
        os.replace(temporary, self.path.with_suffix(".json"))

    def _add_returns(self, seeds: int, measured: Measured) -> None:
        """Append the returns of one more seed."""
        arrays = self.arrays() if seeds else {}
        for part, returns_TE in measured.returns.items():
            arrays[f"{part}_variants"] = measured.variants[part]
            before = [arrays[f"{part}_returns"]] if seeds else []
            arrays[f"{part}_returns"] = np.concatenate([*before, returns_TE[None]])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, **{key: np.float32(array) for key, array in arrays.items()})
        os.replace(temporary, self.path.with_suffix(".npz"))


def _same(stored: Mapping[str, Any], measure: Mapping[str, Any]) -> bool:
    return all(stored.get(name) == value for name, value in measure.items())


def rows_of(cells: Sequence[Cell]) -> dict[Row, list[Cell]]:
    """Row -> its cells, in their order."""
    found: dict[Row, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.row, []).append(cell)
    return found
