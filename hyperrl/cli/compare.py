"""hyperrl compare: arms side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperrl.cli.console import SEE, SPLIT, Commands, add_force, path_of, print_table, whole_number

if TYPE_CHECKING:
    from hyperrl.evaluation.compare import Comparison


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser("compare", help="arms side by side: several runs of one family on unseen variants")
    command.add_argument(
        "folders", metavar="RUN", nargs="+", type=path_of, help="folder of a run, or of the runs of several seeds"
    )
    command.add_argument(
        "--family",
        metavar="FAMILY",
        help="file or module:attribute of the runs' family, where it has moved or is not your own",
    )
    command.add_argument("--split", nargs="+", default=[SPLIT], help=f"one or more (default: {SPLIT}); {SEE}")
    command.add_argument("--episodes", type=whole_number, default=10, help="greedy episodes a variant (default: 10)")
    command.add_argument("--variants", type=whole_number, default=64, help="variants of each split (default: 64)")
    command.add_argument(
        "--json", type=path_of, metavar="FILE", help="also write the result; a list for several splits"
    )
    command.add_argument("--png", type=path_of, metavar="FILE", help="figure (default: in the first run's figures)")
    add_force(command)
    command.set_defaults(command=_compare)


def _compare(args: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from hyperrl.api import open_runs
    from hyperrl.envs import InputError
    from hyperrl.evaluation.compare import compare
    from hyperrl.reports.comparison import save_comparison
    from hyperrl.storage.files import require_output, write_json
    from hyperrl.streams import console

    splits = list(dict.fromkeys(args.split))
    if args.png and len(splits) > 1:
        raise InputError(f"--png {args.png}: is one file for {len(splits)} splits; leave it out, or give one split")
    for file, suffix in ((args.json, ".json"), (args.png, ".png")):
        if file:
            require_output(file, (suffix,), args.force)
    runs = open_runs(args.folders, args.family)
    require_output(runs[0].folder / "figures" / "compare.png", (".png",), force=True)
    shown_on = console()
    columns = (TextColumn("runs played"), MofNCompleteColumn(), BarColumn())
    with Progress(*columns, console=shown_on, transient=True, disable=not shown_on.file.isatty()) as bar:
        task = bar.add_task("", total=len(runs) * len(splits))
        found = [compare(runs, split, args.episodes, args.variants, lambda: bar.advance(task)) for split in splits]
    for comparison in found:
        _print(comparison)
    results = [comparison.json() for comparison in found]
    if args.json:
        write_json(args.json, results[0] if len(results) == 1 else results)
    for comparison in found:
        print(f"figure: {save_comparison(comparison, args.png)}")


def _print(found: Comparison) -> None:
    rows = []
    for arm in found.arms:
        result = arm.json()
        gap = "-" if result["normalised"] is None else f"{result['normalised']:.3f}"
        counts = [f"{result[name]:,}" for name in ("seeds", "parameters", "steps")]
        scores = [f"{result[name]:.1f}" for name in ("mean", "worst", "worst_tenth", "iqm")]
        rows.append([arm.name, *counts, *scores, _ends(result["ci95"], 1), gap])
    title = f"{found.family.name}, {found.split}: {len(found.variants_TP)} variants, zero-shot"
    columns = (
        "arm",
        "seeds",
        "parameters",
        "steps",
        "mean",
        "worst",
        "worst 10 %",
        "IQM",
        "95 % interval",
        "normalised",
    )
    print_table(title, columns, rows, right=columns[1:])
    for about in dict.fromkeys(arm.interval.about for arm in found.arms if arm.interval):
        print(f"interval of the IQM: for {about}")
    if len(found.arms) > 1:
        title = "Probability that a seed of one arm has a higher mean return on a variant than a seed of the other"
        pair_columns = ("arm", "over", "probability", "95 % interval")
        names = [arm.name for arm in found.arms]
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        chosen = [(a, b, *found.improvements[a, b]) for a, b in pairs]
        shown = [[a, b, f"{probability:.2f}", _ends(ends, 2)] for a, b, probability, ends in chosen]
        print_table(title, pair_columns, shown, right=pair_columns[2:])
    if any(len(arm.runs) == 1 for arm in found.arms):
        print("an arm of one seed: nothing is said about other seeds; train more with hyperrl train FAMILY --seeds 10")


def _ends(ends: Sequence[float] | None, digits: int) -> str:
    return f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}" if ends else "-"
