"""What a worker does with one cell of a matrix: train it, and judge it."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import replace

import torch
from cells import Cell, Measured
from common import parameter_count

from hyperrl.api import Run, train
from hyperrl.envs import InputError
from hyperrl.evaluation.evaluate import Evaluation, evaluate_table
from hyperrl.families import resolve
from hyperrl.storage.device import float32
from hyperrl.training.trainer import Trainer

PROBED_S = 3.0
"""Seconds of iterations that foretell the time of a training that was never measured."""
BESIDES = 1.3
"""A cell's time over that of its iterations: held-out play, files, judging."""


def measure(deadline: float, cell: Cell) -> Measured | str | None:
    """Train and judge one cell; why it failed; or ``None`` where it did not begin before the deadline."""
    if time.time() > deadline:
        return None
    began = time.monotonic()
    torch.compiler.reset()  # this process has compiled the shapes of other cells
    if cell.variation:  # what it changes may hold a state that no checkpoint has
        shutil.rmtree(cell.folder, ignore_errors=True)
    try:
        with warnings.catch_warnings(action="ignore"), cell.changed():
            run = train(cell.family, run=cell.folder, quiet=True, resume=True, encoder=False, **cell.chosen)
            found = judged(run, cell)
    except InputError as error:
        return str(error)
    return Measured(
        seconds=time.monotonic() - began,
        parameters=parameter_count(run.agent),
        steps=run.steps,
        score=run.best["score"],
        curves=run.curves,
        curve_seconds=run.seconds,
        calibration={part: _calibration(evaluation) for part, evaluation in found.items()},
        variants={part: evaluation.variants_TP for part, evaluation in found.items()},
        returns={part: evaluation.returns_TE for part, evaluation in found.items()},
    )


@float32()
def judged(run: Run, cell: Cell) -> dict[str, Evaluation]:
    """What the agent does on each part of what the cell plays."""
    tables = cell.tables(run.family)
    return {part: evaluate_table(run, run.family, table_TP, cell.episodes) for part, table_TP in tables.items()}


def _calibration(evaluation: Evaluation) -> list[float]:
    found = evaluation.prediction.json()
    return [float(found["predicted"]), float(found["measured"])]


def probed(cell: Cell) -> float:
    """Seconds of a training by those of its first iterations, not compiled; 0 where it cannot begin."""
    config = replace(cell.config, compile="off")
    try:
        trainer = Trainer(resolve(cell.family), config)
    except InputError:
        return 0.0
    try:
        trainer.iterate()
        iterations, began = 0, time.monotonic()
        while time.monotonic() < began + PROBED_S:
            trainer.iterate()
            iterations += 1
        return BESIDES * (time.monotonic() - began) / iterations * config.iterations
    finally:
        trainer.close()
