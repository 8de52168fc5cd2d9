"""Train and judge the cells of a matrix: families x arms x seeds x settings, from one file.

    python benchmarks/runner.py benchmarks/matrices/NAME.toml [--budget 2h] [--workers 2] [--missing]

Says first how many hours the missing cells take, then measures them, the first seeds of all rows first. It may be
killed at any time: what is finished is kept (see cells.py), and a training goes on where it was, unless a variation
changes it. After the budget no cell begins any more; what is missing is said at the end, and why trainings failed; the
next call tries them again. `--missing` only says it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from cells import Cell, Row, read_matrix, rows_of
from measuring import measure, probed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hyperrl.agents import ARMS
from hyperrl.cli.console import add_workers, duration
from hyperrl.envs import InputError
from hyperrl.jobs import LOKY, run_jobs
from hyperrl.storage.device import cores


def seconds_of(cells: Sequence[Cell]) -> dict[Cell, float]:
    """How long each cell takes: as its row did, or another arm's; or else by a few iterations of one of its arms."""
    found, probes = {}, dict[tuple[str, str], float]()
    for row, own in rows_of(cells).items():
        stored = _stored(row) or next(filter(None, (_stored(Row(row.family, arm, row.label)) for arm in ARMS)), None)
        if stored is None:
            key = (row.family, row.label)
            if key not in probes:
                probes[key] = probed(own[0])
            stored = probes[key]
        found |= dict.fromkeys(own, stored)
    return found


def _stored(row: Row) -> float | None:
    """Seconds of the row's cells, where they were kept."""
    seconds = [seed["seconds"] for seed in row.read().get("seeds", {}).values() if seed["seconds"]]
    return float(np.mean(seconds)) if seconds else None


def missing(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are not measured with the settings that they have now."""
    return [cell for _, own in rows_of(cells).items() for cell in own if not own[0].row.has(cell)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and judge the cells of a matrix.")
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--budget", type=duration, default=float("inf"), help="no cell begins later: 90s, 10m or 2h")
    parser.add_argument("--missing", action="store_true", help="say what is missing, and end")
    add_workers(parser)
    args = parser.parse_args()
    try:
        run(args)
    except InputError as error:
        raise SystemExit(f"{args.matrix}: {error}") from None


def run(args: argparse.Namespace) -> None:
    """Say what is missing of a matrix, and measure it.

    Raises:
        InputError: a cell's family or settings are wrong.
    """
    cells = read_matrix(args.matrix)
    todo = sorted(missing(cells), key=lambda cell: cell.seed)
    workers = args.workers or cores()
    hours = sum(seconds_of(todo).values()) / workers / 3600
    name = args.matrix.stem
    print(f"{name}: {len(todo)} of {len(cells)} cells missing, about {hours:.1f} h with {workers} at once", flush=True)
    if todo and not args.missing:
        _run(todo, time.time() + args.budget, args)
    _say_missing(missing(cells), cells)


def _run(todo: Sequence[Cell], deadline: float, args: argparse.Namespace) -> None:
    columns = (TextColumn("cells"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(todo))
        jobs = run_jobs(partial(measure, deadline), todo, args.workers or cores(), args.backend or LOKY, args.scheduler)
        for index, measured in jobs:
            bar.advance(task)
            if measured is None:
                continue
            cell = todo[index]
            cell.row.add(cell, measured)
            said = measured if isinstance(measured, str) else f"{measured.score:.2f} ({measured.seconds:.0f} s)"
            bar.console.print(f"{cell.row.family} {cell.row.name} {cell.seed}: {said}", highlight=False)


def _say_missing(left: Sequence[Cell], cells: Sequence[Cell]) -> None:
    print(f"{len(cells) - len(left)} of {len(cells)} cells measured")
    for row, own in rows_of(left).items():
        print(f"missing: {row.family} {row.name}, seeds {', '.join(str(cell.seed) for cell in own)}")
        for seed, reason in row.read().get("failed", {}).items():
            print(f"failed: {row.family} {row.name}, seed {seed}: {reason}")


if __name__ == "__main__":
    main()
