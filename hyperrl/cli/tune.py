"""hyperrl tune."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from hyperrl.cli.console import (
    WHERE,
    Commands,
    add_workers,
    duration,
    given_options,
    path_of,
    print_table,
    whole_number,
)


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("tune", help="search settings on the validation variants of a family")
    command.add_argument("family", metavar="FAMILY", help="as for train")
    command.add_argument("--budget", type=duration, default=600.0, help="90s, 10m, 2h: no training begins later [10m]")
    command.add_argument("--agent", help="name of an arm [hyper]")
    command.add_argument("--steps", type=whole_number, help="of each training [the family's own]")
    command.add_argument("--trials", type=whole_number, metavar="N", help="settings that are tried at most [1000]")
    command.add_argument("--run", type=path_of, help="folder to write, or to go on with [runs/tune-FAMILY-AGENT]")
    add_workers(command)
    command.set_defaults(command=_tune)


def _tune(args: argparse.Namespace) -> None:
    from hyperrl.streams import console
    from hyperrl.training.search import BEST, spelled, tune

    shown_on = console()

    def progress(line: str) -> None:
        shown_on.print(line, highlight=False, soft_wrap=True)

    named = {name: name for name in ("agent", "steps", "trials", "run")}
    chosen: dict[str, Any] = given_options(args, **named, **WHERE)
    try:
        found = tune(args.family, budget=args.budget, progress=progress, **chosen)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on with the search") from None
    ended = [trial for trial in found.trials if trial["score"] is not None and trial["state"] == "complete"]
    pruned = sum(trial["state"] == "pruned" for trial in found.trials)
    rows = [["best", f"{found.best.mean:.4g}", str(len(found.best.scores)), spelled(found.best.changes)]]
    if found.own:
        rows.append(["own", f"{found.own.mean:.4g}", str(len(found.own.scores)), spelled(found.own.changes)])
    caption = "  ".join(f"{name} {share:.0%}" for name, share in found.importance.items())
    print_table(
        f"{len(ended)} trainings ended, {pruned} pruned",
        ["settings", "validation", "seeds", ""],
        rows,
        f"importance: {caption}" if caption else "",
        right=("validation", "seeds"),
    )
    best = str(found.folder / BEST)
    print(f"next: {shlex.join(['hyperrl', 'train', args.family, '--config', best])}")
